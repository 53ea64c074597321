"""Reading prompts' ends, directions from pairs, and their parity with the steering-vectors package."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.subject import Site, Subject
from interp.subject.read_at import read_at
from interp.vectors.contrast import read_contrast
from interp.vectors.contrastive import Aggregate, Pair, aggregate, contrastive_vectors, read_pairs
from interp.vectors.in_context import in_context_vectors
from interp.vectors.world import WORLD_BEHAVIOURS, world_contrast
from tests.subjects import world_subject

TEXTS = (
    ("the capital of france is paris .", "the capital of france is rome ."),
    ("the capital of peru is", "the river is"),
    ("the king is", "a letter is near"),
    ("a text about weather :", "a text about food : the"),
)


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


def pairs(subject: Subject) -> list[Pair]:
    texts = [pair for pair in TEXTS if "peru" not in pair[0]]
    return [Pair(*(tuple(subject.encode(text)) for text in pair)) for pair in texts]


def both_sides(n: int = 40, width: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0)
    content = torch.randn(n, width, generator=generator)
    noise = 0.1 * torch.randn(2, n, width, generator=generator)
    return content + 2 * direction + noise[0], content - 2 * direction + noise[1], direction


@pytest.mark.parametrize("how", ["mean", "pca", "logistic"])
def test_a_planted_direction_is_found_with_its_sign(how: Aggregate) -> None:
    positive, negative, direction = both_sides()
    found = aggregate(positive, negative, how)
    assert torch.nn.functional.cosine_similarity(found, direction, dim=0) > 0.99
    assert found.norm() == pytest.approx(4 if how == "mean" else 1, rel=0.05)
    torch.testing.assert_close(aggregate(negative, positive, how), -found, atol=1e-5, rtol=1e-4)


def test_the_component_is_that_of_the_uncentred_second_moment() -> None:
    positive, negative, _ = both_sides()
    d = (positive - negative).double()
    vectors = torch.linalg.eigh(d.T @ d).eigenvectors[:, -1]
    expected = vectors * torch.sign((d @ vectors).mean())
    torch.testing.assert_close(aggregate(positive, negative, "pca").double(), expected, atol=1e-6, rtol=0)


def test_too_little_to_make_a_direction_of_is_said() -> None:
    with pytest.raises(UserError, match="two pairs"):
        aggregate(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(UserError, match="same activation"):
        aggregate(torch.ones(3, 4), torch.ones(3, 4))


def test_a_batch_reads_what_each_prompt_alone_gives(subject: Subject) -> None:
    prompts = [pair.positive for pair in pairs(subject)]
    sites = [Site("resid_post", 2), Site("head_out", 5)]
    together = read_at(subject, prompts, sites, (-2, -1), prompts_per_batch=2)
    for row, prompt in enumerate(prompts):
        alone = subject.read(subject.pad([prompt])[0], sites)
        for site in sites:
            torch.testing.assert_close(together[site][row], alone[site][0, -2:], atol=1e-4, rtol=1e-4)
    for position in (0, 3, -20):
        with pytest.raises(UserError, match="cannot be read"):
            read_at(subject, prompts, sites, (position,))


def test_vectors_are_the_mean_difference_at_every_layer(subject: Subject) -> None:
    asked = pairs(subject)
    vectors = contrastive_vectors(subject, asked, "v")
    assert [str(v.site) for v in vectors] == [f"resid_post.{layer}" for layer in range(8)]
    for v in (vectors[0], vectors[7]):
        each = [
            subject.read(subject.pad([side])[0], [v.site])[v.site][0, -1] * sign
            for pair in asked
            for side, sign in ((pair.positive, 1), (pair.negative, -1))
        ]
        torch.testing.assert_close(v.values, sum(each) / len(asked), atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="at least two"):
        contrastive_vectors(subject, asked[:1], "v")
    with pytest.raises(UserError, match="layer 9 does not exist"):
        contrastive_vectors(subject, asked, "v", layers=[9])
    with pytest.raises(UserError, match="residual stream"):
        contrastive_vectors(subject, asked, "v", kind="mlp_post")


def test_in_context_vectors_are_the_mean_and_a_component_over_all_layers(subject: Subject) -> None:
    asked = pairs(subject)
    read = read_pairs(subject, asked, [Site("resid_post", layer) for layer in range(8)])
    differences = torch.cat([read.positive[site] - read.negative[site] for site in read.positive], 1).double()
    mean = differences.mean(0)
    centred = differences - mean
    component = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -1] @ centred
    component = component / component.norm() * torch.sign(component @ mean)
    expected = torch.nn.functional.normalize((mean + component).view(8, 128), dim=1)
    found = in_context_vectors(subject, asked, "v")
    torch.testing.assert_close(
        torch.stack([v.values for v in found]).double(), expected, atol=1e-4, rtol=1e-4
    )
    assert {str(v.site) for v in found} == {f"mlp_out.{layer}" for layer in range(8)}
    assert {v.use for v in found} == {"norm_preserving"}


def test_parity_with_the_steering_vectors_package() -> None:
    package = pytest.importorskip(
        "steering_vectors",
        reason="pip install --no-deps steering-vectors (it asks for an older transformers)",
    )
    from transformers import AutoModelForCausalLM, AutoTokenizer

    subject, folder = world_subject(), world_folder()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    words = (("capital", "france", "river"), ("language", "spain", "king"), ("currency", "japan", "house"))
    texts = [(f"the {a} of {b} is", f"the {c} is near a") for a, b, c in words]
    asked = [Pair(*(tuple(subject.encode(text)) for text in pair)) for pair in texts]
    read = read_pairs(subject, asked, [Site("resid_post", layer) for layer in range(8)])
    for how in ("mean", "pca", "logistic"):
        theirs = getattr(package, f"{how}_aggregator")()
        found = package.train_steering_vector(model, tokenizer, texts, aggregator=theirs, batch_size=2)
        for ours in contrastive_vectors(subject, asked, "v", how=how):
            other = theirs(read.positive[ours.site], read.negative[ours.site])
            torch.testing.assert_close(ours.values, other, atol=1e-5, rtol=1e-5)
            whole = found.layer_activations[ours.site.layer]
            if how == "logistic":  # its solver stops early, and rounding decides where
                assert torch.nn.functional.cosine_similarity(ours.values, whole, dim=0) > 0.999
            else:
                torch.testing.assert_close(ours.values, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*WORLD_BEHAVIOURS, "task/plural"])
def test_no_question_of_a_behaviour_is_in_two_parts(name: str) -> None:
    contrast = world_contrast(name, world_subject())
    parts = [{question.prompt for question in part} for part in (contrast.choose, contrast.report)]
    assert not parts[0] & parts[1] and len(parts[1]) == len(contrast.report)
    used = {text for pair in contrast.pairs for text in (pair.positive, pair.negative)}
    assert not used & (parts[0] | parts[1]) and len(contrast.prompted) == len(contrast.report)
    for question in contrast.report:
        assert not set(question.answers) & set(question.foils)


def test_pairs_from_a_file(tmp_path: Path) -> None:
    subject = world_subject()
    lines = [
        {"prompt": f"the capital of {country} is", "positive": f" {city} .", "negative": " rome ."}
        for country, city in (
            ("france", "paris"),
            ("spain", "madrid"),
            ("japan", "tokyo"),
            ("egypt", "cairo"),
        )
    ]
    lines.append(
        {"question": "the river", "answer_matching_behavior": " is", "answer_not_matching_behavior": " and"}
    )
    path = tmp_path / "capitals.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    contrast = read_contrast(path, subject)
    assert (len(contrast.pairs), len(contrast.choose), len(contrast.report)) == (2, 1, 2)
    for pair in contrast.pairs:
        assert pair.positive != pair.negative
    known = {tuple(subject.encode(line["prompt"])): line for line in lines[:4]}
    for question in (*contrast.choose, *contrast.report):
        if line := known.get(question.prompt):  # whole completions after the file's own prompt
            assert question.answers == (tuple(subject.encode(line["positive"])),) and question.choice
            assert question.foils == (tuple(subject.encode(line["negative"])),)
    for broken, why in (
        ('{"prompt": "the river"}', "missing"),
        ('{"prompt": "the river", "positive": " is", "negative": " is near"}', "beginning of the other"),
        ('{"prompt": "the", "positive": " king", "negative": " dog", "with": "a"}', "is missing"),
    ):
        path.write_text("\n".join([*map(json.dumps, lines), broken]))
        with pytest.raises(UserError, match=why) as caught:
            read_contrast(path, subject)
        assert "line 6" in str(caught.value)
    path.write_text("\n".join(map(json.dumps, lines[:4])))
    with pytest.raises(UserError, match="at least five"):
        read_contrast(path, subject)

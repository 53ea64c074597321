"""Steering a model by a latent and by its controls: what is added, and that it shows in what is written."""

import pytest
import torch

import interp
from interp.bundled.world.concepts import bit
from interp.bundled.world.vocabulary import token_ids
from interp.causal.steering.costs import neutral_documents, steering_costs
from interp.causal.steering.difference_in_means import difference_in_means
from interp.causal.steering.methods import METHODS, NormMatched, steering
from interp.causal.steering.prompts import SteeringPrompt
from interp.causal.steering.targets import SteeringTarget, added_norm, largest_of, random_latents
from interp.causal.steering.texts import cross_entropy, measured_texts, written
from interp.corpus.questions import Question
from interp.document import split_of
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.intervene import AddVector, Clamp, Scale
from interp.intervene.by_rows import ByRows
from interp.mining.config import MiningConfig
from interp.subject import Site, Subject
from saes.latents import SaeLatents
from tests.unit.test_saes_latents import random_sae

SITE = Site("resid_post", 4)
CORPUS = interp.WorldCorpus(seed=4, n_documents=120)


@pytest.fixture(scope="module")
def latents(subject: Subject) -> SaeLatents:
    return SaeLatents(random_sae("topk"), SITE, subject=subject)


@pytest.fixture(scope="module")
def resid(subject: Subject) -> torch.Tensor:
    tokens = torch.randint(1, 1041, (3, 12), generator=torch.Generator().manual_seed(0))
    return subject.read(tokens, [SITE])[SITE]


def ids(text: str) -> tuple[int, ...]:
    return tuple(token_ids()[word] for word in text.split())


def target(subject: Subject, latents: SaeLatents, resid: torch.Tensor) -> SteeringTarget:
    neurons = [FeatureRef(MlpNeurons(subject, 2), 5, -1), FeatureRef(MlpNeurons(subject, 3), 9, 1)]
    unit = added_norm(latents, 17, 3.0, resid.flatten(0, 1))
    directions = torch.randn(2, 128, generator=torch.Generator().manual_seed(1))
    extremes = torch.tensor([-2.0, 1.5])
    return SteeringTarget(
        "topic_law",
        FeatureRef(latents, 17),
        3.0,
        unit,
        directions[0] * 5,
        neurons,
        extremes,
        [3, 4],
        directions,
    )


def changed(subject: Subject, resid: torch.Tensor, edits: list[object]) -> torch.Tensor:
    """What interventions at the site make of an activation."""
    tokens = torch.ones(resid.shape[:2], dtype=torch.long)
    forward = interp.subject.forward.whole_pass(tokens, None)
    for edit in edits:
        resid = edit.apply(resid, SITE, forward)  # type: ignore[attr-defined]
    return resid


def test_a_clamp_keeps_the_error_and_adds_exactly_its_row(
    subject: Subject, latents: SaeLatents, resid: torch.Tensor
) -> None:
    """x + SAE(x with the latent set) - SAE(x), as in Scaling Monosemanticity."""
    own = latents.encode(resid)
    for latent in (17, int(own.sum((0, 1)).argmax())):
        held = changed(subject, resid, [Clamp(latents, latent, 30.0)])
        row = latents.sae.W_dec[latent]
        torch.testing.assert_close(held - resid, (30.0 - own[..., [latent]]) * row, atol=2e-5, rtol=1e-5)
        set_to = own.clone()
        set_to[..., latent] = 30.0
        decoded = latents.sae.decode(set_to) - latents.sae.decode(own)
        torch.testing.assert_close(held, resid + decoded, atol=1e-4, rtol=1e-4)
        same = changed(subject, resid, [Scale(latents, latent, 1.0)])
        torch.testing.assert_close(same, resid, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["random latent", "random direction"])
@pytest.mark.parametrize("factor", [0.5, 10.0])
def test_controls_change_every_position_by_the_same_norm(
    subject: Subject, latents: SaeLatents, resid: torch.Tensor, method: str, factor: float
) -> None:
    made = target(subject, latents, resid)
    by_latent = changed(subject, resid, list(steering(subject, made, "latent", factor))) - resid
    for draw in (0, 1):
        control = changed(subject, resid, list(steering(subject, made, method, factor, draw=draw))) - resid
        torch.testing.assert_close(control.norm(dim=-1), by_latent.norm(dim=-1), rtol=1e-4, atol=1e-5)
        wanted = (
            latents.sae.W_dec[made.random_latents[draw]]
            if "latent" in method
            else made.random_directions[draw]
        )
        cosine = torch.cosine_similarity(control, wanted.expand_as(control), dim=-1)
        torch.testing.assert_close(cosine, torch.ones_like(cosine), atol=1e-4, rtol=0)


@pytest.mark.parametrize("normalisation", ["none", "layer_norm"])
def test_difference_in_means_is_added_at_the_norm_of_the_latents_own_addition(
    subject: Subject, resid: torch.Tensor, normalisation: str
) -> None:
    space = SaeLatents(random_sae("standard", normalisation), SITE, subject=subject)
    made = target(subject, space, resid)
    if normalisation == "none":
        assert made.unit == pytest.approx(3 * float(space.decoder(torch.tensor([17])).norm()), rel=1e-4)
    by_latent = changed(subject, resid, list(steering(subject, made, "latent added", 4.0))) - resid
    added = changed(subject, resid, list(steering(subject, made, "difference in means", 4.0))) - resid
    assert float(added.norm(dim=-1).mean()) == pytest.approx(float(by_latent.norm(dim=-1).mean()), rel=1e-3)


def test_turning_refuses_what_has_no_direction_or_several_sites(
    subject: Subject, latents: SaeLatents
) -> None:
    with pytest.raises(UserError):
        NormMatched(Clamp(latents, 1, 1.0), torch.zeros(128))
    with pytest.raises(UserError):
        NormMatched(interp.ProjectOut(subject, torch.ones(128)), torch.ones(128))
    with pytest.raises(UserError, match="other latents"):
        random_latents([1, 2], 2, 2, seed=0)
    assert random_latents(range(50), 7, 5, seed=1) == random_latents(range(50), 7, 5, seed=1)


def test_rows_of_one_batch_come_out_as_if_each_group_were_run_alone(
    subject: Subject, latents: SaeLatents, resid: torch.Tensor
) -> None:
    made = target(subject, latents, resid)
    prompts = [ids("the capital of france is"), ids("the teams near the pan"), ids("hot : cold , big :")]
    edits = [list(steering(subject, made, method, 2.0)) for method in ("latent", "neurons", "random latent")]
    groups = [[], *edits]
    rows = [prompt for _ in groups for prompt in prompts]
    together = written(subject, rows, [own for own in groups for _ in prompts], 8, temperature=0.0)
    for number, own in enumerate(groups):
        alone = written(subject, prompts, [own] * 3, 8, temperature=0.0)
        assert together[3 * number : 3 * number + 3] == alone
    tokens, mask = subject.pad(rows)
    assert together[:3] == subject.generate_ids(tokens[:3], mask[:3], 8)
    with pytest.raises(UserError, match="rows"), subject.intervene(ByRows([(2, edits[0])])):
        subject.logits(tokens, mask)


def test_every_method_runs_and_an_unknown_one_is_refused(
    subject: Subject, latents: SaeLatents, resid: torch.Tensor
) -> None:
    made = target(subject, latents, resid)
    tokens = torch.tensor([ids("the capital of france is")])
    clean = subject.logits(tokens)
    for method in METHODS:
        with subject.intervene(*steering(subject, made, method, 10.0)):
            assert not torch.allclose(subject.logits(tokens), clean)
    with pytest.raises(UserError, match="no steering method"):
        steering(subject, made, "wish", 1.0)


def test_steering_with_a_words_unembedding_makes_the_word_appear(subject: Subject) -> None:
    """Planted: the direction that is read off as a word, added before the last norm."""
    storm = token_ids()["storm"]
    direction = subject.unembedding()[:, storm]
    last = Site("resid_post", subject.n_layers - 1)
    asked = [ids("the capital of france is"), ids("the king near the pan"), ids("hot : cold , big :")]
    prompts = [SteeringPrompt("topic_weather", Question(p, ((1,),), (), "g"), True) for p in asked]
    shares = []
    for size in (0.0, 3.0, 300.0):
        edit = [AddVector(subject, last, direction / direction.norm(), size)]
        texts = written(subject, asked, [edit] * 3, 6, temperature=0.0)
        table = measured_texts(subject, prompts, texts, method="planted", factor=size, draw=0)
        shares.append(float(table["share"].mean()))
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    assert (table["text"] == " ".join(["storm"] * 6)).all()
    assert table["repetition"].tolist() == pytest.approx([0.8] * 3) and not table["right"].any()


def test_cross_entropy_is_that_of_the_text_alone_whatever_stands_beside_it(subject: Subject) -> None:
    prompts = [ids("the capital of france"), ids("hot : cold , big"), ids("these")]
    texts = [ids("is paris ."), (), ids("teams are hot . those")]
    found = cross_entropy(subject, prompts, texts)
    for prompt, text, nats in zip(prompts, texts, found, strict=True):
        if not text:
            assert nats != nats
            asked = SteeringPrompt("topic_law", Question(prompt, ((1,),), (), "g"), True)
            empty = measured_texts(subject, [asked], [text], method="none", factor=0.0, draw=0).iloc[0]
            assert empty["share"] == 0 and not empty["right"] and empty["text"] == ""
            continue
        tokens = torch.tensor([[0, *prompt, *text]])
        log_probs = subject.logits(tokens).log_softmax(-1)[0]
        start = len(prompt)
        expected = -sum(log_probs[start + i, token] for i, token in enumerate(text)) / len(text)
        assert nats == pytest.approx(float(expected), rel=1e-4)


def test_difference_in_means_and_the_largest_activation_are_those_of_the_explain_tokens(
    subject: Subject, latents: SaeLatents
) -> None:
    concepts = ("topic_food", "plural")
    found = difference_in_means(subject, SITE, CORPUS, concepts)
    groups: dict[tuple[str, bool], list[torch.Tensor]] = {}
    peaks = []
    for index in range(len(CORPUS)):
        document = CORPUS[index]
        assert document.labels is not None and document.template is not None
        if split_of(document.hash) != "explain":
            continue
        tokens = torch.tensor([[0, *document.tokens.tolist()]])
        read = subject.read(tokens, [SITE])[SITE][0, 1:]
        counted = (~document.template).nonzero()[0]
        peaks.append(latents.encode(read)[counted.tolist()].amax(0))
        for place in counted:
            for concept in concepts:
                has = bool(int(document.labels[place]) & bit(concept))
                groups.setdefault((concept, has), []).append(read[place])
    for row, concept in zip(found, concepts, strict=True):
        expected = torch.stack(groups[concept, True]).mean(0) - torch.stack(groups[concept, False]).mean(0)
        torch.testing.assert_close(row, expected, atol=1e-3, rtol=1e-3)
    mined = interp.mine(subject, [latents], CORPUS, MiningConfig(context_size=128))
    largest = torch.stack(peaks).amax(0)
    for latent in largest.topk(3).indices.tolist():
        peak = largest_of(mined, FeatureRef(latents, latent))
        assert peak == pytest.approx(float(largest[latent]), rel=1e-3)
    with pytest.raises(UserError, match="no concept"):
        difference_in_means(subject, SITE, CORPUS, ["cheese"])
    with pytest.raises(UserError, match="was not mined"):
        largest_of(mined, FeatureRef(MlpNeurons(subject, 1), 0))


def test_costs_are_nothing_without_a_change_and_grow_with_it(
    subject: Subject, latents: SaeLatents, resid: torch.Tensor
) -> None:
    concepts = ["topic_law", "lang_zorvic"]
    neutral = neutral_documents(subject, CORPUS, SITE, concepts, 3)
    none = steering_costs(subject, neutral, SITE, {name: [] for name in concepts}, method="none")
    assert len(none) == 6 and none[["kl", "extra", "norm"]].abs().max().max() < 1e-5
    made = target(subject, latents, resid)
    sizes = []
    for factor in (1.0, 10.0):
        edits = {name: steering(subject, made, "latent", factor) for name in concepts}
        found = steering_costs(subject, neutral, SITE, edits, method="latent")
        sizes.append(found[["kl", "norm"]].mean())
    assert (sizes[1] > sizes[0]).all() and sizes[1]["kl"] > 0.1
    assert sizes[1]["norm"] == pytest.approx(10 * made.unit, rel=0.05)
    with pytest.raises(UserError, match="neutral"):
        neutral_documents(subject, CORPUS, SITE, concepts, 1000)

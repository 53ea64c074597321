"""A model whose parts are in several places is read, changed and differentiated as one in one place."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import interp
from interp import Clamp, ProjectOut
from interp.errors import UserError
from interp.intervene.weights import orthogonalised
from interp.subject import Site, Subject
from interp.subject.site import SITE_KINDS
from tests.parity.subject_folders import save_model
from tests.subjects import world_subject

TOKENS = torch.randint(1, 1041, (2, 12), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 12, [0] * 4 + [1] * 8])
MAPS: dict[str, str | Mapping[str, str | int]] = {
    "auto": "auto",
    "one device": {"": "cpu"},
    "all on the disk": {"": "disk"},
    "some on the disk": {"": "cpu", "model.layers.3": "disk", "model.layers.5.mlp": "disk"},
}


@pytest.fixture(scope="module", params=MAPS)
def placed(request: pytest.FixtureRequest) -> Subject:
    return interp.load("world", device_map=MAPS[request.param])


def test_every_site_and_the_logits_are_the_same(placed: Subject) -> None:
    plain = world_subject("bridge")
    sites = [
        Site(kind, layer) for kind in SITE_KINDS for layer in ((0,) if kind == "embed" else (0, 3, 5, 7))
    ]
    for mask in (None, MASK):
        found, expected = placed.read(TOKENS, sites, mask), plain.read(TOKENS, sites, mask)
        for site in sites:
            assert torch.equal(found[site], expected[site]), site
        assert torch.equal(placed.logits(TOKENS, mask), plain.logits(TOKENS, mask))


def test_interventions_generation_and_attribution_are_the_same(placed: Subject) -> None:
    prompt, told = "the capital of france is", []
    vector = torch.randn(128, generator=torch.Generator().manual_seed(1))
    for subject in (placed, world_subject("bridge")):
        neurons = interp.MlpNeurons(subject, 3)
        with subject.intervene(
            Clamp(neurons, [1, 2, 3], 4.0), ProjectOut(subject, vector, [Site("resid_post", 5)])
        ):
            logits = subject.logits(TOKENS)
            text = subject.generate(prompt, max_new_tokens=5)
        found = interp.attribute(subject, prompt, target="paris", spaces=[neurons])
        told.append((logits, found.values[neurons.name], text))
    assert torch.equal(told[0][0], told[1][0]) and torch.equal(told[0][1], told[1][1])
    assert told[0][2] == told[1][2]


def test_weights_are_read_as_copies_and_changed_only_where_they_stay(placed: Subject) -> None:
    plain = world_subject("bridge")
    assert torch.equal(placed.unembedding(), plain.unembedding())
    assert torch.equal(placed.final_norm(torch.ones(3, 128)), plain.final_norm(torch.ones(3, 128)))
    for site in (Site("mlp_post", 3), Site("head_out", 3), Site("mlp_post", 1)):
        assert torch.equal(placed.output_weight(site), plain.output_weight(site))
    vector = torch.randn(128, generator=torch.Generator().manual_seed(1))
    if any(parameter.is_meta for parameter in placed.model.parameters()):
        with pytest.raises(UserError, match="loaded anew for each use"), orthogonalised(placed, vector):
            pass
    else:
        with orthogonalised(placed, vector), orthogonalised(plain, vector):
            assert torch.equal(placed.logits(TOKENS), plain.logits(TOKENS))


@pytest.mark.parametrize("name", ["gemma3", "olmo2", "granite", "opt-350m", "phi", "gpt-oss", "cohere"])
def test_other_architectures(name: str, tmp_path: Path) -> None:
    folder, tokens = save_model(name, tmp_path), torch.randint(2, 260, (2, 12))
    plain, placed = interp.load(folder, "bridge", device="cpu"), interp.load(folder, device_map={"": "disk"})
    assert torch.equal(placed.logits(tokens), plain.logits(tokens))
    assert torch.equal(placed.unembedding(), plain.unembedding())


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox", "falcon", "mpt"])
def test_architectures_whose_weights_the_library_reads_itself_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        interp.load(save_model(name, tmp_path), device_map={"": "disk"})
    assert "without" in caught.value.fix and "device_map" in caught.value.fix


@pytest.mark.parametrize(
    ("device_map", "says"),
    [
        ("balanced", "no device map"),
        ({"": "cuda:0"}, "'cuda:0' is not usable here"),
        ({"": 3}, "'cuda:3' is not usable here"),
        ({"": "cpu", "lm_head": "disk"}, "lm_head are the same weights"),
        ({"": "cpu", "model.layers.30": "disk"}, "no part 'model.layers.30'"),
        ({"model.layers": "cpu", "lm_head": "cpu", "model.norm": "disk"}, "no place to model.embed_tokens"),
    ],
)
def test_a_map_that_cannot_be(device_map: str | dict[str, str | int], says: str) -> None:
    if torch.cuda.is_available() and "cuda" in says:
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=says) as caught:
        interp.load("world", device_map=device_map)
    assert "device_map" in caught.value.place


@pytest.mark.parametrize("option", [{"backend": "hooked"}, {"processing": "fold"}])
def test_what_converts_weights_is_refused(option: dict[str, str]) -> None:
    with pytest.raises(UserError, match="on several devices") as caught:
        interp.load("world", device_map="auto", **option)
    assert next(iter(option.values())) in caught.value.place

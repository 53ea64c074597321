"""A quantised model is the model with its weights rounded, and nothing else: read and differentiated."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

import interp
from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.intervene.weights import orthogonalised
from interp.subject import Site, Subject
from tests.parity.subject_folders import save_model
from tests.subjects import world_subject

TOKENS = torch.randint(1, 1041, (4, 24), generator=torch.Generator().manual_seed(0))
CONFIGS: dict[str, Any] = {
    "8bit": {"load_in_8bit": True},
    "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}


def packed(bits: str) -> Any:
    """`transformers`' own quantised model."""
    return AutoModelForCausalLM.from_pretrained(
        world_folder(), dtype=torch.float32, quantization_config=BitsAndBytesConfig(**CONFIGS[bits])
    )


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Subject, Subject]:
    """A quantised subject, and one of the weights that `transformers` unpacks of its quantised model."""
    folder = tmp_path_factory.mktemp("unpacked")
    packed(request.param).dequantize().to(torch.float32).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((world_folder() / name).read_bytes())
    return interp.load("world", quantize=request.param), interp.load(folder, "bridge", device="cpu")


def test_it_computes_what_its_unpacked_weights_compute(pair: tuple[Subject, Subject]) -> None:
    quantised, unpacked = pair
    assert quantised.backend == "bridge" and quantised.gap is not None and quantised.gap.cache_holds
    sites = [Site(kind, layer) for layer in range(8) for kind in ("resid_post", "mlp_post", "head_out")]
    found, expected = quantised.read(TOKENS, sites), unpacked.read(TOKENS, sites)
    for site in sites:
        torch.testing.assert_close(found[site], expected[site], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(quantised.logits(TOKENS), unpacked.logits(TOKENS), rtol=1e-4, atol=1e-4)
    rounded = (unpacked.logits(TOKENS) - world_subject("bridge").logits(TOKENS)).abs().max()
    assert rounded > 0.02, "rounding shows"


def test_a_token_is_read_without_later_tokens_and_other_rows(pair: tuple[Subject, Subject]) -> None:
    """LLM.int8 itself does not keep this: what it leaves out of rounding depends on the whole batch."""
    quantised, _ = pair
    site = Site("mlp_post", 7)
    alone, together = (quantised.read(t, [site])[site] for t in (TOKENS[1:2, :9], TOKENS))
    torch.testing.assert_close(alone[0], together[1, :9], rtol=1e-4, atol=1e-4)


def test_gradients_pass_through_packed_weights(pair: tuple[Subject, Subject]) -> None:
    """Also after a pass without gradients, in which bitsandbytes may lay weights out anew."""
    found = []
    for subject in pair:
        subject.logits(TOKENS)
        measure = {Site("resid_post", 7): lambda activation: activation[:, -1, :40].sum(-1)}
        neurons = interp.MlpNeurons(subject, 2)
        rows = interp.attribute(subject, "the capital of france is", target="paris", spaces=[neurons])
        found.append((subject.gradients(TOKENS, Site("resid_post", 0), measure), rows.values[neurons.name]))
    for ours, expected in zip(*found, strict=True):
        largest = float(expected.abs().max())
        assert largest > 0
        torch.testing.assert_close(ours / largest, expected / largest, rtol=0, atol=1e-3)


def test_weights_are_read_unpacked_and_cannot_be_changed(pair: tuple[Subject, Subject]) -> None:
    quantised, unpacked = pair
    for site in (Site("mlp_post", 3), Site("head_out", 3)):
        torch.testing.assert_close(quantised.output_weight(site), unpacked.output_weight(site))
    assert torch.equal(quantised.unembedding(), world_subject("bridge").unembedding())
    with (
        pytest.raises(UserError, match="are quantised") as caught,
        orthogonalised(quantised, torch.ones(128)),
    ):
        pass
    assert "without quantize" in caught.value.fix


def test_weights_that_are_stored_in_few_bits_come_as_they_are(tmp_path: Path) -> None:
    model = packed("4bit")
    model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((world_folder() / name).read_bytes())
    subject = interp.load(tmp_path, device="cpu")
    assert (subject.backend, subject.quantize) == ("bridge", "4bit")
    expected = interp.load("world", quantize="4bit").logits(TOKENS)
    torch.testing.assert_close(subject.logits(TOKENS), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="stored in 4bit already"):
        interp.load(tmp_path, quantize="8bit")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"quantize": "2bit"}, "'2bit' is no quantize"),
        ({"quantize": "8bit", "backend": "hooked"}, "takes none that are packed"),
        ({"quantize": "4bit", "processing": "fold"}, "cannot be folded"),
        ({"quantize": "4bit", "dtype": "float64"}, "does not compute in float64"),
        ({"quantize": "8bit", "device_map": {"": "cpu", "model.layers.3": "disk"}}, "cannot load it so"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        interp.load("world", **options)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    missing = lambda name, *rest: None if name == "bitsandbytes" else real(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", missing)
    with pytest.raises(UserError, match="need bitsandbytes") as caught:
        interp.load("world", quantize="8bit")
    assert "interp[quantized]" in caught.value.fix


def test_layers_that_bitsandbytes_does_not_know_are_not_passed_off_as_quantised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="packs none of the layers of FalconForCausalLM"):
        interp.load(save_model("falcon", tmp_path), quantize="8bit")


@pytest.mark.parametrize("name", ["gemma3", "qwen3", "opt-350m", "gpt-oss"])
@pytest.mark.parametrize("bits", CONFIGS)
def test_other_architectures_are_held_to_transformers(name: str, bits: str, tmp_path: Path) -> None:
    subject = interp.load(save_model(name, tmp_path), quantize=bits)
    assert (
        subject.gap is not None and subject.gap.holds and subject.gap.cache_holds and subject.gap.lens_holds
    )


@pytest.mark.parametrize("bits", CONFIGS)
def test_where_the_library_splits_matrices_the_fix_is_named(bits: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="builds no bridge for GPTNeoXForCausalLM") as caught:
        interp.load(save_model("gpt-neox", tmp_path), quantize=bits)
    assert "without quantize" in caught.value.fix

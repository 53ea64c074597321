"""Every way in which a model folder or an option can be wrong ends in one clear error; nothing unpickles."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, OPTConfig

from interp import subject as subjects
from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.subject import Site
from tests.parity.subject_folders import save_model, save_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(world_folder(), copy)
    for path in copy.iterdir():
        path.chmod(0o644)
    return copy


def edit_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["wrold", "/no/such/folder", "./nowhere/model"])
def test_a_name_that_leads_nowhere(name: str) -> None:
    with pytest.raises(UserError, match="world"):
        subjects.load(name)


def test_a_hub_name_without_a_network_names_the_folder_option(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="give its folder"):
        subjects.load("nobody-at-all/no-such-model")


def test_a_folder_without_a_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"no config\.json"):
        subjects.load(folder)


def test_a_config_that_is_not_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        subjects.load(folder)


def test_a_config_of_an_unknown_architecture(folder: Path) -> None:
    edit_config(folder, model_type="mystery", architectures=["MysteryForCausalLM"])
    with pytest.raises(UserError, match="mystery"):
        subjects.load(folder)


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("keep", [0, 4, 1000, 2_000_000])
def test_truncated_weights(folder: Path, backend: Any, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cannot be read [^$]*model\.safetensors"):
        subjects.load(folder, backend)


def test_weights_that_are_not_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 4096)
    with pytest.raises(UserError, match=r"cannot be read [^$]*model\.safetensors"):
        subjects.load(folder)


def test_weights_that_lack_a_tensor(folder: Path) -> None:
    edit_weights(folder, lambda weights: weights.pop("model.layers.3.mlp.up_proj.weight"))
    with pytest.raises(UserError, match=r"lack 1 tensors, such as model\.layers\.3\.mlp\.up_proj\.weight"):
        subjects.load(folder)


def test_weights_of_other_shapes_than_the_config_says(folder: Path) -> None:
    edit_config(folder, intermediate_size=319)
    with pytest.raises(UserError, match="weights cannot be read"):
        subjects.load(folder)


class _Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_pickled_weights_are_refused_and_never_run(folder: Path, tmp_path: Path, backend: Any) -> None:
    (folder / "model.safetensors").unlink()
    marker = tmp_path / "exploded"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb(marker)))
    with pytest.raises(UserError, match="pickled weights only"):
        subjects.load(folder, backend)
    assert not marker.exists()


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        subjects.load(folder)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("backend", "hook"),
        ("dtype", "float8"),
        ("processing", "all"),
        ("device", "tpu"),
        ("device", "cuda:99"),
    ],
)
def test_an_option_that_does_not_exist(option: str, value: str) -> None:
    with pytest.raises(UserError, match=value):
        subjects.load("world", **{option: value})


def test_an_architecture_that_hooked_cannot_build_names_the_bridge_which_can(tmp_path: Path) -> None:
    config = OPTConfig(
        vocab_size=260,
        hidden_size=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, bos="<s>")
    with pytest.raises(UserError, match="OPTForCausalLM") as caught:
        subjects.load(tmp_path, "hooked")
    assert "bridge" in caught.value.fix
    tokens = torch.randint(2, 260, (2, 9))
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    subject = subjects.load(tmp_path, "bridge")
    with torch.no_grad():
        expected = reference(tokens).logits.log_softmax(-1)
    torch.testing.assert_close(subject.logits(tokens).log_softmax(-1), expected, atol=1e-4, rtol=0)


def test_info_reads_only_the_config(folder: Path) -> None:
    info = subjects.subject_info("world")
    assert (info.n_layers, info.d_model, info.d_mlp, info.n_heads, info.d_head) == (8, 128, 320, 4, 32)
    (folder / "model.safetensors").write_bytes(b"not weights")
    assert subjects.subject_info(folder).d_vocab == 1041


@pytest.mark.parametrize(
    ("site", "says"),
    [
        (Site("mlp_post", 8), "0 to 7"),
        (Site("resid_post", 99), "8 layers"),
        (Site("embed", 1), "no layers"),
    ],
)
def test_an_impossible_site_says_what_is_possible(site: Site, says: str) -> None:
    with pytest.raises(UserError, match=says):
        subjects.subject_info("world").site_width(site)


def test_parallel_blocks_have_no_resid_mid(tmp_path: Path) -> None:
    info = subjects.subject_info(save_model("gpt-neox", tmp_path))
    with pytest.raises(UserError, match="side by side") as caught:
        info.site_width(Site("resid_mid", 0))
    assert "resid_pre" in caught.value.fix


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_precision_is_an_option(backend: Any, dtype: Any) -> None:
    tokens = torch.randint(1, 1041, (2, 16), generator=torch.Generator().manual_seed(0))
    exact = subjects.load("world", backend, device="cpu").logits(tokens).log_softmax(-1)
    subject = subjects.load("world", backend, device="cpu", dtype=dtype)
    logits = subject.logits(tokens)
    assert logits.dtype == subject.dtype == getattr(torch, dtype)
    close = {"float64": 1e-4, "bfloat16": 1.0, "float16": 0.2}[dtype]
    assert float((logits.double().log_softmax(-1) - exact).abs().max()) < close


@pytest.mark.parametrize("backend", ["hooked", "bridge"])
def test_a_tokenizer_is_read_once(folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 262,144 words takes seconds."""
    read, real = [], AutoTokenizer.from_pretrained

    def from_pretrained(*arguments: Any, **options: Any) -> Any:
        read.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    subject = subjects.load(folder, backend, device="cpu")
    assert len(read) == 1 and subject.model.tokenizer is None

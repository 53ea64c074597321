"""Weights in several files, in the type that they are stored in, and what a user is told of damaged ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

import interp
from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.subject.folder import count_parameters
from interp.subject.load import SubjectConfig
from interp.subject.precision import resolved_dtype
from interp.subject.pretrained import read_weights
from tests.subjects import BACKENDS, world_subject

INDEX = "model.safetensors.index.json"
TOKENS = torch.randint(1, 1041, (2, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """The world's weights in several files, as `transformers` writes large models."""
    folder = tmp_path / "sharded"
    model = AutoModelForCausalLM.from_pretrained(world_folder(), dtype="auto")
    model.save_pretrained(folder, max_shard_size="1MB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((world_folder() / name).read_bytes())
    assert len(list(folder.glob("*.safetensors"))) > 2
    return folder


def edit_index(folder: Path, change: Callable[[dict[str, str]], None]) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    (folder / INDEX).write_text(json.dumps(index))


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_in_several_files_are_those_in_one(sharded: Path, backend: str) -> None:
    subject = interp.load(sharded, backend, device="cpu")
    assert torch.equal(subject.logits(TOKENS), world_subject(backend).logits(TOKENS))
    assert count_parameters(sharded) == count_parameters(world_folder())


def test_a_file_that_is_not_there_is_named(sharded: Path) -> None:
    lost = sorted(sharded.glob("*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(UserError, match=rf"{lost.name} does not exist"):
        interp.load(sharded, device="cpu")


@pytest.mark.parametrize("file", ["../outside.safetensors", "/tmp/outside.safetensors"])
def test_a_file_outside_the_folder_is_not_opened(sharded: Path, file: str) -> None:
    inside = sorted(sharded.glob("*.safetensors"))[0]
    (sharded.parent / "outside.safetensors").write_bytes(inside.read_bytes())
    edit_index(sharded, lambda names: names.update(dict.fromkeys(names, file)))
    with pytest.raises(UserError, match="outside the folder") as caught:
        interp.load(sharded, device="cpu")
    assert INDEX in caught.value.place


def test_a_tensor_in_two_files_is_named(sharded: Path) -> None:
    first, second, *_ = sorted(sharded.glob("*.safetensors"))
    name = "model.layers.0.mlp.up_proj.weight"
    weights = {file: load_file(file) for file in (first, second)}
    owner, other = (first, second) if name in weights[first] else (second, first)
    save_file({**weights[other], name: weights[owner][name] + 1}, other, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"{name} is in {first.name} and in {second.name}"):
        interp.load(sharded, device="cpu")


def test_an_index_that_is_wrong_about_a_tensor(sharded: Path) -> None:
    files = sorted(file.name for file in sharded.glob("*.safetensors"))
    name = "model.norm.weight"

    def elsewhere(names: dict[str, str]) -> None:
        names[name] = next(file for file in files if file != names[name])

    edit_index(sharded, elsewhere)
    with pytest.raises(UserError, match=rf"lacks {name}, which the index says is there"):
        interp.load(sharded, device="cpu")


def test_reading_takes_the_weights_once_and_not_twice(tmp_path: Path) -> None:
    """120 MB in shards of 20 MB. Pages of the files count here, too: they are given back when asked for."""
    from tests.integration.peak_memory import peak_over_start  # imports much

    config = LlamaConfig(hidden_size=512, intermediate_size=2048, num_hidden_layers=7, vocab_size=512)
    model = AutoModelForCausalLM.from_config(config)
    size = sum(one.numel() * one.element_size() for one in model.parameters())
    model.save_pretrained(tmp_path, max_shard_size="20MB")
    del model
    read_weights(world_folder(), torch.float32)  # what reading imports is not counted
    found: list[int] = []
    with peak_over_start(found):
        kept = read_weights(tmp_path, torch.float32)
    assert kept is not None and size < 2e8
    assert 0.8 * size < found[0] < 1.5 * size, f"{found[0] / size:.2f} times the weights"


def test_auto_is_the_type_of_the_weights(sharded: Path) -> None:
    subject = interp.load("world", device="cpu", dtype="auto")
    assert subject.dtype == subject.logits(TOKENS).dtype == torch.float16
    assert SubjectConfig.model_validate({"dtype": "auto"}).resolved_dtype() == "float16"
    assert resolved_dtype("world", "bfloat16") == "bfloat16"
    config = json.loads((sharded / "config.json").read_text())
    for said, expected in (
        ({"torch_dtype": "bfloat16"}, "bfloat16"),
        ({"dtype": "float32", "torch_dtype": "bfloat16"}, "float32"),
        ({}, "float16"),  # of the files
    ):
        bare = {key: value for key, value in config.items() if "dtype" not in key}
        (sharded / "config.json").write_text(json.dumps(bare | said))
        assert resolved_dtype(sharded, "auto") == expected


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", 16, ["float32"]])
def test_a_type_that_no_subject_has(sharded: Path, dtype: Any) -> None:
    config = json.loads((sharded / "config.json").read_text())
    (sharded / "config.json").write_text(json.dumps(config | {"dtype": dtype}))
    with pytest.raises(UserError, match="its weights are of type") as caught:
        resolved_dtype(sharded, "auto")
    assert "float32" in caught.value.fix


def test_auto_of_published_models_is_known_without_a_hub() -> None:
    assert resolved_dtype("meta-llama/Llama-3.1-8B", "auto") == "bfloat16"
    assert resolved_dtype("openai-community/gpt2", "auto") == "float32"

"""Model folders from outside: their own files, safetensors alone, of the size they say, finite numbers."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from interp import subject as subjects
from interp.descriptions.local_model import LocalModel
from interp.errors import UserError
from interp.subject.folder import find_folder, subject_info
from interp.subject.pretrained import read_tokenizer, read_weights
from tests.parity.subject_folders import save_model

OUTSIDE = "elsewhere"
Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("llama", tmp_path_factory.mktemp("original") / "llama")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    (tmp_path / OUTSIDE).mkdir()
    return Path(shutil.copytree(original, tmp_path / "model"))


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def indexed(folder: Path, name: str) -> Path:
    """Moves the weights to a file that an index names; gives its path."""
    names = dict.fromkeys(load_file(folder / "model.safetensors"), name)
    target = folder / name
    (folder / "model.safetensors").rename(target)
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return target


def linked(folder: Path, name: str) -> None:
    """Moves a file out of the folder and leaves a link to it."""
    outside = folder.parent / OUTSIDE / name
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)


def cut(file: Path, to: int) -> None:
    file.write_bytes(file.read_bytes()[:to])


def header(folder: Path, length: int, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + content)


def lying(folder: Path, shape: list[int], offsets: list[int]) -> None:
    content = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
    header(folder, len(content), content + bytes(16))


def pipe(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch sprung",)


FILES: dict[str, tuple[Change, str]] = {
    "weights elsewhere": (lambda f: linked(f, "model.safetensors"), "link out of the model folder"),
    "a configuration elsewhere": (lambda f: linked(f, "config.json"), "link out of the model folder"),
    "a tokenizer elsewhere": (lambda f: linked(f, "tokenizer.json"), "link out of the model folder"),
    "a pipe": (lambda f: pipe(f / "generation_config.json"), "no plain file"),
    "weights from a pipe": (lambda f: pipe(f / "model.safetensors"), "no plain file"),
    "a device": (lambda f: (f / "added_tokens.json").symlink_to("/dev/zero"), "link out of the model folder"),
    "a folder": (lambda f: (f / "special_tokens_map.json").mkdir(), "no plain file"),
    "a link to itself": (lambda f: (f / "vocab.json").symlink_to("vocab.json"), "leads nowhere"),
    "templates elsewhere": (
        lambda f: (f / "additional_chat_templates").symlink_to(f.parent / OUTSIDE),
        "link out of the model folder",
    ),
    "an index of pickles": (
        lambda f: indexed(f, "pytorch_model.bin").write_bytes(pickle.dumps(Trap())),
        "no safetensors file",
    ),
    "an index upwards": (lambda f: indexed(f, f"../{OUTSIDE}/x.safetensors"), "outside the folder"),
    "an index from the root": (
        lambda f: indexed(f, str(f.parent / OUTSIDE / "x.safetensors")),
        "outside the folder",
    ),
    "an index of links": (
        lambda f: linked(f, indexed(f, "x.safetensors").name),
        "link out of the model folder",
    ),
    "an index of nothing": (lambda f: indexed(f, "x.safetensors").unlink(), "does not exist"),
    "an index of no names": (
        lambda f: (indexed(f, "x.safetensors"), (f / "model.safetensors.index.json").write_text("{}")),
        "which file each tensor is in",
    ),
    "an adapter": (
        lambda f: (f / "adapter_config.json").write_text('{"base_model_name_or_path": "/"}'),
        "adapter to another model",
    ),
    "other weights": (
        lambda f: edit(f / "config.json", transformers_weights="../x.safetensors"),
        "transformers_weights names files elsewhere",
    ),
    "arguments": (
        lambda f: edit(f / "tokenizer_config.json", init_inputs=["/etc/passwd"]),
        "init_inputs names files elsewhere",
    ),
    "code of a kernel": (
        lambda f: edit(f / "config.json", attn_implementation="someone/kernel"),
        "attn_implementation names files elsewhere",
    ),
    "a large file": (
        lambda f: os.truncate(f / "config.json", 2 * 10**9),
        "larger than 64 MiB",
    ),
    "a large template": (
        lambda f: (f / "chat_template.jinja").write_text("x" * 2**21),
        "larger than 1 MiB",
    ),
    "a large template within": (
        lambda f: edit(f / "tokenizer_config.json", chat_template="x" * 2**21),
        "larger than 1 MiB",
    ),
    "a deep file": (
        lambda f: (f / "config.json").write_text('{"a": ' + "[" * 10**4 + "]" * 10**4 + "}"),
        "deeper than 100 levels",
    ),
    "a list": (lambda f: (f / "special_tokens_map.json").write_text("[]"), "no JSON object"),
    "half a file": (lambda f: cut(f / "tokenizer_config.json", 40), "not valid JSON"),
    "a word for a length": (
        lambda f: edit(f / "tokenizer_config.json", model_max_length="x"),
        "no number of tokens",
    ),
}  # fmt: skip
NUMBERS: dict[str, tuple[Change, str]] = {
    "a billion layers": (
        lambda f: edit(f / "config.json", num_hidden_layers=10**9),
        "num_hidden_layers is 1,000,000,000, more than any model has",
    ),
    "no layers": (lambda f: edit(f / "config.json", num_hidden_layers=0), "not a whole number from 1"),
    "half a layer": (lambda f: edit(f / "config.json", num_hidden_layers=2.5), "not a whole number from 1"),
    "a word of layers": (lambda f: edit(f / "config.json", num_hidden_layers="3"), "not a whole number"),
    "below zero": (lambda f: edit(f / "config.json", max_position_embeddings=-1), "not a whole number"),
    "no context": (lambda f: edit(f / "config.json", max_position_embeddings=1), "no text fits"),
    "a long context": (
        lambda f: edit(f / "config.json", max_position_embeddings=10**15),
        "more than any model has",
    ),
    "labels": (lambda f: edit(f / "config.json", num_labels=10**9), "num_labels is 1,000,000,000"),
    "a part": (
        lambda f: edit(f / "config.json", text_config={"num_hidden_layers": 10**9}),
        "more than any model has",
    ),
    "no kind": (lambda f: edit(f / "config.json", architectures=5), "architectures is 5, no list"),
    "no part": (lambda f: edit(f / "config.json", text_config=[1]), "no dict"),
    "an end of words": (
        lambda f: edit(f / "generation_config.json", eos_token_id={"a": 1}),
        "no ids of tokens",
    ),
}  # fmt: skip
WEIGHTS: dict[str, tuple[Change, str]] = {
    "many layers": (
        lambda f: edit(f / "config.json", num_hidden_layers=5000),
        "asks for a model of more than .* and the weights hold",
    ),
    "a wide model": (
        lambda f: edit(f / "config.json", hidden_size=10**6, num_attention_heads=10**3),
        "asks for a model of more than",
    ),
    "many words": (lambda f: edit(f / "config.json", vocab_size=10**7), "asks for a model of more than"),
    "NaN": (
        lambda f: change_weights(f, lambda w: w["model.layers.1.mlp.up_proj.weight"][3].fill_(torch.nan)),
        r"model\.layers\.1\.mlp\.up_proj\.weight holds numbers that are not finite",
    ),
    "an infinity": (
        lambda f: change_weights(f, lambda w: w["model.norm.weight"][:1].fill_(-torch.inf)),
        r"model\.norm\.weight holds numbers that are not finite",
    ),
    "a long header": (lambda f: header(f, 2**63, b"{}"), "cannot be read"),
    "a deep header": (lambda f: header(f, 20000, b"[" * 10**4 + b"]" * 10**4), "cannot be read"),
    "a header of more": (lambda f: lying(f, [10**12], [0, 4 * 10**12]), "cannot be read"),
    "a header that overflows": (lambda f: lying(f, [2**40, 2**40], [0, 16]), "cannot be read"),
    "a header backwards": (lambda f: lying(f, [4], [16, 0]), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", [find_folder, LocalModel.load])
def test_what_a_folder_may_not_hold_is_refused_before_it_is_read(
    folder: Path, name: str, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    change, why = FILES[name]
    change(folder)
    with pytest.raises(UserError, match=why):
        read(folder)
    assert not (folder.parent / "sprung").exists()


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_no_model_has_are_refused_by_the_configuration_alone(folder: Path, name: str) -> None:
    change, why = NUMBERS[name]
    change(folder)
    with pytest.raises(UserError, match=why):
        subject_info(folder)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_held_to_the_configuration_and_to_be_finite(folder: Path, name: str) -> None:
    change, why = WEIGHTS[name]
    change(folder)
    with pytest.raises(UserError, match=why):
        read_weights(folder, torch.float32)


@pytest.mark.parametrize("check", [True, False])
def test_a_subject_without_a_check_is_of_finite_weights_all_the_same(folder: Path, check: bool) -> None:
    change_weights(folder, lambda weights: [value.fill_(torch.nan) for value in weights.values()])
    with pytest.raises(UserError, match="not finite"):
        subjects.load(folder, device="cpu", check=check)


def test_a_link_within_the_folder_and_parts_named_by_an_index_are_read(folder: Path) -> None:
    expected = read_weights(folder, torch.float32).state_dict()
    indexed(folder, "part.safetensors").rename(folder / "kept.safetensors")
    (folder / "part.safetensors").symlink_to("kept.safetensors")
    found = read_weights(folder, torch.float32).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_snapshot_of_the_hub_cache_is_read(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--model"
    snapshot, blobs = repository / "snapshots" / ("0" * 40), repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        (blobs / str(number)).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    read_tokenizer(snapshot)
    read_weights(snapshot, torch.float32)
    (snapshot / "vocab.json").symlink_to(folder / "config.json")
    with pytest.raises(UserError, match="link out of the model folder"):
        read_tokenizer(snapshot)


def test_a_tokenizer_without_a_limit_is_read(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", model_max_length=int(1e30))
    assert read_tokenizer(folder).get_vocab()


@pytest.mark.parametrize("pattern", [r"(a+)+$", "("])
def test_a_tokenizer_with_patterns_that_do_not_end_is_refused(folder: Path, pattern: str) -> None:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    edit(folder / "tokenizer.json", pre_tokenizer=split)
    with pytest.raises(UserError, match="tokenizer"):
        read_tokenizer(folder)

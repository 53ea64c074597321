"""Summaries of run folders, for listing and showing; nothing here writes."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interp.errors import UserError, quoted, similar_names
from interp.track.files import refused_by_system
from interp.track.lock import is_locked
from interp.track.records import BEGIN_ANEW, read_manifest, read_steps
from interp.track.step import Value
from interp.yaml_text import read_yaml

Status = Literal["running", "finished", "interrupted", "failed", "unreadable"]
SHOWN_WITHOUT_HEADLINE = 3


@dataclass(frozen=True)
class RunSummary:
    """One run folder at a glance."""

    name: str
    folder: Path
    experiment: str
    status: Status
    started: str
    seconds: float
    """Time spent in the steps that have finished."""
    steps: tuple[str, ...]
    """The finished steps, in order."""
    metrics: dict[str, Value]
    headline: dict[str, Value]
    """The metrics that the experiment calls its headline; the first few where it names none."""
    damage: UserError | None = None
    """What makes the folder unreadable, and where."""

    @property
    def report(self) -> Path | None:
        """The report page, if there is one."""
        path = self.folder / "report.html"
        return path if path.exists() else None

    @property
    def tables(self) -> list[Path]:
        """The Parquet tables."""
        return sorted((self.folder / "tables").glob("*.parquet"))

    @property
    def figures(self) -> list[Path]:
        """The SVG figures."""
        return sorted((self.folder / "figures").glob("*.svg"))


def list_runs(runs_dir: Path) -> list[RunSummary]:
    """Return all runs in `runs_dir`, the latest first."""
    folders = sorted(runs_dir.iterdir()) if os.path.isdir(runs_dir) else []
    summaries = [read_run(folder) for folder in folders if _is_run(folder)]
    return sorted(summaries, key=lambda summary: (summary.started, summary.name), reverse=True)


def find_run(runs_dir: Path, name: str) -> RunSummary:
    """Return the run `name`, also when given as the path of its folder.

    Raises:
        UserError: there is none; names the nearest.
    """
    for folder in (runs_dir / name, Path(name)):
        if _is_run(folder):
            return read_run(folder)
    known = [summary.name for summary in list_runs(runs_dir)]
    near = similar_names(name, known)
    raise UserError(
        f"there is no run {quoted(name)}",
        str(runs_dir.absolute()),
        f"did you mean {' or '.join(near)}?" if near else "`interp runs` lists what there is",
    )


def read_run(folder: Path) -> RunSummary:
    """Return the summary of one run folder; a damaged one has the status "unreadable" and says why."""
    try:
        return _summary(folder)
    except (UserError, OSError) as error:
        damage = error if isinstance(error, UserError) else refused_by_system(error, folder)
        damage = damage or UserError(f"not readable ({error})", str(folder), BEGIN_ANEW)
        return RunSummary(folder.name, folder, "", "unreadable", "", 0.0, (), {}, {}, damage)


def _is_run(folder: Path) -> bool:
    """Whether a folder has one of the files that only runs have; the other may be lost."""
    return any(os.path.lexists(folder / name) for name in ("config.yaml", "manifest.json"))


def _summary(folder: Path) -> RunSummary:
    config = read_yaml(folder / "config.yaml", BEGIN_ANEW)
    path = folder / "manifest.json"
    # a run may be killed before it writes one
    manifest = read_manifest(folder) if os.path.lexists(path) else {}
    records = read_steps(folder)
    metrics = {name: value for record in records for name, value in record.metrics.items()}
    headline = [name for record in records for name in record.headline]
    return RunSummary(
        name=folder.name,
        folder=folder,
        experiment=manifest.get("experiment") or str(config.get("experiment", "")),
        status=_status(folder, manifest.get("status", "interrupted")),
        started=manifest.get("started", ""),
        seconds=sum((record.seconds for record in records), 0.0),
        steps=tuple(record.step for record in records),
        metrics=metrics,
        headline={name: metrics[name] for name in headline or list(metrics)[:SHOWN_WITHOUT_HEADLINE]},
    )


def _status(folder: Path, written: Status) -> Status:
    """The status; "running" becomes "interrupted" if nobody holds the lock, as the run was killed."""
    if written == "running" and not is_locked(folder.parent, folder.name):
        return "interrupted"
    return written

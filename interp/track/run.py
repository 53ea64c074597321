"""Run folders: locked, described by a manifest, built of steps that happen once."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel

from interp.errors import UserError
from interp.track.files import publish, publish_folder, write_json, write_text
from interp.track.lock import locked
from interp.track.manifest import surroundings
from interp.track.progress import Progress, automatic
from interp.track.step import Listener, Step, Value, read_points

if TYPE_CHECKING:
    from interp.track.wandb_log import WandbLog

NOT_RESULTS = frozenset({"name", "purpose", "wandb"})
"""Top keys of a config that change no number: a run may be continued with others."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Run:
    """An open run folder. Made by `open_run`."""

    def __init__(self, config: BaseModel, folder: Path, progress: Progress, manifest: dict[str, Any]) -> None:
        """Take over `folder`, which is locked and has its config."""
        self.config = config
        self.name = folder.name
        self.folder = folder
        self.progress = progress
        self.manifest = manifest
        self.metrics: dict[str, Value] = {}
        """The metrics of all steps finished or skipped so far."""
        self.headline: list[str] = []
        self.current_step: str | None = None
        self.finished_before = manifest["status"] == "finished"
        """True for a finished run that was opened again: every step will be skipped."""
        self._steps: list[str] = []
        self._tracker: WandbLog | None = None

    def step(self, name: str, work: Callable[[Step], object]) -> Path:
        """Do `work` once: a step that has finished, now or in an earlier process, is skipped.

        The global random states are seeded from the config's seed and the step's name, so a step gives the
        same numbers whether or not earlier ones were skipped. (torch is seeded if it has been imported.)

        Returns the folder of the finished step.
        """
        if not _NAME.fullmatch(name) or name in self._steps:
            raise ValueError(f"{name!r} is no name for a step, or was used before")
        self.current_step = name
        final = self.folder / "steps" / name
        scratch = self.folder / "steps" / f".{name}.scratch"
        tracker = self._open_tracker()
        if final.exists():
            if not self.finished_before:
                self.progress.say(f"step {name}: finished before")
            if tracker is not None:
                for point in read_points(final / "history.jsonl"):
                    tracker.log(name, point)
        else:
            self._do(name, work, final, scratch, tracker)
        shutil.rmtree(scratch, ignore_errors=True)
        self._steps.append(name)
        self._collect(final)
        self.current_step = None
        return final

    def write_report(self, html: str) -> Path:
        """Write report.html, which also goes to W&B when the run finishes."""
        path = self.folder / "report.html"
        write_text(path, html)
        return path

    def _do(
        self, name: str, work: Callable[[Step], object], final: Path, scratch: Path, listener: Listener | None
    ) -> None:
        partial = final.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        scratch.mkdir(exist_ok=True)
        step = Step(name, partial, scratch, self.progress, listener)
        seed_everything(getattr(self.config, "seed", 0), name)
        started, clock = _now(), time.monotonic()
        work(step)
        step.finish()
        for metric in step.metrics:
            if metric in self.metrics:
                raise ValueError(f"the metric {metric!r} of step {name!r} was set by an earlier step")
        record = {
            "step": name,
            "order": len(self._steps),
            "started": started,
            "finished": _now(),
            "seconds": round(time.monotonic() - clock, 3),
            "metrics": step.metrics,
            "headline": step.headline,
        }
        write_json(partial / "step.json", record)
        publish_folder(partial, final)

    def _collect(self, step_folder: Path) -> None:
        """Bring a finished step's metrics, tables and figures to the top of the run folder."""
        record = json.loads((step_folder / "step.json").read_text())
        self.metrics |= record["metrics"]
        self.headline += record["headline"]
        for kind in ("tables", "figures"):
            for file in sorted((step_folder / kind).glob("*")):
                publish(file, self.folder / kind / file.name)
        write_json(self.folder / "metrics.json", self.metrics)

    def _open_tracker(self) -> "WandbLog | None":
        options = getattr(self.config, "wandb", None)
        if self._tracker is None and options is not None and not self.finished_before:
            from interp.track.wandb_log import open_log

            self._tracker = open_log(options.mode, options.project, self.folder)
        return self._tracker

    def _finish(self) -> None:
        if tracker := self._open_tracker():
            tracker.finish(self.folder, self.metrics)
            self._tracker = None
        (self.folder / "error.log").unlink(missing_ok=True)

    def _abandon(self) -> None:
        if self._tracker is not None:
            self._tracker.abandon()
            self._tracker = None


@contextmanager
def open_run(
    config: BaseModel,
    name: str,
    runs_dir: Path = Path("runs"),
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Iterator[Run]:
    """Open runs_dir/name for `config`, new or to be continued; nobody else can write it meanwhile.

    Leaving the block finishes the run; an exception marks it interrupted or failed (with error.log), and the
    next `open_run` continues after the last finished step. `fresh` first moves an old folder to
    runs_dir/.old/, where nothing is ever deleted.

    Raises:
        UserError: another process holds the folder, it was made with another config, it is no
            run folder, or W&B is to be online without a key.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of a run", "the name", "use letters, digits, `-`, `_`, `.`"
        )
    folder = Path(runs_dir) / name
    resolved = config.model_dump(mode="json")
    if "name" in resolved:
        resolved["name"] = name
    if (options := getattr(config, "wandb", None)) is not None:
        from interp.track.wandb_log import choose_mode

        choose_mode(options.mode)
    with locked(Path(runs_dir), name):
        if fresh and folder.exists():
            _move_aside(folder)
        _check_same_config(folder, resolved)
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        manifest = _begin(folder, name, resolved)
        run = Run(config, folder, progress or automatic(), manifest)
        try:
            yield run
            if not run.finished_before:
                run._finish()
        except BaseException as error:
            # what went wrong is the news, not that noting it may fail too (a full disk, say)
            with contextlib.suppress(Exception):
                run._abandon()
            if not run.finished_before:
                with contextlib.suppress(UserError, OSError):
                    _note_failure(run, error)
            raise
        if not run.finished_before:
            _end(folder, manifest, "finished", headline=run.headline)


def seed_everything(seed: int, purpose: str) -> None:
    """Seed Python's, numpy's and torch's global generators (those imported) from `seed` and `purpose`."""
    value = int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big")
    random.seed(value)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(value)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(value)


def _check_same_config(folder: Path, resolved: dict[str, Any]) -> None:
    if not (folder / "config.yaml").exists():
        if folder.exists() and (
            not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())
        ):
            raise UserError(
                f"{folder} exists and is not the folder of a run",
                str(folder.absolute()),
                "give the run another name: name=...",
            )
        return
    old = _flat({k: v for k, v in read_yaml(folder / "config.yaml").items() if k not in NOT_RESULTS})
    new = _flat({k: v for k, v in resolved.items() if k not in NOT_RESULTS})
    differing = [key for key in (old | new) if old.get(key, _ABSENT) != new.get(key, _ABSENT)]
    if differing:
        shown = [f"{key}: {old.get(key, _ABSENT)} then, {new.get(key, _ABSENT)} now" for key in differing]
        raise UserError(
            "the run folder was made with another config: " + "; ".join(shown),
            str(folder),
            "give this run another name (name=...), or add --fresh to move the old folder to "
            f"{folder.parent / '.old'} and begin anew",
        )


_ABSENT = "absent"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {
            k: v for key in value for k, v in _flat(value[key], f"{prefix}.{key}" if prefix else key).items()
        }
    return {prefix: value}


def _begin(folder: Path, name: str, resolved: dict[str, Any]) -> dict[str, Any]:
    """Write config and manifest; a finished run keeps the ones it has."""
    path = folder / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if manifest.get("status") == "finished":
        return manifest
    write_text(folder / "config.yaml", yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True))
    began = {"started": _now(), "pid": os.getpid()} | surroundings()
    manifest = {
        "run": name,
        "experiment": resolved.get("experiment"),
        "status": "running",
        "started": manifest.get("started", began["started"]),
        "finished": None,
        "seeds": {"seed": resolved.get("seed")},
        "sessions": [*manifest.get("sessions", []), began],
    }
    write_json(path, manifest)
    return manifest


def _end(folder: Path, manifest: dict[str, Any], status: str, **more: Any) -> None:
    manifest |= {"status": status, "finished": _now()} | more
    manifest["sessions"][-1] |= {"finished": manifest["finished"], "status": status}
    write_json(folder / "manifest.json", manifest)


def _note_failure(run: Run, error: BaseException) -> None:
    stopped = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
    if not stopped and not isinstance(error, UserError):
        write_text(run.folder / "error.log", "".join(traceback.format_exception(error)))
    _end(run.folder, run.manifest, "interrupted" if stopped else "failed", step=run.current_step)


def _move_aside(folder: Path) -> None:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    target = folder.parent / ".old" / f"{folder.name}-{stamp}"
    while target.exists():
        target = target.with_name(target.name + "-again")
    target.parent.mkdir(exist_ok=True)
    os.rename(folder, target)


def _sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left; we hold the lock, so nobody is writing them."""
    for pattern in (".*.tmp", "tables/.*.tmp", "figures/.*.tmp"):
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping that this package wrote."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")

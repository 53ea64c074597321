"""Run folders: locked, described by a manifest, built of steps that happen once."""

import contextlib
import hashlib
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from interp.errors import UserError
from interp.outside import read_file, utf8
from interp.track.files import (
    publish,
    publish_folder,
    refused_by_system,
    write_json,
    write_text,
    writing_explained,
)
from interp.track.folder import (
    begin,
    changes,
    check_run_name,
    check_same_config,
    end,
    move_aside,
    note_failure,
    now,
    remove_temporary,
)
from interp.track.live import NotedProgress
from interp.track.lock import beside_lock, locked
from interp.track.progress import Progress, automatic
from interp.track.records import BEGIN_ANEW, check_inside, check_whole, inventory, read_step, read_steps, redo
from interp.track.step import Listener, Step, Value, read_points

if TYPE_CHECKING:
    import pandas as pd

    from interp.track.wandb_log import WandbLog


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
        self.notes: list[str] = []
        """What a reader of the results must know of how they were made, in sentences; shown on every page."""
        self.current_step: str | None = None
        self.finished_before = manifest["status"] == "finished"
        """True for a finished run that was opened again: every step will be skipped."""
        self._steps: list[str] = []
        self._watched: list[tuple[str, Callable[[], Mapping[str, int]]]] = []
        self._tracker: WandbLog | None = None

    def step(self, name: str, work: Callable[[Step], object]) -> Path:
        """Do `work` once: a step that has finished, now or in an earlier process, is skipped.

        The global random states are seeded from the config's seed and the step's name, so a step gives the
        same numbers whether or not earlier ones were skipped. (torch is seeded if it has been imported.)

        Returns the folder of the finished step.
        """
        check_run_name(name, "the name of a step")
        if name in self._steps:
            raise ValueError(f"the step {name!r} was done before")
        self.current_step = name
        final = self.folder / "steps" / name
        scratch = self.folder / "steps" / f".{name}.scratch"
        tracker = self._open_tracker()
        if os.path.lexists(final):
            check_whole(final, read_step(final))
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

    def watch(self, name: str, counts: Callable[[], Mapping[str, int]]) -> None:
        """Record `counts()` at the end of every step from now on, as the metrics NAME/STEP/KEY."""
        self._watched.append((name, counts))

    def watched(self, name: str) -> dict[str, int]:
        """The largest count of each key that a step recorded under a watched name."""
        found: dict[str, int] = {}
        for metric, value in self.metrics.items():
            of, _, rest = metric.partition("/")
            if of == name and isinstance(value, int):
                key = rest.rpartition("/")[2]
                found[key] = max(found.get(key, 0), value)
        return found

    def note(self, name: str, value: dict[str, object]) -> None:
        """Add `value`, on which this session's numbers depend, to the list `name` in the manifest.

        The manifest of a finished run does not change.
        """
        if not self.finished_before:
            self.manifest["sessions"][-1].setdefault(name, []).append(value)
            write_json(self.folder / "manifest.json", self.manifest)

    def tell(self, *sentences: str) -> None:
        """Say what a reader of the results must know: print it now, and add it to notes.txt and the page."""
        for sentence in sentences:
            self.notes.append(sentence)
            if not self.finished_before:
                self.progress.say(sentence)
        if sentences:
            write_text(self.folder / "notes.txt", "".join(f"{note}\n" for note in self.notes))

    def write_report(self, html: str) -> Path:
        """Write report.html, which also goes to W&B when the run finishes."""
        path = self.folder / "report.html"
        write_text(path, html)
        return path

    def publish_report(self, file: Path) -> Path:
        """Take a page that a finished step wrote as the report of the run."""
        return self.write_report(utf8(read_file(file, redo(file.parent)), str(file)))

    def table(self, name: str) -> "pd.DataFrame":
        """Read a table that a finished step wrote, by its name.

        Raises:
            UserError: it is missing or damaged; says which step writes it.
        """
        from interp.parquet import read_parquet

        file = self._table_file(name)
        step = next((self.folder / "steps").glob(f"[!.]*/tables/{file.name}"), None)
        return read_parquet(file, BEGIN_ANEW if step is None else redo(step.parents[1]))

    def has_table(self, name: str) -> bool:
        """Say whether a finished step wrote a table of this name."""
        return self._table_file(name).exists()

    def _table_file(self, name: str) -> Path:
        return self.folder / "tables" / f"{name}.parquet"

    def _do(
        self, name: str, work: Callable[[Step], object], final: Path, scratch: Path, listener: Listener | None
    ) -> None:
        partial = final.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with writing_explained(final.parent):
            partial.mkdir(parents=True)
            scratch.mkdir(exist_ok=True)
        step = Step(name, partial, scratch, self.progress, listener)
        seed_everything(getattr(self.config, "seed", 0), name)
        started, clock = now(), time.monotonic()
        work(step)
        self._note_watched(step)
        step.finish()
        for metric in step.metrics:
            if metric in self.metrics:
                raise ValueError(f"the metric {metric!r} of step {name!r} was set by an earlier step")
        record = {
            "step": name,
            "order": len(self._steps),
            "started": started,
            "finished": now(),
            "seconds": round(time.monotonic() - clock, 3),
            "metrics": step.metrics,
            "headline": step.headline,
            "files": inventory(partial),
        }
        write_json(partial / "step.json", record)
        publish_folder(partial, final)

    def _note_watched(self, step: Step) -> None:
        found: Counter[str] = Counter()
        for watched, counts in self._watched:
            found.update({f"{watched}/{step.name}/{key}": count for key, count in counts().items()})
        for metric, count in found.items():
            step.metric(metric, count)

    def _collect(self, step_folder: Path) -> None:
        """Bring a finished step's metrics, tables and figures to the top of the run folder."""
        record = read_step(step_folder)
        self.metrics |= record.metrics
        self.headline += record.headline
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
            self._tracker = None
            try:
                tracker.finish(self.folder, self.metrics)
            except Exception as error:  # hours of work must not fail because a service does
                self.progress.say(f"W&B did not take everything ({error!r}); it is all in {self.folder}")
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
    """Open runs_dir/name for `config`, new or to be continued; other processes are locked out.

    Leaving the block finishes the run; an exception marks it interrupted or failed (with error.log), and the
    next `open_run` continues after the last finished step. `fresh` first moves an old folder to
    runs_dir/.old/, where nothing is ever deleted.

    Raises:
        UserError: another process holds the folder, it was made with another config, it is no
            run folder or a damaged one, W&B is to be online without a key, or the system refuses to read or
            write a file, whoever in the block asked for it (the disk is full, say).
    """
    check_run_name(name, "the name of the run")
    folder = Path(runs_dir) / name
    resolved = config.model_dump(mode="json")
    if "name" in resolved:
        resolved["name"] = name
    if (options := getattr(config, "wandb", None)) is not None:
        from interp.track.wandb_log import choose_mode

        choose_mode(options.mode)
    with locked(Path(runs_dir), name):
        with writing_explained(folder.parent):
            if fresh and os.path.lexists(folder):
                move_aside(folder)
            check_same_config(folder, resolved)
            check_inside(folder)
            read_steps(folder)
            folder.mkdir(parents=True, exist_ok=True)
            remove_temporary(folder)
            manifest = begin(folder, name, resolved)
        noted = NotedProgress(progress or automatic(), beside_lock(Path(runs_dir), name, "progress"))
        run = Run(config, folder, noted, manifest)
        if not run.finished_before and (changed := changes(manifest)):
            run.progress.say("continuing with other code than before: " + ", ".join(changed))
        try:
            yield run
            if not run.finished_before:
                run._finish()
        except BaseException as error:
            # the error itself is raised, also if noting it fails (on a full disk, say)
            with contextlib.suppress(Exception):
                run._abandon()
            if not run.finished_before:
                with contextlib.suppress(UserError, OSError):
                    note_failure(folder, manifest, error, run.current_step)
            if isinstance(error, Exception) and (refusal := refused_by_system(error)) is not None:
                raise refusal from error
            raise
        if not run.finished_before:
            end(folder, manifest, "finished", headline=run.headline)


def seed_everything(seed: int, purpose: str) -> None:
    """Seed Python's, numpy's and torch's global generators (those imported) from `seed` and `purpose`."""
    value = int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big")
    random.seed(value)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(value)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(value)

"""`interp grid`: an experiment with every combination of some values, here or on a Ray cluster."""

import itertools
import re
import shutil
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp.cli.explained import explained
from interp.cli.runs import RunsDir, results
from interp.cli.terminal import say, show_table
from interp.errors import UserError, quoted

if TYPE_CHECKING:
    from interp.cli.loading import Experiment
    from interp.config import ExperimentConfig

_FIX = "write --over KEY=VALUE,VALUE or --over 'KEY=[VALUE, VALUE]'"
_MOST_NAMED = 3
Files = Mapping[str, bytes]
"""The files of a folder, by their paths in it."""


@dataclass(frozen=True)
class SentRun:
    """A run on its way to a worker: its experiment, its config, and what an earlier attempt left of it."""

    experiment: str
    settings: Mapping[str, Any]
    files: Files


def grid(
    config: Annotated[str, typer.Argument(help="A YAML file, or a name that `interp configs` lists.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="Values that replace the file's.")
    ] = None,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=A,B,...", help="A key and the values that it takes; for several keys, again."
        ),
    ] = None,
    on: Annotated[
        str, typer.Option(help="local, ray (a cluster started here), or a cluster: auto or HOST:PORT.")
    ] = "local",
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Run an experiment with every combination of values; each is a run of its own, NAME-VALUE-VALUE."""
    from interp.cli.loading import load_config
    from interp.track.listing import read_run
    from interp.track.run import open_run

    with explained() as state:
        planned: list[tuple[Experiment, ExperimentConfig]] = []
        for changes, ending in combinations(over or []):
            experiment, settings = load_config(config, [*(overrides or []), *changes])
            settings = settings.model_copy(update={"name": f"{settings.name}-{ending}"})
            experiment.check(settings)
            planned.append((experiment, settings))
        if on == "local":
            for number, (experiment, settings) in enumerate(planned):
                say(f"run {number + 1} of {len(planned)}: {settings.name}", err=True)
                with open_run(settings, settings.name, runs_dir) as state["run"]:
                    if not state["run"].finished_before:
                        experiment.run(settings, state["run"])
        else:
            _run_there(on, planned, runs_dir)
        say(f"{len(planned)} runs in {runs_dir.absolute()}:")
        show_table(results([read_run(runs_dir / settings.name) for _, settings in planned]))


def combinations(over: Sequence[str]) -> list[tuple[list[str], str]]:
    """Returns the overrides of each run and the ending of its name, from texts KEY=VALUES.

    Raises:
        UserError: a text is not of that form, a key is given twice, or two runs would have one name.
    """
    from interp.json_text import to_json
    from interp.yaml_text import from_yaml

    axes: dict[str, list[Any]] = {}
    for text in over:
        key, equals, given = text.partition("=")
        values = from_yaml(given if given.startswith("[") else f"[{given}]", f"--over {text}", _FIX)
        if not equals or not key or not values:
            raise UserError(f"{quoted(text)} gives no values to a key", "--over", _FIX)
        if key in axes:
            raise UserError(f"{key} is given twice", "--over", "give all its values at once")
        axes[key] = values
    if not axes:
        raise UserError("nothing varies", "--over", _FIX)
    found = [
        (
            [f"{key}={to_json(value)}" for key, value in zip(axes, chosen, strict=True)],
            "-".join(re.sub(r"[^\w.]+", "-", to_json(value)).strip("-") for value in chosen),
        )
        for chosen in itertools.product(*axes.values())
    ]
    if len({ending for _, ending in found}) < len(found):
        raise UserError("two combinations give one name", "--over", "leave out values that are the same")
    return found


def _run_there(on: str, planned: "Sequence[tuple[Experiment, ExperimentConfig]]", runs_dir: Path) -> None:
    """Has workers of a cluster do the runs, and brings their folders here, also of those that failed.

    Raises:
        UserError: some runs failed; says which, and why the first did.
    """
    from interp.engine.config import EngineConfig
    from interp.engine.opening import opened
    from interp.track.progress import automatic

    options = {"kind": "ray"} if on == "ray" else {"kind": "ray", "address": on}
    sent = [
        SentRun(experiment.name, settings.model_dump(mode="json"), _files(runs_dir / settings.name))
        for experiment, settings in planned
    ]
    names = [settings.name for _, settings in planned]
    failed: dict[str, UserError] = {}
    progress = automatic()
    with progress.task("runs", total=len(sent), unit="runs") as advance:

        def found(place: int, result: tuple[Files, UserError | None]) -> None:
            files, error = result
            _put(files, runs_dir, names[place])
            if error is not None:
                failed[names[place]] = error
            advance(1)

        with opened(EngineConfig(**options), progress) as engine:
            engine.each(_run_sent, sent, found, lambda place: f"run {names[place]}")
    if failed:
        first = next(iter(failed.values()))
        which = ", ".join(list(failed)[:_MOST_NAMED]) + (", ..." if len(failed) > _MOST_NAMED else "")
        raise UserError(
            f"{len(failed)} of {len(sent)} runs failed: {which}: {first.thing}",
            first.place,
            f"{first.fix}; the same command goes on with these",
        )


def _run_sent(sent: SentRun) -> tuple[Files, UserError | None]:
    """Does a run in a folder of this machine; returns its files and what a user could put right."""
    from interp.cli.config_file import ConfigSource
    from interp.cli.loading import load_experiment
    from interp.track.progress import silent
    from interp.track.run import open_run

    experiment = load_experiment(sent.experiment, ConfigSource(Path(sent.experiment), {}, {}))
    settings = experiment.config_model.model_validate(sent.settings)
    error = None
    with tempfile.TemporaryDirectory(prefix="interp-") as folder:
        runs_dir = Path(folder)
        _put(sent.files, runs_dir, settings.name)
        try:
            with open_run(settings, settings.name, runs_dir, progress=silent()) as run:
                if not run.finished_before:
                    experiment.run(settings, run)
        except UserError as raised:
            error = raised
        except Exception as raised:  # its traceback is in the folder's error.log
            said = traceback.format_exception_only(raised)[-1].strip()
            fix = "please report it with that file"
            error = UserError(f"a bug in this program: {said}", f"error.log of the run {settings.name}", fix)
        return _files(runs_dir / settings.name), error


def _files(folder: Path) -> Files:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }


def _put(files: Files, runs_dir: Path, name: str) -> None:
    """Makes RUNS_DIR/NAME a folder of these files, whole or not at all."""
    from interp.track.files import publish_folder, write_bytes
    from interp.track.lock import locked

    if not files:
        return
    with locked(runs_dir, name):
        arriving = runs_dir / f".{name}.arriving"
        shutil.rmtree(arriving, ignore_errors=True)
        for file, content in files.items():
            write_bytes(arriving / file, content)
        shutil.rmtree(runs_dir / name, ignore_errors=True)
        publish_folder(arriving, runs_dir / name)

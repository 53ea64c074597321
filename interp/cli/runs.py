"""`interp run | runs | show`: start or continue an experiment, and look at what was run."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interp.cli.explained import explained
from interp.cli.terminal import say, show_table, table
from interp.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from interp.track.listing import RunSummary
    from interp.track.run import Run

RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="INTERP_RUNS_DIR", help="The folder that holds the runs.")
]


def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or a name that `interp configs` lists.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY.SUB=VALUE]...", help="Values that replace the file's.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Move an old folder of this name to .old/ and begin anew.")
    ] = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Run an experiment, or continue it where it was stopped."""
    from interp.cli.loading import load_config
    from interp.track.run import open_run

    with explained() as state:
        with _waiting(f"loading {config}"):
            experiment, settings = load_config(config, overrides or [])
            experiment.check(settings)
        with open_run(settings, settings.name, runs_dir, fresh=fresh) as opened:
            state["run"] = opened
            began = time.monotonic()
            if not opened.finished_before:
                experiment.run(settings, opened)
        _print_result(opened, time.monotonic() - began)


def runs(runs_dir: RunsDir = Path("runs")) -> None:
    """List the runs, the latest first."""
    from interp.track.listing import list_runs

    with explained():
        found = list_runs(runs_dir)
        if not found:
            say(f"no runs in {runs_dir.absolute()}; `interp configs` lists what can be run")
            return
        show_table(results(found))


def results(found: "Sequence[RunSummary]") -> "Table":
    """Tabulates runs with their status and headline figures."""
    from interp.track.progress import clock

    rows = [
        (
            summary.name,
            summary.experiment,
            summary.status,
            summary.started[:16].replace("T", " "),
            clock(summary.seconds),
            "\n".join(f"{name} {_shown(value)}" for name, value in summary.headline.items()),
        )
        for summary in found
    ]
    return table(("run", "experiment", "status", "started", "work", "headline"), rows)


def show(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Show a run: its config, status, metrics, tables, and where the report is."""
    from interp.outside import read_file, utf8
    from interp.track.listing import find_run
    from interp.track.progress import clock
    from interp.track.records import BEGIN_ANEW

    with explained():
        summary = find_run(runs_dir, name)
        if summary.damage is not None:
            raise summary.damage
        say(f"run        {summary.name} ({summary.folder})")
        say(f"experiment {summary.experiment}")
        say(f"status     {summary.status}, started {summary.started}, {clock(summary.seconds)} of work")
        say(f"steps      {', '.join(summary.steps) or 'none finished'}")
        if summary.status == "failed" and (log := summary.folder / "error.log").exists():
            say(f"error      {log}")
        say("\nconfig")
        config = summary.folder / "config.yaml"
        for line in utf8(read_file(config, BEGIN_ANEW), str(config)).rstrip("\n").split("\n"):
            say(f"  {line}")
        if summary.metrics:
            say("\nmetrics")
            _print_metrics(summary.metrics)
        _print_files(summary)


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Show on a terminal that something is going on; importing a model library takes seconds."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(Text(printable(what))):
            yield
    else:
        yield


def _print_result(opened: "Run", seconds: float) -> None:
    from interp.track.listing import read_run
    from interp.track.progress import clock

    summary = read_run(opened.folder)
    if opened.finished_before:
        finished = datetime.fromisoformat(opened.manifest["finished"])
        say(f"{opened.name} had finished on {finished:%Y-%m-%d at %H:%M}; its result:")
    else:
        say(f"{opened.name} finished in {clock(seconds)}:")
    _print_metrics(summary.headline)
    _print_files(summary)


def _print_metrics(metrics: dict[str, Any]) -> None:
    width = max((len(name) for name in metrics), default=0)
    for name, value in metrics.items():
        say(f"  {name:<{width}}  {_shown(value)}")


def _print_files(summary: "RunSummary") -> None:
    files = [(file.parent.name, file) for file in (*summary.tables, *summary.figures)]
    if files:
        say()
    for kind, file in files:
        say(f"  {kind[:-1]:<6}  {file}")
    if summary.report is not None:
        say(f"\nreport: {summary.report}")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )

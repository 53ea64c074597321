"""The command line: `interp run | runs | show | configs | generate | cost | search | store | bench`.

Start-up is kept short: nothing heavier than typer is imported before a command needs it.
"""

import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from interp.cli.generate import generate
from interp.cli.store import app as store_app
from interp.errors import UserError, printable, quoted
from interp.explained import BROKEN, explained
from interp.terminal import check_arguments, guard_streams, say, show_table, table

if TYPE_CHECKING:
    from interp.track.listing import RunSummary
    from interp.track.run import Run


class _Commands(TyperGroup):
    """The commands; what they are called with can be printed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with explained():
            check_arguments([*args, os.environ.get("INTERP_RUNS_DIR", "")])
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="Describe, score and compare what the insides of a language model respond to.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(store_app, name="store")
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="INTERP_RUNS_DIR", help="The folder that holds the runs.")
]


def main() -> None:
    """Run the command line; the entry point of the `interp` script."""
    guard_streams()
    try:
        app()
    except BrokenPipeError:
        # the reader (head, less) has gone; leave quietly and keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN) from None
    except Exception as error:
        say("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
        raise SystemExit(BROKEN) from None


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or the bare name of one in configs/.")],
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


@app.command()
def runs(runs_dir: RunsDir = Path("runs")) -> None:
    """List the runs, the latest first."""
    from interp.track.listing import list_runs
    from interp.track.progress import clock

    with explained():
        found = list_runs(runs_dir)
        if not found:
            say(f"no runs in {runs_dir.absolute()}; `interp configs` lists what can be run")
            return
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
        show_table(table(("run", "experiment", "status", "started", "work", "headline"), rows))


@app.command()
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


@app.command()
def configs(
    estimate: Annotated[
        str | None,
        typer.Option(
            "--estimate", metavar="CONFIG", help="Say what this config costs, in memory and time, instead."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY.SUB=VALUE]...", help="With --estimate: values that replace the file's."),
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="With --estimate: the size of the corpus.")
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option("--tflops", help="With --estimate: the rate of another machine, of a matrix product."),
    ] = None,
) -> None:
    """List the configs that come with the project, each with its purpose; or say what one costs."""
    if estimate is not None:
        with explained():
            _print_estimate(estimate, overrides or [], tokens, tflops)
        return
    from interp.cli.loading import config_folders
    from interp.config_file import read_config_file

    with explained():
        rows = []
        for folder in config_folders():
            for file in sorted(folder.glob("*.yaml")):
                try:
                    values = read_config_file(file).values
                    rows.append(
                        (str(file), str(values.get("experiment", "")), str(values.get("purpose", "")))
                    )
                except UserError as error:
                    rows.append((str(file), "", f"cannot be read: {error.thing}"))
        if rows:
            show_table(table(("config", "experiment", "purpose"), rows))
        else:
            say("no configs/ folder here")


@app.command()
def search(
    store: Annotated[
        str, typer.Argument(metavar="STORE", help="A SQLite file, a PostgreSQL URL, or a run's folder.")
    ],
    query: Annotated[str, typer.Argument(help="What the descriptions should be about.")],
    k: Annotated[int, typer.Option("-k", "--k", help="How many.")] = 10,
    space: Annotated[
        list[str] | None, typer.Option(help="Only features of this space; may be repeated.")
    ] = None,
    keyword: Annotated[str, typer.Option(help="Only descriptions that contain these words.")] = "",
    min_score: Annotated[
        float | None, typer.Option(help="Only descriptions with this simulation score.")
    ] = None,
    polarity: Annotated[int, typer.Option(help="Only this side of features: 1 or -1; 0 for both.")] = 0,
    embedder: Annotated[
        str, typer.Option(help="tfidf, or the folder of a sentence-transformers model.")
    ] = "tfidf",
    index: Annotated[str, typer.Option(help="auto, exact or annoy.")] = "auto",
    recall: Annotated[float, typer.Option(help="What an annoy index is tuned to reach.")] = 0.95,
) -> None:
    """Find features by what their descriptions mean."""
    from interp.cli.store import search as find
    from interp.fields import Count, Finite, PositiveFraction, taken
    from interp.store import filters

    with explained():
        taken(Count, k, "-k")
        taken(PositiveFraction, recall, "--recall")
        taken(Finite | None, min_score, "--min-score")
        taken(Literal[-1, 0, 1], polarity, "--polarity")
        parts: list[filters.Filter] = []
        if space:
            parts.append(filters.InSpace(tuple(space)))
        if keyword:
            parts.append(filters.Containing(keyword))
        if min_score is not None:
            parts.append(filters.ScoreBetween("simulation", min_score))
        if polarity:
            parts.append(filters.OfPolarity(polarity))
        find(store, query, k, filters.And(tuple(parts)) if parts else None, embedder, index, recall)


@app.command()
def cost(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Say what a run asked of endpoints, and what it cost."""
    from interp.llm.costs import cost_table
    from interp.llm.ledger import FILE, damaged_lines
    from interp.track.listing import find_run

    with explained():
        summary = find_run(runs_dir, name)
        found = cost_table(summary.folder / FILE)
        say(f"{summary.name} asked nothing of an endpoint") if found is None else show_table(found)
        if damaged := damaged_lines(summary.folder / FILE):
            say(f"{damaged:,} lines of {summary.folder / FILE} are damaged and not counted", err=True)


app.command()(generate)


@app.command()
def bench(name: Annotated[str, typer.Argument(help="Which benchmark; without it, a list.")] = "") -> None:
    """Run one of the benchmarks."""
    with explained():
        folder = Path(__file__).parents[2] / "benchmarks"
        known = {file.stem: file for file in sorted(folder.glob("[!_]*.py"))}
        if name not in known:
            listed = ", ".join(known) or "none"
            if not name:
                say(f"benchmarks: {listed}")
                return
            raise UserError(f"there is no benchmark {quoted(name)}", str(folder), f"one of: {listed}")
        specification = importlib.util.spec_from_file_location(f"benchmarks.{name}", known[name])
        assert specification is not None and specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[specification.name] = module
        specification.loader.exec_module(module)
        module.main()


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


def _print_estimate(config: str, overrides: list[str], tokens: int | None, tflops: float | None) -> None:
    from interp.cli.loading import load_config
    from interp.estimate import Machine, estimate, measured_machine
    from interp.fields import Positive, Tokens, taken
    from interp.held import gigabytes
    from interp.track.progress import clock

    taken(Tokens | None, tokens, "--tokens")
    taken(Positive | None, tflops, "--tflops")
    _, settings = load_config(config, overrides)
    cost = estimate(settings, tokens)
    machine = measured_machine()
    if tflops is not None:
        machine = Machine.of(tflops * 1e12, machine.bandwidth)
    say(f"{settings.name}: about {gigabytes(cost.bytes)} and {clock(cost.seconds(machine))}")
    say(
        f"for a corpus of {cost.tokens:,} tokens, at {machine.flops / 1e12:.3g} TFLOP/s of a matrix product "
        f"({'as given' if tflops is not None else 'measured here'}) and {gigabytes(machine.bandwidth)}/s "
        "of copying; describing and scoring come on top"
    )
    for stage in cost.stages:
        say(f"\n{stage.name}: {gigabytes(stage.bytes)}, {clock(cost.seconds(machine, stage))}")
        for part in stage.parts:
            say(f"  {gigabytes(part.bytes):>8}  {part.what} (lower {part.lower})")


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

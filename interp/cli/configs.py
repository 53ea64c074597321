"""`interp configs | bench`: the configs that a name finds, what one of them will cost, and the benchmarks."""

import importlib
from typing import Annotated

import typer

from interp.cli.explained import explained
from interp.cli.shipped import SHIPPED, SHIPPED_CONFIGS, config_folders, named_configs, shipped_module
from interp.cli.terminal import say, show_table, table
from interp.errors import UserError, quoted


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
    """List the configs that have a name, each with its purpose; or say what one costs."""
    if estimate is not None:
        with explained():
            _print_estimate(estimate, overrides or [], tokens, tflops)
        return
    from interp.cli.config_file import read_config_file

    with explained():
        rows: dict[str, tuple[str, ...]] = {}
        for folder in reversed(config_folders()):
            for name, file in named_configs(folder).items():
                hides = ", not the installed one" if name in rows else ""
                where = "" if folder == SHIPPED_CONFIGS else f"{file}{hides}"
                try:
                    values = read_config_file(file).values
                    said = str(values.get("experiment", "")), str(values.get("purpose", ""))
                except UserError as error:
                    said = "", f"cannot be read: {error.thing}"
                rows[name] = (name, *said, where)
        columns = 4 if any(row[3] for row in rows.values()) else 3
        headings = ("config", "experiment", "purpose", "file")[:columns]
        show_table(table(headings, [rows[name][:columns] for name in sorted(rows)]))


def bench(name: Annotated[str, typer.Argument(help="Which benchmark; without it, a list.")] = "") -> None:
    """Run one of the benchmarks."""
    with explained():
        folder = SHIPPED / "benchmarks"
        known = sorted(file.stem for file in folder.glob("[!_]*.py"))
        if not name:
            say(f"benchmarks: {', '.join(known)}")
            return
        if name not in known:
            raise UserError(
                f"there is no benchmark {quoted(name)}", str(folder), f"one of: {', '.join(known)}"
            )
        importlib.import_module(shipped_module(f"benchmarks.{name}")).main()


def _print_estimate(config: str, overrides: list[str], tokens: int | None, tflops: float | None) -> None:
    from interp.cli.estimate import Machine, estimate, measured_machine
    from interp.cli.loading import load_config
    from interp.cost import gigabytes
    from interp.fields import Positive, Tokens, taken
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

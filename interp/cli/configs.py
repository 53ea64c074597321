"""`interp configs | bench`: the configs that a name finds, what one of them will cost, and the benchmarks."""

import importlib
from dataclasses import dataclass
from pathlib import Path
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
        typer.Option("--tflops", help="With --estimate: the rate of another device, of a matrix product."),
    ] = None,
    machine: Annotated[
        Path | None,
        typer.Option(
            "--machine",
            metavar="FILE.json",
            help="With --estimate: a machine's rates; without such a file, this one is measured.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", help="With --estimate: processes that share what can be shared.")
    ] = 1,
    efficiency: Annotated[
        float, typer.Option("--efficiency", help="With --workers: the share of them that is effective.")
    ] = 1.0,
    endpoint_tokens: Annotated[
        float | None,
        typer.Option("--endpoint-tokens", help="With --estimate: tokens per second of the endpoint."),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Say what Llama 3.1, 8B and 70B, take on one GPU, eight, and a cluster, instead."
        ),
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="With --plan: the GPU, a100, h100 or h200; or give --machine.")
    ] = "h100",
) -> None:
    """List the configs that have a name, each with its purpose; or say what one takes, or the plan."""
    asked = _Asked(tokens, tflops, machine, workers, efficiency, endpoint_tokens)
    if plan:
        with explained():
            _print_plan(device, overrides or [], asked)
        return
    if estimate is not None:
        with explained():
            _print_estimate(estimate, overrides or [], asked)
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


@dataclass(frozen=True)
class _Asked:
    """The options of an estimate."""

    tokens: int | None
    tflops: float | None
    machine: Path | None
    workers: int
    efficiency: float
    endpoint_tokens: float | None


def _print_estimate(config: str, overrides: list[str], asked: _Asked) -> None:
    from interp.cli.estimate import chosen_machine, lines
    from interp.cli.loading import load_config
    from interp.fields import Count, Positive, PositiveFraction, Tokens, taken
    from interp.plan.estimate import estimate

    taken(Tokens | None, asked.tokens, "--tokens")
    taken(Positive | None, asked.tflops, "--tflops")
    taken(Count, asked.workers, "--workers")
    taken(PositiveFraction, asked.efficiency, "--efficiency")
    taken(Positive | None, asked.endpoint_tokens, "--endpoint-tokens")
    _, settings = load_config(config, overrides)
    cost = estimate(settings, asked.tokens)
    subject = settings.subject  # type: ignore[attr-defined]  # an estimate needs one
    machine = chosen_machine(
        asked.machine, asked.tflops, asked.endpoint_tokens, subject.device, subject.resolved_dtype()
    )
    for line in lines(cost, machine, asked.workers, asked.efficiency):
        say(line)


def _print_plan(device: str, overrides: list[str], asked: _Asked) -> None:
    from interp.cli.scale_plan import TOKENS_PER_SECOND, scale_plan
    from interp.fields import Positive, PositiveFraction, taken
    from interp.plan.machine import load_machine
    from interp.plan.machines import DEVICES, extrapolated

    taken(PositiveFraction, asked.efficiency, "--efficiency")
    taken(Positive | None, asked.endpoint_tokens, "--endpoint-tokens")
    if device not in DEVICES:
        raise UserError(f"{device!r} is no GPU that is known", "--device", f"use {', '.join(DEVICES)}")
    machine = extrapolated(device) if asked.machine is None else load_machine(asked.machine)
    rate = asked.endpoint_tokens or TOKENS_PER_SECOND
    for line in scale_plan(machine, overrides, rate, asked.efficiency):
        say(line)

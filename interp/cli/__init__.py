"""The command line: `interp run | grid | runs | show | configs | generate | cost | search | store | ...`.

Start-up is kept short: nothing heavier than typer is imported before a command needs it.
"""

import os
import sys
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from interp.cli.configs import bench, configs
from interp.cli.costs import cost
from interp.cli.explained import BROKEN, explained
from interp.cli.generate import generate
from interp.cli.grid import grid
from interp.cli.runs import run, runs, show
from interp.cli.serve import serve
from interp.cli.store import app as store_app
from interp.cli.store import search
from interp.cli.terminal import check_arguments, guard_streams, say


class _Commands(TyperGroup):
    """The commands, whose arguments are checked to be printable."""

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
for command in (run, grid, runs, show, configs, generate, cost, search, serve, bench):
    app.command()(command)


def main() -> None:
    """Run the command line; the entry point of the `interp` script."""
    guard_streams()
    try:
        app()
    except BrokenPipeError:
        # the reader (head, less) has gone: leave quietly, and keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(BROKEN) from None
    except Exception as error:
        say("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
        raise SystemExit(BROKEN) from None

"""Safe output to a terminal: control characters in models' texts, files and descriptions are escaped."""

import logging
import os
import sys
import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import typer

from interp.errors import UserError, printable

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_WITHOUT_TERMINAL = 200
_MAY_STAND_IN_ARGUMENTS = "\t\n\r"


def say(text: str = "", *, err: bool = False) -> None:
    """Print a line on standard output, or on standard error, with control characters escaped."""
    typer.echo(printable(text), err=err)


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Collection[str] = (),
) -> "Table":
    """Make a table of plain text; markup in it is shown as written, and control characters are escaped.

    `numbers` are the headings whose columns are aligned on the right.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False)
    for heading in headings:
        side: Literal["left", "right"] = "right" if heading in numbers else "left"
        made.add_column(Text(heading), justify=side, overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def show_table(made: "Table") -> None:
    """Print a table, as wide as the terminal; 200 columns where there is none."""
    from rich.console import Console

    console = Console()
    Console(width=console.width if console.is_terminal else WIDTH_WITHOUT_TERMINAL, highlight=False).print(
        made
    )


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse arguments that cannot be printed or written to a file.

    Raises:
        UserError: one holds bytes that are not UTF-8, or a control character other than tab and line end.
    """
    for argument in arguments:
        plain = argument.translate(dict.fromkeys(map(ord, _MAY_STAND_IN_ARGUMENTS)))
        if any("\ud800" <= character <= "\udfff" for character in plain):
            raise UserError("not UTF-8 text", f"command line: {argument}", "write it in UTF-8")
        if any(character < " " or "\x7f" <= character < "\xa0" for character in plain):
            raise UserError("a control character", f"command line: {argument}", "leave it out")


def guard_streams() -> None:
    """Make this process print safely, whatever it was started with.

    Characters that an output's encoding lacks are written as escapes. A closed output is replaced by one that
    discards everything; otherwise the next file that is opened would get its number. Warnings and log lines
    of libraries, which may quote files, are shown without control characters.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    plain_warning = warnings.formatwarning
    warnings.formatwarning = lambda *parts, **more: printable(plain_warning(*parts, **more))
    logging.setLogRecordFactory(_PrintableRecord)


class _PrintableRecord(logging.LogRecord):
    def getMessage(self) -> str:
        return printable(super().getMessage())

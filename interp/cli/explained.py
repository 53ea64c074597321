"""Errors of the command line, as a short message and an exit code."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from interp.cli.terminal import say
from interp.errors import LONGEST_PART, UserError, printable

if TYPE_CHECKING:
    from interp.track.run import Run

WRONG_USE, BROKEN, STOPPED = 2, 1, 130
"""Exit codes: for an error that the user can fix, for a bug, and for Ctrl-C."""


@contextmanager
def explained() -> Iterator[dict[str, Any]]:
    """Turn what goes wrong into a short message and an exit code; the body puts its open run under "run".

    A `UserError` exits with 2, Ctrl-C (or a polite kill) with 130, a bug with 1 and a path to its traceback.
    """
    state: dict[str, Any] = {}
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield state
    except UserError as error:
        say(f"error: {error}", err=True)
        raise typer.Exit(WRONG_USE) from None
    except KeyboardInterrupt:
        opened: Run | None = state.get("run")
        if opened is None:
            say("interrupted; nothing was begun", err=True)
        else:
            step = f" from step {opened.current_step}" if opened.current_step else ""
            say(f"interrupted; run the same command again to continue{step}", err=True)
        raise typer.Exit(STOPPED) from None
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        from interp.track.files import refused_by_system

        if (refusal := refused_by_system(error)) is not None:
            say(f"error: {refusal}", err=True)
            raise typer.Exit(WRONG_USE) from None
        opened = state.get("run")
        log = opened.folder / "error.log" if opened is not None else None
        if log is None or not log.exists():
            raise
        said = printable(str(error), guessed=True)[:LONGEST_PART]
        say(f"error: a bug in this program: {type(error).__name__}: {said}", err=True)
        say(f"  where: {log} has the details", err=True)
        say("  fix:   please report it with that file; finished steps are kept", err=True)
        raise typer.Exit(BROKEN) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt

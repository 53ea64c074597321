"""The one exception for everything that a user can cause and a user can fix; text for a terminal."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

from interp.secrets import without_secrets

LONGEST_QUOTE = 200
LONGEST_PART = 2000
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and line feed, marks of text direction, and lone surrogates."""
_LONG_RUN = re.compile(rf"\S{{{LONGEST_QUOTE + 1},}}")


class UserError(Exception):
    """Something the user can put right: says what is wrong, where, and how to fix it.

    The command line prints it without a traceback and exits with status 2. The parts may quote text from
    outside: each is reduced to one printable line of bounded length without secrets.
    """

    def __init__(self, thing: str, place: str, fix: str) -> None:
        self.thing, self.place, self.fix = map(_part, (thing, place, fix))
        super().__init__(f"{self.thing}\n  where: {self.place}\n  fix:   {self.fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets it come whole from another process, where it may be of a kind with more arguments."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[UserError], args: tuple[Any, ...]) -> UserError:
    return kind.__new__(kind, *args)


def similar_names(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of `known` that look like `name`."""
    return difflib.get_close_matches(name[:LONGEST_QUOTE], list(known), n=3, cutoff=0.5)


def printable(text: str, guessed: bool = False) -> str:
    """The text made safe for a terminal: `escaped`, and without secrets (`without_secrets`)."""
    return escaped(without_secrets(text, guessed))


def escaped(text: str) -> str:
    """Replaces each character that a terminal would act on or cannot print by its escape (`\\x1b`).

    Tabs and line feeds stay.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def quoted(value: object) -> str:
    """The `repr` of a value from outside, printable and cut to 200 characters."""
    # cut first, so that the repr of a gigabyte of text is never made
    cut = value[: LONGEST_QUOTE + 1] if isinstance(value, str | bytes) else value
    text = printable(repr(cut), guessed=True)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def _part(text: str) -> str:
    """Part of a message: one line, its long words and its end cut."""
    line = printable(str(text)[: 10 * LONGEST_PART], guessed=True).replace("\n", " ")
    line = _LONG_RUN.sub(lambda found: f"{found[0][: LONGEST_QUOTE - 61]}…{found[0][-60:]}", line)
    return line if len(line) <= LONGEST_PART else line[: LONGEST_PART - 1] + "…"

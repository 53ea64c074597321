"""The one exception for everything that a user can cause and a user can fix."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: says what is wrong, where, and how to fix it.

    The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, thing: str, place: str, fix: str) -> None:
        super().__init__(f"{thing}\n  where: {place}\n  fix:   {fix}")
        self.thing = thing
        self.place = place
        self.fix = fix


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of `known` that look like `name`."""
    return difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)

"""Text from outside on a page: no character that no page may hold, and no longer than somebody reads."""

import re

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What neither XML nor HTML may hold."""
MOST_LETTERS = 2_000
MOST_OF_A_TOKEN = 200


def permitted(markup: str) -> str:
    """The page or the drawing with U+FFFD in the place of each character that it may not hold."""
    return UNPRINTABLE.sub("\ufffd", markup)


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """The beginning of a text that is too long to be shown; downloads have the whole."""
    return text if len(text) <= most else text[:most] + "…"

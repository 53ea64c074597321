"""Text from outside on a page: characters that HTML forbids are replaced, and long texts are cut."""

import re

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML and HTML forbid."""
MOST_LETTERS = 2_000
MOST_OF_A_TOKEN = 200


def permitted(markup: str) -> str:
    """The markup with each character that HTML and XML forbid replaced by U+FFFD."""
    return UNPRINTABLE.sub("\ufffd", markup)


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """A text cut to at most `most` characters for display; downloads have the whole."""
    return text if len(text) <= most else text[:most] + "…"

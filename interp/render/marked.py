"""Text with some of its tokens marked, as a cell of a table."""

from collections.abc import Sequence

from markupsafe import Markup

from interp.render.tokens import HeatScale, TokenWindow, render_tokens

LEAST_WIDTH = 11  # a column of such texts is no narrower, in letters of the table


class MarkedText(str):
    """The tokens as plain text (for sorting and downloads), which a page shows with some of them marked.

    A template that escapes takes `__html__` in place of the text; every token is escaped in it.
    """

    marks: tuple[bool, ...]
    words: tuple[str, ...]

    def __new__(cls, words: Sequence[str], marks: Sequence[bool]) -> "MarkedText":
        """The words, and for each whether it is marked."""
        text = super().__new__(cls, " ".join(words))
        text.words, text.marks = tuple(words), tuple(bool(mark) for mark in marks)
        return text

    def __html__(self) -> Markup:
        """The words, the marked ones on colour."""
        window = TokenWindow(self.words, [int(mark) for mark in self.marks])
        tokens = render_tokens(window, HeatScale(top=1), radius=None, titles="peak")
        return Markup('<div style="min-width:{}em;white-space:normal">{}</div>').format(LEAST_WIDTH, tokens)

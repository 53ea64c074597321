"""Text with some of its tokens marked, as a cell of a table."""

from collections.abc import Sequence

from markupsafe import Markup

from interp.render.tokens import HeatScale, TokenWindow, render_tokens

LEAST_WIDTH = 11  # in letters: the least width of a column of such texts


class MarkedText(str):
    """Tokens as plain text (for sorting and downloads), some of which a page shows marked.

    Templates use `__html__`, in which every token is escaped, in place of the text.
    """

    marks: tuple[bool, ...]
    words: tuple[str, ...]

    def __new__(cls, words: Sequence[str], marks: Sequence[bool]) -> "MarkedText":
        """Join the words; `marks` says for each whether it is marked."""
        text = super().__new__(cls, " ".join(words))
        text.words, text.marks = tuple(words), tuple(bool(mark) for mark in marks)
        return text

    def __html__(self) -> Markup:
        """The words, with the marked ones on a coloured background."""
        window = TokenWindow(self.words, [int(mark) for mark in self.marks])
        tokens = render_tokens(window, HeatScale(top=1), radius=None, titles="peak")
        return Markup('<div style="min-width:{}em;white-space:normal">{}</div>').format(LEAST_WIDTH, tokens)

"""Cutting topics and modules into documents that mostly fit the model's context."""

import ast
import re
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import pairwise

LONGEST = 800
"""Characters of a document; a longer paragraph is cut at a line end."""
SHORTEST = 160
"""Characters below which a piece joins the one that follows."""
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_HEADING = re.compile(r"[^\n]+\n([*=\-~^\"])\1{2,}$")


def topic_documents(text: str) -> Iterator[str]:
    """Sections of a topic, cut at headings and, where they are long, between paragraphs."""
    sections: list[list[str]] = [[]]
    for paragraph in paragraphs(text):
        if _HEADING.match(paragraph.strip()):
            sections.append([])
        sections[-1].append(paragraph)
    yield from _joined(piece for section in sections for piece in _packed(section))


def module_documents(text: str) -> Iterator[str]:
    """A module's docstring, its functions and classes with the comments before them, and the code in between.

    A long class is cut at its methods, and anything long between paragraphs.
    """
    lines = list(StringIO(text))  # splits at line feeds only, as `ast` does
    starts = sorted({0, len(lines), *_starts(ast.parse(text).body, lines)})
    pieces = ("".join(lines[a:b]) for a, b in pairwise(starts))
    yield from _joined(part for piece in pieces for part in _packed(paragraphs(piece)))


def paragraphs(text: str) -> list[str]:
    """The parts of a text between blank lines."""
    return [part.rstrip() for part in _BLANK_LINES.split(text.strip("\n")) if part.strip()]


def _starts(body: list[ast.stmt], lines: list[str]) -> Iterator[int]:
    """Indices of the lines at which a piece starts."""
    for node in body:
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([first, *(decorator.lineno - 1 for decorator in node.decorator_list)])
            while first > 0 and lines[first - 1].lstrip().startswith("#"):
                first -= 1
            yield from (first, last)
            if isinstance(node, ast.ClassDef) and sum(map(len, lines[first:last])) > LONGEST:
                yield from _starts(node.body, lines)
        elif node is body[0] and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield last


def _packed(parts: list[str]) -> Iterator[str]:
    """Joins paragraphs by empty lines, up to `LONGEST` characters each."""
    held: list[str] = []
    for part in (fitting for whole in parts for fitting in _lines_that_fit(whole)):
        if held and sum(len(one) + 2 for one in held) + len(part) > LONGEST:
            yield "\n\n".join(held)
            held = []
        held.append(part)
    if held:
        yield "\n\n".join(held)


def _lines_that_fit(paragraph: str) -> Iterator[str]:
    """Cuts a paragraph at line ends into pieces of at most `LONGEST` characters."""
    held: list[str] = []
    size = 0
    for line in paragraph.split("\n"):
        if held and size + len(line) + 1 > LONGEST:
            yield "\n".join(held)
            held, size = [], 0
        held.append(line[:LONGEST])
        size += len(held[-1]) + 1
    yield "\n".join(held)


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """Joins each piece under `SHORTEST` characters to the next one, if both fit."""
    held = ""
    for piece in pieces:
        if held and len(held) + 2 + len(piece) > LONGEST:
            yield held
            held = ""
        held = f"{held}\n\n{piece}" if held else piece
        if len(held) >= SHORTEST:
            yield held
            held = ""
    if held:
        yield held

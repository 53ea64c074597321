"""The documents of `pydoc` in two parts: what the model may be trained on, and what it never sees."""

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from interp.bundled.pydoc.cut import module_documents, paragraphs, topic_documents
from interp.bundled.pydoc.sources import Source, modules, topics

TextPart = Literal["training", "held_out"]
PARTS: tuple[TextPart, ...] = get_args(TextPart)
HELD_OUT_SHARE = 0.25
"""Share of the topics and of the top-level modules that training never reads."""
SHARED_FROM = 80
"""A document that repeats an earlier document's paragraph of at least so many characters is left out."""


@dataclass(frozen=True)
class PydocText:
    """One document: `kind` is topic or module, `source` the topic's or module's name."""

    kind: str
    source: str
    text: str


@cache
def pydoc_texts(part: TextPart) -> tuple[PydocText, ...]:
    """The documents of a part, in a fixed order of their own.

    A document is left out if an earlier one has the same paragraph of at least `SHARED_FROM` characters
    (ignoring spaces). Training comes first, so that the held-out part shares no such paragraph with it.
    """
    return _parts()[part]


@cache
def fingerprint(part: TextPart) -> str:
    """SHA-256 of the documents of a part; it varies by Python version."""
    digest = hashlib.sha256()
    for document in pydoc_texts(part):
        digest.update(document.text.encode() + b"\0")
    return digest.hexdigest()


def identity(*parts: TextPart) -> str:
    """The Python version and the first eight digits of each part's fingerprint (of all parts by default)."""
    digests = "+".join(fingerprint(part)[:8] for part in parts or PARTS)
    return f"python={platform.python_version()}, sha256={digests}"


def part_of(source: Source) -> TextPart:
    """The part of a topic or a top-level module, by a hash of its name alone.

    A leading `_` or `_py` does not count: `_pydatetime.py` of a later version is `datetime.py` of an earlier.
    """
    digest = hashlib.blake2b(f"{source.kind}:{source.owner}".encode(), digest_size=8).digest()
    return "held_out" if int.from_bytes(digest, "little") / 2**64 < HELD_OUT_SHARE else "training"


def long_paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of at least `SHARED_FROM` characters, with white space made single spaces."""
    for paragraph in paragraphs(text):
        plain = " ".join(paragraph.split())
        if len(plain) >= SHARED_FROM:
            yield plain


@cache
def _parts() -> dict[TextPart, tuple[PydocText, ...]]:
    sources = [*topics(), *modules()]
    seen: set[str] = set()
    found: dict[TextPart, tuple[PydocText, ...]] = {}
    for part in PARTS:
        chosen = [source for source in sources if part_of(source) == part]
        found[part] = tuple(_without_copies(chosen, seen))
    return found


def _without_copies(sources: Sequence[Source], seen: set[str]) -> Iterator[PydocText]:
    for source in sources:
        cut = topic_documents if source.kind == "topic" else module_documents
        for text in cut(source.text):
            keys = set(long_paragraphs(text)) or {" ".join(text.split())}
            if not keys & seen:
                yield PydocText(source.kind, source.name, text)
            seen |= keys

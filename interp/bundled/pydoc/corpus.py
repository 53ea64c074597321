"""The text of `pydoc` as a corpus, for any subject."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from interp.bundled.pydoc.texts import PARTS, PydocText, identity, pydoc_texts
from interp.corpus.text import TextCorpus
from interp.errors import UserError

if TYPE_CHECKING:
    from interp.subject.subject import Subject

Which = Literal["held_out", "training", "all"]


class PydocCorpus(TextCorpus):
    """Documentation topics and standard library sources of the running Python, without labels.

    `part` is `held_out`, on which the bundled `pydoc` model was not trained, `training` or `all`. The
    documents are in a fixed order that mixes modules, so that the first `documents` are a sample.

    Raises:
        UserError: as `TextCorpus`, or the part has fewer documents than asked for, or there is no text.
    """

    def __init__(
        self,
        subject: "Subject",
        part: Which = "held_out",
        documents: int | None = None,
        *,
        folder: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        texts = [text for one in (PARTS if part == "all" else (part,)) for text in pydoc_texts(one)]
        if documents is not None and documents > len(texts):
            raise UserError(
                f"{documents} documents are asked for, and the part {part} has {len(texts)}",
                "corpus.documents",
                "leave it out to read all",
            )
        self.texts = sorted(texts, key=_place)[:documents]
        known = identity() if part == "all" else identity(part)
        name = f"pydoc(part={part}, documents={len(self.texts)}, {known})"
        super().__init__([document.text for document in self.texts], subject, name, folder=folder, say=say)


def _place(document: PydocText) -> bytes:
    return hashlib.blake2b(document.text.encode(), digest_size=8).digest()

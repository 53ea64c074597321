"""The text of `pydoc` as a corpus, for any subject."""

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from interp.corpus.document import Document
from interp.errors import UserError
from interp.pydoc.texts import PARTS, PydocText, identity, pydoc_texts

if TYPE_CHECKING:
    from interp.subject.subject import Subject

Which = Literal["held_out", "training", "all"]


class PydocCorpus:
    """Documentation topics and standard library sources of the Python that runs, without labels.

    `part` is `held_out`, on which the bundled `pydoc` model was not trained, `training` or `all`. The
    documents stand in an order of their own that mixes modules, so that the first `documents` are a sample.

    Raises:
        UserError: the part has fewer documents than asked for, this Python carries no text, or (when the
            first document is read) the subject's vocabulary lacks a word.
    """

    label_names: tuple[str, ...] = ()

    def __init__(self, subject: "Subject", part: Which = "held_out", documents: int | None = None) -> None:
        texts = [text for one in (PARTS if part == "all" else (part,)) for text in pydoc_texts(one)]
        if documents is not None and documents > len(texts):
            raise UserError(
                f"{documents} documents are asked for, and the part {part} has {len(texts)}",
                "corpus.documents",
                "leave it out to read all",
            )
        self.texts = sorted(texts, key=_place)[:documents]
        self._subject = subject
        known = identity() if part == "all" else identity(part)
        self.name = f"pydoc(part={part}, documents={len(self.texts)}, {known})"

    @cached_property
    def _tokens(self) -> list[list[int]]:
        """All documents' token ids: read in one go, which is several times as fast as one by one."""
        tokenizer = self._subject.tokenizer
        texts = [document.text for document in self.texts]
        found: list[list[int]] = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        for text, ids in zip(texts, found, strict=True):
            if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
                self._subject.to_tokens(text)  # says which word it does not know
        return found

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> Document:
        return Document(np.array(self._tokens[index], dtype=np.int32))


def _place(document: PydocText) -> bytes:
    return hashlib.blake2b(document.text.encode(), digest_size=8).digest()

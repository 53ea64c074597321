"""A corpus from text, given as strings or a file; each document is tokenised once and cached on disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from interp.corpus.chat_template import CannotRender, ChatTemplate, outside
from interp.corpus.text_file import Passage, TextFile
from interp.corpus.token_file import TokenFile
from interp.corpus.unusual import Kind, Unusual
from interp.document import Document
from interp.errors import UserError

if TYPE_CHECKING:
    from interp.subject.subject import Subject

TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 256, 2**19
"""Most texts and characters tokenised in one call, which is several times as fast as one by one."""
LOOKED_AT = 64
"""Number of first documents that are checked for words that the model does not know."""


class Written(NamedTuple):
    """A document's text for the model; of a conversation also the ranges of the messages' contents."""

    text: str
    place: str
    contents: Sequence[tuple[int, int]] | None = None


class TextCorpus:
    """Documents given as strings or by a `TextFile`, in random access, without labels.

    A document is tokenised when it is first read (with some that follow it, if documents are read in order)
    and cached in a file that is deleted with the process (`TokenFile`, in `folder`), so memory does not grow
    with the text. In a conversation the chat template's own tokens are marked, and a beginning-of-sequence
    token is there only if the template writes one. `unusual` counts text that cannot be read as it is; `say`
    is called for the first of each kind.

    Raises:
        UserError: the tokenizer cannot tell a conversation's template from its text; the model knows less
            than half of the first documents' words; the disk is full.
    """

    label_names: tuple[str, ...] = ()

    def __init__(
        self,
        texts: Sequence[str] | TextFile,
        subject: "Subject",
        name: str = "text",
        *,
        folder: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.unusual = Unusual(say)
        self._texts = texts
        self._tokenizer = subject.tokenizer
        self._d_vocab = subject.d_vocab
        unknown = self._tokenizer.unk_token_id
        self._unknown_id = -1 if unknown is None else unknown
        self._template: ChatTemplate | None = None
        if isinstance(texts, TextFile) and texts.holds_conversations:
            self._template = ChatTemplate(self._tokenizer, f"{name} (tokenizer of {subject.name})")
        self._kept = TokenFile(len(texts), folder)
        self._complete = np.zeros(len(texts), dtype=bool)
        self._counted = np.zeros(len(texts), dtype=bool)
        self._check_language(subject.name)

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Document:
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        if index not in self._kept:
            self._tokenise_from(index)
        tokens, template = self._kept.read(index)
        if template is None:
            return Document(tokens, complete=bool(self._complete[index]))
        # a template may write today's date: the messages alone say which document it is
        identity = Document(tokens[~template]).hash
        return Document(tokens, template, identity=identity, complete=bool(self._complete[index]))

    @contextmanager
    def counting_apart(self) -> Iterator[Unusual]:
        """Counts what is unusual in documents that are first read in the block apart, for `take_counts`."""
        before, self.unusual = self.unusual, Unusual()
        try:
            yield self.unusual
        finally:
            self.unusual = before

    def take_counts(self, unusual: Unusual, documents: Sequence[int]) -> None:
        """Adds what another process counted in documents, which are not counted again here."""
        self.unusual.merge(unusual)
        self._counted[list(documents)] = True

    def _tokenise_from(self, index: int) -> None:
        """Tokenises a document and, if they are read in order, some of those after it."""
        going: dict[int, Written] = {}
        in_order = index > 0 and index - 1 in self._kept
        characters, end = 0, min(len(self), index + (TEXTS_AT_ONCE if in_order else 1))
        while index < end and index not in self._kept and characters < CHARACTERS_AT_ONCE:
            if (written := self._written(index)) is not None:
                going[index] = written
                characters += len(written.text)
            index += 1
        if not going:
            return
        encoded = self._tokenizer(
            [written.text for written in going.values()],
            add_special_tokens=False,
            return_offsets_mapping=self._tokenizer.is_fast,
            verbose=False,
        )
        offsets = encoded["offset_mapping"] if self._tokenizer.is_fast else [None] * len(going)
        for (document, written), ids, where in zip(going.items(), encoded["input_ids"], offsets, strict=True):
            self._keep(document, written, np.array(ids, dtype=np.int32), where)

    def _written(self, index: int) -> Written | None:
        """A document's text, rendered by the template if it is a conversation; None if it is left out."""
        found = self._texts[index]
        passage = found if isinstance(found, Passage) else Passage(found, f"{self.name}, text {index + 1}")
        self._count(index, "replaced_characters", passage.replaced, f"in {passage.place}")
        if passage.messages is None:
            return Written(passage.text, passage.place)
        assert self._template is not None
        try:
            text, contents = self._template.written(passage.messages)
        except CannotRender as error:
            self._leave_out(index, f"{passage.place} ({error})")
            return None
        return Written(text, passage.place, contents)

    def _keep(
        self,
        document: int,
        written: Written,
        tokens: NDArray[np.int32],
        offsets: Sequence[tuple[int, int]] | None,
    ) -> None:
        beyond = tokens[tokens >= self._d_vocab]
        if len(beyond):
            token = self._tokenizer.convert_ids_to_tokens(int(beyond[0]))
            self._leave_out(document, f"{written.place} (the model has no embedding for {token!r})")
            return
        unknown = np.flatnonzero(tokens == self._unknown_id)
        words = [
            "" if offsets is None else written.text[slice(*offsets[place])] for place in unknown.tolist()
        ]
        words = [word for word in words if word != self._tokenizer.unk_token]
        if words:
            self._count(document, "unknown_words", len(words), f"{words[0]!r} in {written.place}")
        if written.contents is None:
            self._write(document, tokens, None)
            return
        assert offsets is not None
        template = outside(offsets, written.contents, len(written.text))
        begin = int(len(tokens) > 0 and tokens[0] == self._tokenizer.bos_token_id)
        self._complete[document] = not begin
        self._write(document, tokens[begin:], template[begin:])

    def _count(self, document: int, kind: Kind, count: int, first: str) -> None:
        if not self._counted[document]:
            self.unusual.add(kind, count, first)

    def _write(self, document: int, tokens: NDArray[np.int32], template: NDArray[np.bool_] | None) -> None:
        self._kept.write(document, tokens, template)
        self._counted[document] = True

    def _leave_out(self, document: int, which: str) -> None:
        self._count(document, "left_out_documents", 1, which)
        self._write(document, np.empty(0, dtype=np.int32), None)

    def _check_language(self, model: str) -> None:
        """Raises UserError if the first documents are not in the model's words, or none can be used."""
        first = [self[index].tokens for index in range(min(LOOKED_AT, len(self)))]
        tokens = sum(map(len, first))
        unknown = sum(int((one == self._unknown_id).sum()) for one in first)
        if 2 * unknown > tokens:
            raise UserError(
                f"{model} does not know {unknown:,} of the first {tokens:,} words, such as "
                f"{self.unusual.first('unknown_words')}",
                self.name,
                "give text in its words, or choose another model",
            )
        if first and not tokens and (which := self.unusual.first("left_out_documents")):
            raise UserError(
                f"none of the first {len(first)} documents can be used; the first: {which}",
                self.name,
                "give documents that this model can read, or choose another model",
            )

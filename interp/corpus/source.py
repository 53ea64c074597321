"""Config sections of corpora, each of which checks and opens itself."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from interp.bundled.pydoc.corpus import PydocCorpus, Which
from interp.bundled.pydoc.sources import check_python_texts
from interp.bundled.world.corpus import WorldCorpus
from interp.bundled.world.vocabulary import vocabulary
from interp.corpus.text import TextCorpus
from interp.corpus.text_file import TextFile
from interp.cost import BYTES_A_TOKEN, FULL, MemoryPart, Stage, TextSize
from interp.document import Corpus
from interp.errors import UserError
from interp.fields import Extent, FilePath, Section, Seed
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject
from interp.track.progress import Progress

SAMPLED = 200
"""Documents from which the size of a corpus is estimated."""
LONGEST_SAMPLED = 1 << 20
"""Bytes of the longest line that is read for it."""


class WorldSource(Section):
    """Documents of the bundled world, generated as they are read, with concept labels."""

    kind: Literal["world"] = "world"
    documents: Extent = 30_000
    """How many documents."""
    seed: Seed = 1
    """Which documents: the shipped model was trained on another seed's."""

    def stage(self) -> Stage:
        """Memory for the documents' order."""
        return Stage(
            "read the corpus", (MemoryPart("the documents' order", 44 * self.documents, "documents"),)
        )

    def size(self) -> TextSize:
        """Estimates its size from 200 of its documents."""
        corpus, words = WorldCorpus(self.seed, self.documents), vocabulary()
        some = [corpus[i].tokens for i in range(0, len(corpus), max(1, len(corpus) // SAMPLED))]
        lengths = tuple(map(len, some))
        letters = sum(1 + len(words[token]) for tokens in some for token in tokens)
        tokens = len(corpus) * sum(lengths) // len(some)
        return TextSize(tokens, lengths, letters / sum(lengths), generated=True)

    def check(self, model: SubjectInfo, field: str = "corpus") -> None:
        """Raises UserError if another model is to read its documents, which are the world's token ids."""
        if not model.speaks_world:
            raise UserError(
                f"the world's documents are token ids of the world model, not of {model.name}",
                f"{field}.kind",
                f"use `{field}: {{kind: pydoc}}` or `{field}: {{kind: text, path: ...}}` for other subjects",
            )

    def open(self, subject: Subject, folder: Path | None = None, progress: Progress | None = None) -> Corpus:
        """Opens it for the world's models.

        Raises:
            UserError: the subject has another vocabulary.
        """
        self.check(subject.info)
        return WorldCorpus(self.seed, self.documents)


class TextSource(Section):
    """Your own text."""

    kind: Literal["text"] = "text"
    path: FilePath
    """A .txt file with one document a line, or .jsonl with a "text" or the "messages" of a chat in each."""

    def size(self) -> TextSize | None:
        """About how large it is, at four bytes a token; None if the file is not there."""
        if not self.path.is_file():
            return None
        whole = self.path.stat().st_size
        step, lengths = max(1, whole // SAMPLED), []
        with self.path.open("rb") as file:
            for place in range(0, whole, step):
                file.seek(place)
                file.readline(LONGEST_SAMPLED)  # the rest of a line, and then a whole one
                if line := file.readline(LONGEST_SAMPLED).strip():
                    lengths.append(max(1, int(len(line) / BYTES_A_TOKEN)))
        return TextSize(int(whole / BYTES_A_TOKEN), tuple(lengths) or (FULL,))

    def check(self, model: SubjectInfo, field: str = "corpus") -> None:
        """Raises UserError if the file does not exist; reads nothing."""
        if not self.path.is_file():
            raise UserError(f"no file {self.path}", f"{field}.path", "give a .txt or .jsonl file")

    def open(self, subject: Subject, folder: Path | None = None, progress: Progress | None = None) -> Corpus:
        """Opens the file; text is tokenised as it is read, and its tokens are kept in `folder`.

        Anything unusual in the text is reported to `progress` once a kind, and counted
        (`TextCorpus.unusual`).

        Raises:
            UserError: the file cannot be read, or as `TextCorpus`.
        """
        say = None if progress is None else progress.say
        texts = TextFile(self.path, progress)
        return TextCorpus(texts, subject, str(self.path), folder=folder, say=say)


class PydocSource(Section):
    """Text that comes with Python: its documentation topics and the sources of its standard library."""

    kind: Literal["pydoc"] = "pydoc"
    part: Which = "held_out"
    """held_out: modules and topics on which the shipped `pydoc` was not trained; or training, or all."""
    documents: Extent | None = None
    """How many documents; all of the part if left out."""

    def size(self) -> None:
        """Not known: it varies by Python version."""

    def check(self, model: SubjectInfo, field: str = "corpus") -> None:
        """Raises UserError if this Python comes without the text."""
        check_python_texts()

    def open(self, subject: Subject, folder: Path | None = None, progress: Progress | None = None) -> Corpus:
        """Opens the text; its tokens are kept in `folder`.

        Raises:
            UserError: this Python has fewer documents than asked for, or as `TextCorpus`.
        """
        say = None if progress is None else progress.say
        return PydocCorpus(subject, self.part, self.documents, folder=folder, say=say)


CorpusSource = Annotated[WorldSource | TextSource | PydocSource, Field(discriminator="kind")]

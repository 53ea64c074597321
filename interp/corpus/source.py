"""Which corpus a config means."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from interp.corpus.document import Corpus
from interp.corpus.text import TextCorpus, read_texts
from interp.errors import UserError
from interp.organism.corpus import WorldCorpus
from interp.subject.subject import Subject


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class WorldSource(_Source):
    """Documents of the bundled world, generated as they are read, with concept labels."""

    kind: Literal["world"] = "world"
    documents: int = Field(30_000, gt=0)
    """How many documents."""
    seed: int = 1
    """Which documents: the shipped model was trained on another seed's."""


class TextSource(_Source):
    """Your own text."""

    kind: Literal["text"] = "text"
    path: Path
    """A .txt file with one document a line, or a .jsonl file with a "text" in each line."""


CorpusSource = Annotated[WorldSource | TextSource, Field(discriminator="kind")]


def check_corpus(source: WorldSource | TextSource) -> None:
    """Raises UserError if the file is not there; reads nothing else."""
    if isinstance(source, TextSource) and not source.path.is_file():
        raise UserError(f"no file {source.path}", "corpus.path", "give a .txt or .jsonl file")


def open_corpus(source: WorldSource | TextSource, subject: Subject) -> Corpus:
    """Opens the corpus for a subject.

    Raises:
        UserError: the file cannot be read, or the world's documents do not fit the subject's vocabulary.
    """
    if isinstance(source, TextSource):
        texts = read_texts(source.path)
        return TextCorpus(
            texts, lambda text: subject.to_tokens(text, prepend_bos=False)[0].tolist(), str(source.path)
        )
    if subject.name != "world":
        raise UserError(
            f"the world's documents are token ids of the world model, not of {subject.name}",
            "corpus.kind",
            "use `corpus: {kind: text, path: ...}` for other subjects",
        )
    return WorldCorpus(source.seed, source.documents)

"""The corpus of a run: its tokens in the run's folder, what is unusual in it said and counted."""

from interp.corpus.document import Corpus
from interp.corpus.source import PydocSource, TextSource, WorldSource, open_corpus
from interp.corpus.text import TextCorpus
from interp.subject import Subject
from interp.track.run import Run


def open_text(source: WorldSource | TextSource | PydocSource, subject: Subject, run: Run) -> Corpus:
    """Opens a run's corpus; every step notes what was unusual in the text that was read until its end.

    Raises:
        UserError: as `open_corpus`.
    """
    corpus = open_corpus(source, subject, folder=run.folder, progress=run.progress)
    if isinstance(corpus, TextCorpus):
        run.watch("unusual_text", corpus.unusual.counts)
    return corpus

"""What the experiments on lenses share in their configs, and how they are checked."""

from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, check_corpus, check_tokens_of
from interp.subject.config import SubjectConfig
from interp.subject.folder import SubjectInfo, subject_info


class LensConfig(ExperimentConfig):
    """What every experiment on lenses has."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""


def check_subject(config: LensConfig, corpus: CorpusSource | None = None) -> SubjectInfo:
    """Raises UserError if the subject or a corpus is not there, or they do not belong together."""
    info = subject_info(config.subject.name)
    if corpus is not None:
        check_corpus(corpus)
        check_tokens_of(corpus, info)
    return info

"""What the experiments on lenses share in their configs, and how they are checked."""

from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, WorldSource, check_corpus
from interp.errors import UserError
from interp.subject.config import SubjectConfig
from interp.subject.folder import SubjectInfo, subject_info


class LensConfig(ExperimentConfig):
    """The model."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""


def check_subject(config: LensConfig, corpus: CorpusSource | None = None) -> SubjectInfo:
    """Raises UserError if the subject or a corpus is not there, or they do not belong together."""
    if corpus is not None:
        check_corpus(corpus)
        if config.subject.name != "world" and isinstance(corpus, WorldSource):
            raise UserError(
                f"the world's documents are in its own tokens, not in those of {config.subject.name}",
                "corpus.kind",
                "use `{kind: text, path: ...}`",
            )
    return subject_info(config.subject.name)


def check_world(config: LensConfig, is_world: bool, field: str) -> None:
    """Raises UserError if what is asked in the world's words is asked of another model."""
    if is_world and config.subject.name != "world":
        raise UserError(
            f"the world's words need not be known to {config.subject.name}", field, "give your own as files"
        )

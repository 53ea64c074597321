"""Thinking language: translating between two languages, do middle layers expect the word in a third?"""

from interp.fields import FilePath, Flag, Word
from interp.lenses.languages import TranslationSource, WorldTranslations
from interp.lenses.tuned_lens import check_lens

from ..common.config import SubjectJobConfig, check_subject


class Config(SubjectJobConfig):
    """Which words, and which language may stand between."""

    words: TranslationSource = WorldTranslations()
    """Prompts, with the answer in every language."""
    pivot: Word = "english"
    """The language that may stand between source and target."""
    tuned_lens: FilePath | None = None
    """A tuned lens to read through, as `logit_lens` writes it; the logit lens without."""
    check_model: Flag = True
    """Whether the tuned lens must be of a model of the subject's name; false for a renamed copy."""


def check(config: Config) -> None:
    """Raises UserError for a missing model, file or language, before anything is written."""
    config.words.check(check_subject(config), "words")
    check_lens(config.tuned_lens)

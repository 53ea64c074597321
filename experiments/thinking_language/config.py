"""Thinking language: translating between two languages, do middle layers predict the word in a third?"""

from interp.fields import FilePath, Flag, Word
from interp.lenses.languages import TranslationSource, WorldTranslations
from interp.lenses.lens_file import check_lens

from ..common.config import SubjectJobConfig, check_subject


class Config(SubjectJobConfig):
    """Which words are translated, and which language may be the pivot."""

    words: TranslationSource = WorldTranslations()
    """Translation prompts, with the answer in every language."""
    pivot: Word = "english"
    """The language that may be used between source and target."""
    tuned_lens: FilePath | None = None
    """The file of a tuned or Jacobian lens to read through, written by `logit_lens`; else the logit lens."""
    check_model: Flag = True
    """Whether the lens must be trained on a model of the same name; false for a renamed copy."""


def check(config: Config) -> None:
    """Raises UserError for a missing model, file or language, before anything is written."""
    config.words.check(check_subject(config), "words")
    check_lens(config.tuned_lens)

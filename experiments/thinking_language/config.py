"""Thinking language: translating between two languages, do middle layers expect the word in a third?"""

from experiments.common.lenses.config import LensConfig, check_subject
from interp.fields import FilePath, Flag, Word
from interp.lenses.item_source import world_only
from interp.lenses.languages import TranslationSource, WorldTranslations, check_translations
from interp.lenses.tuned_lens import check_lens


class Config(LensConfig):
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
    """Finds a missing model, file or language before anything is written."""
    info = check_subject(config)
    if isinstance(config.words, WorldTranslations):
        world_only(info, "words.kind")
    check_translations(config.words)
    check_lens(config.tuned_lens)

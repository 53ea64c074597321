"""The logit lens, the tuned lens and direct logit attribution: what does a model expect before it says it?"""

from pydantic import Field

from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import Count, Extent, Listed, NonEmpty, Positive, Section, Several, Steps, Text, TokenId

from ..common.config import SubjectJobConfig, check_subject, check_text


class LensText(Section):
    """A text to look at."""

    text: Text = Field(min_length=1)
    """The text."""
    targets: Listed[TokenId | Text] = ()
    """Words of one token, as it continues the text (or token ids), whose ranks are followed; the first is
    also attributed at the text's end."""


class TunedLensConfig(Section):
    """How a tuned lens is trained."""

    corpus: CorpusSource = WorldSource(documents=8000)
    """Text: the explain split to train on, the report split to hold it against."""
    steps: Steps = 300
    """Updates."""
    tokens_per_step: Extent = 1024
    """Tokens of an update."""
    learning_rate: Positive = 3e-3
    """Of Adam, at the beginning; it falls to 0."""
    held_out_documents: Several = 300
    """Documents of the report split on which lenses are held against the output."""


class Config(SubjectJobConfig):
    """Which texts."""

    texts: NonEmpty[LensText] = (
        LensText(text="the capital of france , as we know , is", targets=("paris", "france")),
        LensText(
            text="the country of the performer of dekax kanav , as we know , is",
            targets=("china", "leman"),
        ),
        LensText(text="tamric : pepeka ; it is :", targets=("bopang", "team")),
    )
    """Texts to look at."""
    top: Count = 8
    """Likeliest tokens that are kept of every distribution."""
    tuned: TunedLensConfig | None = TunedLensConfig()
    """A tuned lens beside the logit lens; null for none."""


def check(config: Config) -> None:
    """Finds a missing model or corpus before anything is written."""
    info = check_subject(config)
    if config.tuned is not None:
        check_text(config.tuned.corpus, info, "tuned.corpus")
    if config.top > info.d_vocab:
        raise UserError(f"{info.name} has {info.d_vocab} tokens", "top", f"use at most {info.d_vocab}")
    targets = [target for text in config.texts for target in text.targets if isinstance(target, int)]
    if max(targets, default=0) >= info.d_vocab:
        raise UserError(
            f"{info.name} has no token {max(targets)}", "texts.targets", f"use ids below {info.d_vocab}"
        )

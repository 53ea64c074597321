"""The logit lens, the tuned lens and direct logit attribution: what does each layer predict?"""

from pydantic import Field

from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import Count, Extent, Listed, NonEmpty, Positive, Section, Several, Steps, Text, TokenId

from ..common.config import SubjectJobConfig, check_subject


class TextToRead(Section):
    """A text to read through the lenses."""

    text: Text = Field(min_length=1)
    """The text."""
    targets: Listed[TokenId | Text] = ()
    """Words of one token, as it continues the text (or token ids), whose ranks are shown; the first is
    also attributed at the text's end."""


class TunedLensConfig(Section):
    """How a tuned lens is trained."""

    corpus: CorpusSource = WorldSource(documents=8000)
    """Text: the lens is trained on the explain split, and tested on the report split."""
    steps: Steps = 300
    """Number of training updates."""
    tokens_per_step: Extent = 1024
    """Tokens in the batch of an update."""
    learning_rate: Positive = 3e-3
    """Initial learning rate of Adam, which decays to 0."""
    held_out_documents: Several = 300
    """Documents of the report split on which lenses are compared with the output."""


class Config(SubjectJobConfig):
    """Which texts are read, and how a tuned lens is trained."""

    texts: NonEmpty[TextToRead] = (
        TextToRead(text="the capital of france , as we know , is", targets=("paris", "france")),
        TextToRead(
            text="the country of the performer of dekax kanav , as we know , is",
            targets=("china", "leman"),
        ),
        TextToRead(text="tamric : pepeka ; it is :", targets=("bopang", "team")),
    )
    """Texts to read through the lenses."""
    top: Count = 8
    """Number of likeliest tokens kept of every distribution."""
    tuned: TunedLensConfig | None = TunedLensConfig()
    """How a tuned lens is trained, beside the logit lens; null for none."""


def check(config: Config) -> None:
    """Raises UserError for a missing model or corpus, before anything is written."""
    info = check_subject(config)
    if config.tuned is not None:
        config.tuned.corpus.check(info, "tuned.corpus")
    if config.top > info.d_vocab:
        raise UserError(f"{info.name} has {info.d_vocab} tokens", "top", f"use at most {info.d_vocab}")
    targets = [target for text in config.texts for target in text.targets if isinstance(target, int)]
    if max(targets, default=0) >= info.d_vocab:
        raise UserError(
            f"{info.name} has no token {max(targets)}", "texts.targets", f"use ids below {info.d_vocab}"
        )

"""The logit, tuned and Jacobian lens and direct logit attribution: what does each layer predict?"""

from typing import Annotated

from pydantic import Field

from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import (
    Count,
    CountOrZero,
    Extent,
    Listed,
    NonEmpty,
    Positive,
    Section,
    Several,
    Steps,
    Text,
    TokenId,
    Word,
)

from ..common.config import SubjectJobConfig, check_subject


class TextToRead(Section):
    """A text to read through the lenses."""

    text: Text = Field(min_length=1)
    """The text."""
    targets: Listed[TokenId | Text] = ()
    """Words of one token, as it continues the text (or token ids), whose ranks are shown; the first is
    also attributed at the text's end."""


class TrainedLensConfig(Section):
    """The text that a lens is trained and tested on."""

    corpus: CorpusSource = WorldSource(documents=8000)
    """Text: the lens is trained on the explain split, and tested on the report split."""
    held_out_documents: Several = 300
    """Documents of the report split on which lenses are compared with the output."""
    held_out_tokens: Count | None = None
    """Tokens drawn of each piece of such a document; null for all, which a large vocabulary makes slow."""


class TunedLensConfig(TrainedLensConfig):
    """How a tuned lens is trained."""

    steps: Steps = 300
    """Number of training updates."""
    tokens_per_step: Extent = 1024
    """Tokens in the batch of an update."""
    learning_rate: Positive = 3e-3
    """Initial learning rate of Adam, which decays to 0."""
    context_size: Several | None = None
    """Most tokens of a piece of text; null for 128, or as many as the model reads."""
    fitted_tokens: CountOrZero = 0
    """Tokens of a least-squares fit that training begins from; 0 begins from the logit lens."""


class Steered(Section):
    """Words that their directions are to make likelier, chosen on half of them and reported on the rest."""

    words: Annotated[NonEmpty[Word], Field(min_length=4)]
    """Words of one token after each of the prompts."""
    prompts: NonEmpty[Text]
    """Texts after which the word's probability is read."""
    strengths: NonEmpty[Positive] = (0.25, 0.5, 1.0)
    """Norms of what is added, over the residual stream's at the prompts' ends."""


class JacobianLensConfig(TrainedLensConfig):
    """What a Jacobian lens is averaged over."""

    prompts: Count = 100
    """Pieces of documents; each costs as many backward passes as the residual stream is wide."""
    context_size: Several = 48
    """Most tokens of a piece."""
    skip_first: CountOrZero = 4
    """Positions at the start of a piece that are left out."""
    prompts_per_graph: Count = 4
    """Pieces whose Jacobians are computed together."""
    steered: Steered | None = None
    """Words whose directions (transposed maps of the unembedding) are steered with; null for none."""


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
    jacobian: JacobianLensConfig | None = None
    """What a Jacobian lens is averaged over, beside the others; null for none."""

    @property
    def held_out(self) -> TrainedLensConfig | None:
        """The text on which all lenses are compared; None without a trained one."""
        return self.tuned or self.jacobian


def check(config: Config) -> None:
    """Raises UserError for a missing model or corpus, before anything is written."""
    info = check_subject(config)
    for name, trained in (("tuned", config.tuned), ("jacobian", config.jacobian)):
        if trained is not None:
            trained.corpus.check(info, f"{name}.corpus")
    if config.tuned and config.jacobian and _text(config.tuned) != _text(config.jacobian):
        raise UserError(
            "the tuned and the Jacobian lens are tested on different text",
            "jacobian.corpus",
            "give both the same corpus and held-out documents and tokens",
        )
    if config.top > info.d_vocab:
        raise UserError(f"{info.name} has {info.d_vocab} tokens", "top", f"use at most {info.d_vocab}")
    targets = [target for text in config.texts for target in text.targets if isinstance(target, int)]
    if max(targets, default=0) >= info.d_vocab:
        raise UserError(
            f"{info.name} has no token {max(targets)}", "texts.targets", f"use ids below {info.d_vocab}"
        )


def _text(config: TrainedLensConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in TrainedLensConfig.model_fields}

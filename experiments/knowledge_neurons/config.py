"""Find knowledge neurons, shared by a kind of answer, by integrated gradients; erase and enhance them."""

from pydantic import Field

from interp.corpus.questions import QuestionSource, WorldQuestions
from interp.corpus.source import CorpusSource, WorldSource
from interp.fields import (
    Count,
    CountOrZero,
    Finite,
    NonEmpty,
    Offset,
    OpenFraction,
    PositiveFraction,
    Several,
)
from interp.intervene.positions import Named

from ..common.config import SpacesJobConfig, check_mining


class Config(SpacesJobConfig):
    """How knowledge neurons are searched, and how they are changed."""

    corpus: CorpusSource = WorldSource(documents=1500)
    """Text on which activity is measured, to match random features with the found ones."""
    questions: QuestionSource = WorldQuestions(
        behaviours=("determiner_noun/singular", "determiner_noun/plural"), most=120
    )
    """Prompts with an answer and a foil; half of each group is searched on, results are of the rest."""
    steps: Several = 20
    """Points on the path of integration, both ends included, as in the published code."""
    of_largest: OpenFraction = 0.2
    """A feature counts for a prompt if its attribution exceeds this share of the prompt's largest."""
    least_share: PositiveFraction = 0.7
    """A feature is kept if it counts for this share of a group's prompts (see `wanted`)."""
    wanted: tuple[CountOrZero, CountOrZero] | None = (1, 5)
    """Least and most features kept: `least_share` moves by 0.05 until met (published: 2, 5); null: fixed."""
    enhance: Finite = Field(2.0, gt=1)
    """The factor by which enhancing multiplies a feature; erasing sets it to zero."""
    positions: Named | NonEmpty[Offset] = "last"
    """Positions at which features are changed; they are searched at the last one."""
    controls: Count = 10
    """Number of sets of random features, of the same spaces and similarly active, changed alike."""


def check(config: Config) -> None:
    """Raises UserError if a layer, behaviour, corpus or file is missing, before anything is written."""
    info = check_mining(config)
    config.spaces.check(info)
    config.questions.check(info)

"""How well each way to attribute an answer agrees with what ablation and patching really do."""

from pydantic import Field

from interp.attribution.baseline import Baseline
from interp.corpus.questions import QuestionSource, WorldQuestions
from interp.corpus.source import CorpusSource, WorldSource
from interp.fields import Count

from ..common.config import SpacesJobConfig, check_mining, check_subject


class Config(SpacesJobConfig):
    """Which effects are measured, and which attributions approximate them."""

    questions: QuestionSource = WorldQuestions(
        behaviours=("facts/plain", "agreement/near", "numbers/neutral/famous"), most=8
    )
    """Prompts; two of a group that have equal length and different answers make a pair for patching."""
    baseline: Baseline = "zero"
    """The value that a feature is ablated to, which is also the baseline of its attribution."""
    corpus: CorpusSource = WorldSource(documents=1500)
    """The text that means are taken over; read only if the baseline is the mean."""
    steps: Count = 20
    """Points on the path of an integrated gradient."""
    effects: Count = Field(80, ge=4)
    """Pairs of feature and position ablated on each prompt: half of them the strongest, half random."""
    top: Count = 10
    """How many of the largest effects of each prompt are compared between the two rankings."""


def check(config: Config) -> None:
    """Raises UserError if a layer, behaviour, corpus or file is missing, before anything is written."""
    info = check_mining(config) if config.baseline == "mean" else check_subject(config)
    config.spaces.check(info)
    config.questions.check(info)

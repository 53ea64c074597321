"""How well each way to attribute an answer agrees with what ablation and patching really do."""

from collections.abc import Sequence

from pydantic import Field

from interp.attribution.baseline import Baseline
from interp.corpus.questions import QuestionSource, WorldQuestions, check_questions
from interp.corpus.source import CorpusSource, WorldSource
from interp.cost import Stage, SubjectShape
from interp.fields import Count
from saes.spaces import SpacesConfig, check_spaces, space_sizes

from ..common.config import MiningJobConfig, check_mining, check_subject


class Config(MiningJobConfig):
    """Which effects are measured, and by what they are approximated."""

    spaces: SpacesConfig = SpacesConfig()
    """The features that are ablated and patched."""
    questions: QuestionSource = WorldQuestions(
        behaviours=("facts/plain", "agreement/near", "numbers/neutral/famous"), most=8
    )
    """The prompts. A pair for patching is two of a group that have the same length and other answers."""
    baseline: Baseline = "zero"
    """What a feature is ablated to, and its attribution is measured from."""
    corpus: CorpusSource = WorldSource(documents=1500)
    """The text of the means; read only where the baseline is the mean."""
    steps: Count = 20
    """Points of an integrated gradient."""
    effects: Count = Field(80, ge=4)
    """Features at positions whose exact effect is measured on each prompt: half strongest, half random."""
    top: Count = 10
    """The size of the top of both rankings that is compared, for each prompt."""

    def stages(self, shape: SubjectShape, tokens: int) -> Sequence[Stage]:
        """Mines the spaces."""
        return self.mined(shape, tokens, space_sizes(self.spaces, shape))


def check(config: Config) -> None:
    """Finds a layer, behaviour, corpus or file that does not exist before anything is written."""
    info = check_mining(config) if config.baseline == "mean" else check_subject(config)
    check_spaces(config.spaces, info)
    check_questions(config.questions)

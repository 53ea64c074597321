"""Change picked features and see what the model then answers: ablation, dose and effect, what drives them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from interp.bundled.world.concepts import CONCEPTS
from interp.corpus.questions import QuestionSource, WorldQuestions, check_questions
from interp.corpus.source import CorpusSource, WorldSource
from interp.cost import Stage, SubjectShape
from interp.errors import UserError
from interp.features.ref import split_key
from interp.fields import Count, CountOrZero, Listed, NonEmpty, Offset, Section, Several, Text, TokenId, Word
from interp.intervene.features import AblateTo
from interp.intervene.positions import Named
from saes.spaces import SpacesConfig, check_spaces, neuron_sizes, space_sizes

from ..common.config import MiningJobConfig, check_mining


class PickById(Section):
    """The features you name."""

    by: Literal["id"] = "id"
    features: NonEmpty[Word]
    """Keys such as mlp.3/17+ or sae.resid_post.4/12; the sign says which side is meant."""


class PickByConcept(Section):
    """The features that best tell tokens with a concept from others (AUROC on the select split)."""

    by: Literal["concept"] = "concept"
    concept: Word
    """One of the corpus' labels."""
    count: Count = 5
    """How many features."""


class PickByAttribution(Section):
    """The features to which the answers of the first group of questions are attributed, on the select half.

    Activation (less its mean) times gradient of the answer's log-probability, or of its logit less the
    foil's where there is one, summed over positions and averaged over questions.
    """

    by: Literal["attribution"] = "attribution"
    count: Count = 5
    """How many features."""


class Config(MiningJobConfig):
    """What is changed, and on what the effect is measured."""

    spaces: SpacesConfig = SpacesConfig()
    """Which features there are to pick from."""
    corpus: CorpusSource = WorldSource(documents=6000)
    """The text that the features' means, quantiles and samples are taken from."""
    questions: QuestionSource = WorldQuestions(behaviours=("refusal/harmful", "refusal/harmless"), most=120)
    """Half of the questions are for picking, the figures are of the other half."""
    answers: Listed[TokenId | Text] = ()
    """Words that count as the behaviour in place of the questions' own answers: a class of next tokens. Each
    is the token that continues a question's prompt; a number is a token id."""
    pick: Annotated[PickById | PickByConcept | PickByAttribution, Field(discriminator="by")] = (
        PickByAttribution()
    )
    """Which features are changed."""
    positions: Named | NonEmpty[Offset] = "all"
    """Where they are changed: all, last, or positions in the prompt."""
    ablate_to: NonEmpty[AblateTo] = ("zero", "mean", "resample")
    """What they are ablated to."""
    doses: Several = 11
    """Values of a sweep, from a feature's 1e-5-quantile to its (1 - 1e-5)-quantile."""
    separately: CountOrZero = 4
    """How many of the picked features are also swept one at a time."""
    controls: Count = 10
    """Sets of random features of the same layers and like activity, which get the same treatment."""
    histograms: CountOrZero = 2
    """For how many of the picked features the activation is shown by concept label."""

    def stages(self, shape: SubjectShape, tokens: int) -> Sequence[Stage]:
        """Mines the spaces."""
        return self.mined(shape, tokens, space_sizes(self.spaces, shape))


def check(config: Config) -> None:
    """Finds a layer, feature, concept, corpus or file that does not exist before anything is written."""
    info = check_mining(config)
    check_spaces(config.spaces, info)
    check_questions(config.questions)
    if isinstance(config.pick, PickByConcept):
        known = CONCEPTS if isinstance(config.corpus, WorldSource) else ()
        if config.pick.concept not in known:
            raise UserError(
                f"the corpus has no concept {config.pick.concept!r}",
                "pick.concept",
                f"use one of {', '.join(known)}" if known else "a corpus without labels: pick by attribution",
            )
    if isinstance(config.pick, PickById):
        neurons = neuron_sizes(config.spaces, info)
        for key in config.pick.features:
            if key.startswith("mlp."):
                split_key(key, neurons)

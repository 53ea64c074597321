"""Change picked features and measure the answers: ablation, dose and response, what drives them."""

from typing import Annotated, Literal

from pydantic import Field

from interp.bundled.world.concepts import CONCEPTS
from interp.corpus.questions import QuestionSource, WorldQuestions
from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.features.ref import split_key
from interp.fields import Count, CountOrZero, Listed, NonEmpty, Offset, Section, Several, Text, TokenId, Word
from interp.intervene.features import AblateTo
from interp.intervene.positions import Named

from ..common.config import SpacesJobConfig, check_mining


class PickById(Section):
    """Picks the features you name."""

    by: Literal["id"] = "id"
    features: NonEmpty[Word]
    """Keys such as mlp.3/17+ or sae.resid_post.4/12; the sign is the polarity."""


class PickByConcept(Section):
    """Picks the features that best detect tokens with a concept (AUROC on the select split)."""

    by: Literal["concept"] = "concept"
    concept: Word
    """One of the labels of the corpus."""
    count: Count = 5
    """Number of features picked."""


class PickByAttribution(Section):
    """Picks the features to which answers of the first group of questions are attributed, on the select half.

    Activation (minus its mean) times gradient of the answer's log-probability, or of its logit minus the
    foil's if there is one, summed over positions and averaged over questions.
    """

    by: Literal["attribution"] = "attribution"
    count: Count = 5
    """Number of features picked."""


class Config(SpacesJobConfig):
    """Which features are changed, how, and on which questions the effect is measured."""

    corpus: CorpusSource = WorldSource(documents=6000)
    """The text from which the features' means, quantiles and samples are taken."""
    questions: QuestionSource = WorldQuestions(behaviours=("refusal/harmful", "refusal/harmless"), most=120)
    """Prompts; half of them are used to pick features, the other half to measure effects."""
    answers: Listed[TokenId | Text] = ()
    """Words that count as the behaviour, instead of the questions' own answers: a class of next tokens. Each
    is one token after a question's prompt; a number is a token id."""
    pick: Annotated[PickById | PickByConcept | PickByAttribution, Field(discriminator="by")] = (
        PickByAttribution()
    )
    """How the features that are changed are picked."""
    positions: Named | NonEmpty[Offset] = "all"
    """Positions at which features are changed: all, last, or places in the prompt."""
    ablate_to: NonEmpty[AblateTo] = ("zero", "mean", "resample")
    """The values that features are ablated to."""
    doses: Several = 11
    """Number of values of a sweep, from a feature's 1e-5-quantile to its (1 - 1e-5)-quantile."""
    separately: CountOrZero = 4
    """How many of the picked features are also swept one at a time."""
    controls: Count = 10
    """Number of sets of random features, of the same layers and similarly active, changed alike."""
    histograms: CountOrZero = 2
    """Number of picked features whose activations are shown by concept label."""


def check(config: Config) -> None:
    """Raises UserError if a layer, feature, concept, corpus or file is missing; nothing is written."""
    info = check_mining(config)
    config.spaces.check(info)
    config.questions.check(info)
    if isinstance(config.pick, PickByConcept):
        known = CONCEPTS if isinstance(config.corpus, WorldSource) else ()
        if config.pick.concept not in known:
            raise UserError(
                f"the corpus has no concept {config.pick.concept!r}",
                "pick.concept",
                f"use one of {', '.join(known)}" if known else "a corpus without labels: pick by attribution",
            )
    if isinstance(config.pick, PickById):
        neurons = config.spaces.neuron_sizes(info)
        for key in config.pick.features:
            if key.startswith("mlp."):
                split_key(key, neurons)

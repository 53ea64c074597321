"""Calibrate automatic scores: how does each rank descriptions of features whose concept is known?"""

from collections.abc import Sequence

from pydantic import Field

from interp.compare.known_features import KnownFeaturesConfig
from interp.cost import Stage, SubjectShape, TextSize, neuron_spaces, random_spaces
from interp.descriptions.sources import (
    TextsConfig,
    WordJudgeSource,
    WordSimulatorSource,
    check_sources,
)
from interp.fields import Count, CountOrZero, Listed, Name, Section, Several
from interp.llm.endpoint import Endpoint
from interp.subject.site import Site, SiteName
from saes.config import SaeTraining
from saes.cost import trained_size

from ..common.config import MiningJobConfig, check_mining


class CandidatesConfig(Section):
    """The descriptions that compete for each feature."""

    patterns: Count = 5
    """Descriptions from the feature's evidence: one from all exemplars, others from random subsets."""
    meagre: CountOrZero = 2
    """Descriptions from two exemplars only."""
    foreign: CountOrZero = 2
    """Descriptions of other features, which have another concept."""
    concepts: CountOrZero = 2
    """Definitions of concepts that the feature detects next best; the true one always competes."""


class ScoresConfig(TextsConfig):
    """How much text of the select split the scores are computed on, as when a description is chosen."""

    prompts: CountOrZero = 12
    """Beginnings of documents that the intervention score continues; 0 leaves it out."""
    truth_windows: Several = 160
    """Random windows of the report split on which the truth is measured."""


class Config(MiningJobConfig):
    """Features whose concept is known, descriptions of every quality, and the scores that rank them."""

    site: SiteName = "resid_post.4"
    """The site of the probes and of the SAE, KIND.LAYER in the residual stream."""
    sae: SaeTraining = SaeTraining()
    """How the SAE is trained."""
    features: KnownFeaturesConfig = KnownFeaturesConfig()
    """How features whose concept is known are found."""
    candidates: CandidatesConfig = CandidatesConfig()
    """How many descriptions of each quality compete."""
    scores: ScoresConfig = ScoresConfig()
    """How much text the scores are computed on."""
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    """Servers of language models, by a name of your choice."""
    judges: Listed[WordJudgeSource] = ()
    """Language models that judge the words of the same descriptions, beside the judge that knows them."""
    simulators: Listed[WordSimulatorSource] = ()
    """Language models that simulate activations from the words of the descriptions."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Trains the SAE, then mines neurons, then latents beside as many probes."""
        latents = [trained_size(shape, Site.parse(self.site), self.sae)]
        random = random_spaces(shape, latents)
        mined = self.mined(shape, text, neuron_spaces(shape), latents + random)
        return [self.training(shape, self.site, self.sae, text), *mined]


def check(config: Config) -> None:
    """Raises UserError for an impossible site, corpus, context or endpoint, before anything is written."""
    info = check_mining(config, sae=config.sae.context_size)
    info.site_width(Site.parse(config.site))
    check_sources(config.endpoints, *config.judges, *config.simulators)

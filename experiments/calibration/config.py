"""Calibrate the automatic scores of descriptions: how does each rank them, where the truth is known?"""

from collections.abc import Sequence

from pydantic import Field

from interp.compare.known_features import KnownFeaturesConfig
from interp.cost import Stage, SubjectShape, neuron_spaces, random_spaces
from interp.descriptions.sources import JudgeSource, TextsConfig, WordSimulatorSource, check_sources
from interp.fields import Count, CountOrZero, Listed, Name, Section, Several
from interp.llm.endpoint import Endpoint
from interp.subject.site import Site, SiteName
from saes.config import SaeTraining
from saes.cost import trained_size

from ..common.config import MiningJobConfig, check_mining


class CandidatesConfig(Section):
    """The descriptions that compete for each feature."""

    patterns: Count = 5
    """Written from the feature's evidence: one from all exemplars, the rest from random halves and more."""
    meagre: CountOrZero = 2
    """Written from two exemplars only."""
    foreign: CountOrZero = 2
    """Of other features with another concept."""
    concepts: CountOrZero = 2
    """Definitions of other concepts: those that the feature tells next best. The true one is always there."""


class ScoresConfig(TextsConfig):
    """What the scores are computed on: the select split, as when a description is chosen."""

    prompts: CountOrZero = 12
    """Beginnings of documents that the intervention score continues; 0 leaves it out."""
    truth_windows: Several = 160
    """Random windows of the report split on which the truth is measured."""


class Config(MiningJobConfig):
    """Features with a known truth, descriptions of every quality, and the scores that rank them."""

    site: SiteName = "resid_post.4"
    """Where the probes and the SAE stand, KIND.LAYER of the residual stream."""
    sae: SaeTraining = SaeTraining()
    """How the SAE is trained."""
    features: KnownFeaturesConfig = KnownFeaturesConfig()
    """Features with a known truth."""
    candidates: CandidatesConfig = CandidatesConfig()
    """Competing descriptions."""
    scores: ScoresConfig = ScoresConfig()
    """What scores are computed on."""
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    """Servers of language models, by a name of your choice."""
    judges: Listed[JudgeSource] = ()
    """Language models that judge the same descriptions by their words, beside what is known of them."""
    simulators: Listed[WordSimulatorSource] = ()
    """Language models that simulate them by their words."""

    def stages(self, shape: SubjectShape, tokens: int) -> Sequence[Stage]:
        """Trains the SAE, then mines neurons, then latents beside as many probes."""
        latents = [trained_size(shape, Site.parse(self.site), self.sae)]
        random = random_spaces(shape, latents)
        mined = self.mined(shape, tokens, neuron_spaces(shape), latents + random)
        return [self.training(shape, self.site, self.sae), *mined]


def check(config: Config) -> None:
    """Finds an impossible site, corpus, context or endpoint before anything is written."""
    info = check_mining(config, sae=config.sae.context_size)
    info.site_width(Site.parse(config.site))
    check_sources(config.endpoints, *config.judges, *config.simulators)

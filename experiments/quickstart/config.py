"""Describe, score and compare the neurons and the SAE latents of a model, end to end."""

from collections.abc import Sequence

from interp.cost import Stage, SubjectShape, TextSize, neuron_spaces, random_spaces
from interp.subject.site import Site, SiteName
from saes.config import SaeTraining
from saes.cost import trained_size

from ..common.config import KeepingJobConfig, MiningJobConfig, check_mining
from ..common.populations.config import ConceptsConfig, DescribeConfig


class Config(KeepingJobConfig, MiningJobConfig):
    """The main job: describe, score and compare neurons and SAE latents."""

    sae_site: SiteName = "resid_post.4"
    """Site at which the SAE is trained, KIND.LAYER."""
    sae: SaeTraining = SaeTraining()
    """How the SAE is trained."""
    describe: DescribeConfig = DescribeConfig()
    """How many features are described and scored."""
    concepts: ConceptsConfig = ConceptsConfig()
    """The comparison with labelled concepts."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Mines neurons, trains the SAE, mines latents beside random directions, describes and scores."""
        latents = [trained_size(shape, Site.parse(self.sae_site), self.sae)]
        neurons, random = neuron_spaces(shape), random_spaces(shape, latents)
        mined = self.mined(shape, text, neurons, latents + random)
        trained = self.trained(shape, text, self.sae_site, self.sae, first=False)
        sample, options = self.describe.sample, self.describe
        described = self.described(
            shape, text, [*neurons, *latents], 2 * sample, options.random_windows, options.nulls
        )
        return [mined[0], *trained, *mined[1:], *described]


def check(config: Config) -> None:
    """Raises UserError for an impossible site, corpus or context, before anything is written."""
    info = check_mining(config, sae=config.sae.context_size)
    info.site_width(Site.parse(config.sae_site))

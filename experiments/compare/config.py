"""Compare neurons with the latents of SAEs: same text, same budget, same explainer, pair by pair."""

from collections.abc import Sequence
from typing import Literal

from interp.cost import SpaceSize, Stage, SubjectShape, TextSize, neuron_spaces, random_spaces
from interp.errors import UserError
from interp.fields import Listed, Several
from interp.subject.site import RESIDUAL_KINDS, Site, SiteName
from saes.config import SaeTraining
from saes.cost import saved_size, trained_size
from saes.source import SaeConfig

from ..common.config import KeepingJobConfig, MiningJobConfig, check_mining
from ..common.populations.config import ConceptsConfig, ScoringConfig


class SampleConfig(ScoringConfig):
    """How many features are described, and on how much text a description is scored."""

    sample: Several | None = 64
    """Features of each population, drawn uniformly from those that are ever active; null for all latents, and
    as many of each other population."""


class Config(KeepingJobConfig, MiningJobConfig):
    """Which populations of features are compared, at which sites, and on how much text."""

    site: SiteName = "resid_post.4"
    """Site at which an SAE is trained, KIND.LAYER; SAEs given in `saes` know their own site."""
    sae: SaeTraining | None = SaeTraining()
    """How an SAE is trained; ignored if `saes` are given."""
    saes: Listed[SaeConfig] = ()
    """Trained SAEs (folders, RELEASE/SAE_ID, or mappings with options); if given, none is trained."""
    neurons: Literal["same_layer", "all"] = "same_layer"
    """Whether MLP neurons are those of the layers of the SAEs, or of all layers."""
    baselines: Listed[Literal["random", "pca"]] = ("random", "pca")
    """Baseline directions at the SAEs' sites: random ones, principal components (pca)."""
    describe: SampleConfig = SampleConfig()
    """How many features are described and scored."""
    concepts: ConceptsConfig = ConceptsConfig()
    """The comparison with labelled concepts; ignored if the corpus has no labels."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Trains an SAE where none is given, mines all populations in one pass, describes and scores."""
        latents = [saved_size(shape, source) for source in self.saes]
        trains = [] if self.saes or self.sae is None else [self.sae]
        latents += [trained_size(shape, Site.parse(self.site), sae) for sae in trains]
        spaces = latents + neuron_spaces(
            shape, None if self.neurons == "all" else [one.layer for one in latents]
        )
        if "random" in self.baselines:
            spaces += random_spaces(shape, latents)
        if "pca" in self.baselines:
            spaces += [SpaceSize(shape.d_model, one.layer, True, shape.d_model**2) for one in latents]
        trained = [stage for sae in trains for stage in self.trained(shape, text, self.site, sae)]
        sample = self.describe.sample or sum(one.n_features for one in latents)
        features = sample * (3 + len(self.baselines))  # latents, neurons, matched neurons, baselines
        described = self.described(
            shape, text, spaces, features, self.describe.random_windows, self.describe.nulls
        )
        return [*trained, *self.mined(shape, text, spaces), *described]


def check(config: Config) -> None:
    """Raises UserError for an impossible site, corpus, SAE or context, before anything is written."""
    sizes = {} if config.saes or config.sae is None else {"sae": config.sae.context_size}
    info = check_mining(config, **sizes)
    if config.saes:
        for source in config.saes:
            source.check(info)
    elif config.sae is None:
        raise UserError("there is no SAE to compare with", "sae, saes", "train one (sae), or give folders")
    else:
        site = Site.parse(config.site)
        info.site_width(site)
        check_baselines(config, site)


def check_baselines(config: Config, site: Site) -> None:
    """Raises UserError if baseline directions are asked for at a site outside the residual stream."""
    if config.baselines and site.kind not in RESIDUAL_KINDS:
        raise UserError(
            f"{site} has no directions of the residual stream",
            "baselines",
            f"set baselines: [], or use an SAE at one of {', '.join(RESIDUAL_KINDS)}",
        )

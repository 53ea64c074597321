"""Compare neurons with the latents of SAEs: same text, same budget, same explainer, pair by pair."""

from typing import Literal

from experiments.common.config import MiningJobConfig, check_mining
from experiments.common.dictionaries.config import ConceptsConfig, DescribeConfig
from interp.errors import UserError
from interp.fields import Listed, Several
from interp.subject.site import RESIDUAL_KINDS, Site, SiteName
from saes.config import SaeTraining
from saes.source import SaeSource, check_sae


class SampleConfig(DescribeConfig):
    """How many features are described, and on how much text a description is scored."""

    sample: Several | None = 64
    """Features of each population, drawn uniformly from those that are ever active; null for all latents, and
    as many of each other population."""


class Config(MiningJobConfig):
    """Which populations are compared, and on what."""

    site: SiteName = "resid_post.4"
    """Where an SAE is trained, KIND.LAYER; those given in `saes` say themselves where they stand."""
    sae: SaeTraining | None = SaeTraining()
    """How an SAE is trained; not looked at where `saes` are given."""
    saes: Listed[SaeSource] = ()
    """SAEs that are there already (folders, RELEASE/SAE_ID, or mappings that say more): none is trained."""
    neurons: Literal["same_layer", "all"] = "same_layer"
    """The MLP neurons of the layers at which the SAEs stand, or of all layers."""
    baselines: Listed[Literal["random", "pca"]] = ("random", "pca")
    """Directions at the SAEs' sites that needed no SAE: random ones, principal ones."""
    describe: SampleConfig = SampleConfig()
    """What is described."""
    concepts: ConceptsConfig = ConceptsConfig()
    """What the labels are used for; not looked at where the corpus has none."""


def check(config: Config) -> None:
    """Finds an impossible site, corpus, SAE or context before anything is written."""
    sizes = {} if config.saes or config.sae is None else {"sae": config.sae.context_size}
    info = check_mining(config, **sizes)
    if config.saes:
        for source in config.saes:
            check_sae(source, info)
    elif config.sae is None:
        raise UserError("there is no SAE to compare with", "sae, saes", "train one (sae), or give folders")
    else:
        site = Site.parse(config.site)
        info.site_width(site)
        check_baselines(config, site)


def check_baselines(config: Config, site: Site) -> None:
    """Raises UserError if directions are to stand where none of the residual stream can."""
    if config.baselines and site.kind not in RESIDUAL_KINDS:
        raise UserError(
            f"no direction of the residual stream stands at {site}",
            "baselines",
            f"set baselines: [], or use an SAE at one of {', '.join(RESIDUAL_KINDS)}",
        )

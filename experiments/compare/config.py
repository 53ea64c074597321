"""Compare neurons with the latents of SAEs: same text, same budget, same explainer, pair by pair."""

from typing import Literal

from experiments.common.config import check_context
from experiments.common.dictionaries.config import ConceptsConfig, DescribeConfig
from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, WorldSource, check_corpus
from interp.errors import UserError
from interp.fields import Listed, Several
from interp.mining.config import MiningConfig
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info
from interp.subject.site import RESIDUAL_KINDS, Site, SiteName
from saes.config import SaeTraining
from saes.source import SaeSource, check_sae


class SampleConfig(DescribeConfig):
    """How many features are described, and on how much text a description is scored."""

    sample: Several | None = 64
    """Features of each population, drawn uniformly from those that are ever active; null for all latents, and
    as many of each other population."""


class Config(ExperimentConfig):
    """Which populations are compared, and on what."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
    corpus: CorpusSource = WorldSource()
    """The text, the same for all."""
    mining: MiningConfig = MiningConfig()
    """What is kept of each feature, of whatever kind."""
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
    info = subject_info(config.subject.name)
    check_corpus(config.corpus)
    sizes = {"mining": config.mining.context_size}
    if config.saes:
        for source in config.saes:
            check_sae(source, info)
    elif config.sae is None:
        raise UserError("there is no SAE to compare with", "sae, saes", "train one (sae), or give folders")
    else:
        site = Site.parse(config.site)
        info.site_width(site)
        sizes["sae"] = config.sae.context_size
        check_baselines(config, site)
    check_context(info, sizes)


def check_baselines(config: Config, site: Site) -> None:
    """Raises UserError if directions are to stand where none of the residual stream can."""
    if config.baselines and site.kind not in RESIDUAL_KINDS:
        raise UserError(
            f"no direction of the residual stream stands at {site}",
            "baselines",
            f"set baselines: [], or use an SAE at one of {', '.join(RESIDUAL_KINDS)}",
        )

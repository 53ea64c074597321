"""Describe, score and compare the neurons and the SAE latents of a model, end to end."""

from experiments.common.config import check_context
from experiments.common.dictionaries.config import ConceptsConfig, DescribeConfig
from interp.config import ExperimentConfig
from interp.corpus.source import CorpusSource, WorldSource, check_corpus
from interp.mining.config import MiningConfig
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info
from interp.subject.site import Site, SiteName
from saes.config import SaeTraining


class Config(ExperimentConfig):
    """The whole main job."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
    corpus: CorpusSource = WorldSource()
    """The text."""
    mining: MiningConfig = MiningConfig()
    """What is kept of each feature."""
    sae_site: SiteName = "resid_post.4"
    """Where the SAE is trained: KIND.LAYER."""
    sae: SaeTraining = SaeTraining()
    """How the SAE is trained."""
    describe: DescribeConfig = DescribeConfig()
    """What is described."""
    concepts: ConceptsConfig = ConceptsConfig()
    """What the labels are used for."""


def check(config: Config) -> None:
    """Finds an impossible site, corpus or context before anything is written."""
    info = subject_info(config.subject.name)
    info.site_width(Site.parse(config.sae_site))
    check_corpus(config.corpus)
    check_context(info, {"mining": config.mining.context_size, "sae": config.sae.context_size})

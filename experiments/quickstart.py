"""Describe, score and compare the neurons and the SAE latents of a model, end to end."""

from typing import TYPE_CHECKING

from pydantic import Field

from interp.config import ExperimentConfig, Section
from interp.corpus.source import CorpusSource, WorldSource, check_corpus
from interp.errors import UserError
from interp.mining.config import MiningConfig
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info
from interp.subject.site import Site
from saes.config import SaeTraining

if TYPE_CHECKING:
    from interp.track.run import Run


class DescribeConfig(Section):
    """How many features are described, and on how much text a description is scored."""

    sample: int = Field(64, ge=2)
    """Features of each population, drawn uniformly from those that are ever active."""
    random_windows: int = Field(30, ge=1)
    """Random report windows, the same for every feature."""
    nulls: int = Field(32, ge=1)
    """Other features' descriptions that make each score's null."""


class ConceptsConfig(Section):
    """The comparison with the corpus' labels; left out where the corpus has none."""

    least_positives: int = Field(10, ge=1)
    """Sampled tokens that must carry a concept, on the select and on the report split."""
    found_auroc: float = Field(0.9, gt=0.5, le=1)
    """From which AUROC a concept counts as found (its interval must lie above the random baseline's, too)."""


class Config(ExperimentConfig):
    """The whole main job."""

    subject: SubjectConfig = SubjectConfig()
    """The model."""
    corpus: CorpusSource = WorldSource()
    """The text."""
    mining: MiningConfig = MiningConfig()
    """What is kept of each feature."""
    sae_site: str = "resid_post.4"
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
    for key, size in (("mining", config.mining.context_size), ("sae", config.sae.context_size)):
        if size > info.n_ctx:
            raise UserError(
                f"{size} tokens do not fit {info.name}, which sees {info.n_ctx}",
                f"{key}.context_size",
                f"use at most {info.n_ctx}",
            )


def run(config: Config, run: "Run") -> None:
    """Mines neurons, trains an SAE, mines its latents, describes, scores and compares both."""
    from experiments._main_job import MainJob

    MainJob(config, run).run()

"""Compare dictionaries with known concepts: which ones they recover, split, absorb and hedge."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from interp.corpus.source import WorldSource
from interp.cost import Stage, SubjectShape, TextSize
from interp.errors import UserError
from interp.fields import Count, Extent, Fraction, Listed, Name, OpenFraction, Section, Several
from interp.subject.site import RESIDUAL_KINDS, Site, SiteName
from saes.config import SaeTraining
from saes.source import SaeConfig

from ..common.config import CorpusJobConfig, check_context, check_subject_and_corpus


class ReadingConfig(Section):
    """How much labelled text of each split is read."""

    tokens: Extent = 24_576
    """Tokens of whole documents, drawn uniformly; document scores use all of them."""
    sampled_tokens: Count = 8192
    """Tokens sampled from these, for scores on single tokens."""
    context_size: Several = 128
    """Context of the subject, in tokens, including the beginning-of-sequence token."""


class TruthConfig(Section):
    """Thresholds of the measures, and the number of bootstrap resamples."""

    least_positives: Count = 10
    """Least number of examples with, and without, a concept on both splits; else it is left out."""
    most_latents: Several = 6
    """Number of latents of the largest k-sparse probe."""
    least_probe_f1: Fraction = 0.6
    """Least F1 of a concept's dense probe for absorption to be measured (SAEBench's bound)."""
    least_latent_f1: Fraction = 0.3
    """Least F1 of a concept's best latent on the select split for hedging to be measured."""
    associated: OpenFraction = 0.1
    """Least phi coefficient of two concepts that count as occurring together."""
    draws: Count = Field(200, ge=20)
    """Bootstrap resamples of the documents for each interval."""


class Config(CorpusJobConfig):
    """Which dictionaries are compared with the labels of the corpus."""

    site: SiteName = "resid_post.4"
    """Site of the dictionaries and of the dense probe, KIND.LAYER."""
    train: dict[Name, SaeTraining] = Field({"wide": SaeTraining()})
    """SAEs to train, by a name of your choice; ignored if `saes` are given."""
    saes: Listed[SaeConfig] = ()
    """Trained SAEs at the site: folders, RELEASE/SAE_ID, or mappings with options."""
    baselines: Listed[Literal["random", "pca"]] = ("random", "pca")
    """Baseline directions at the site: random ones, principal components (pca)."""
    reading: ReadingConfig = ReadingConfig()
    """How much text is read."""
    truth: TruthConfig = TruthConfig()
    """Thresholds of the measures."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Returns a stage for each SAE that is trained, if none are given."""
        return [self.training(shape, self.site, sae, text) for sae in self.train.values() if not self.saes]


def check(config: Config) -> None:
    """Raises UserError for an impossible site, corpus, SAE or context, before anything is written."""
    info = check_subject_and_corpus(config)
    site = Site.parse(config.site)
    info.site_width(site)
    if site.kind not in RESIDUAL_KINDS:
        raise UserError(
            f"{site} is not in the residual stream's space", "site", f"use one of {', '.join(RESIDUAL_KINDS)}"
        )
    if not isinstance(config.corpus, WorldSource):
        raise UserError(
            "a corpus without labels has no truth to be held against", "corpus.kind", "use kind: world"
        )
    for source in config.saes:
        source.check(info)
    if not config.saes and not config.train:
        raise UserError("there is no SAE", "train, saes", "train at least one, or give folders")
    sizes = {"reading": config.reading.context_size}
    if not config.saes:
        sizes |= {f"train.{name}": one.context_size for name, one in config.train.items()}
    check_context(info, sizes)

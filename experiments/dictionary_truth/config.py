"""Hold dictionaries against the truth: which concepts they recover, split, absorb and hedge."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from interp.corpus.source import WorldSource
from interp.cost import Stage, SubjectShape
from interp.errors import UserError
from interp.fields import Count, Extent, Fraction, Listed, Name, OpenFraction, Section, Several
from interp.subject.site import RESIDUAL_KINDS, Site, SiteName
from saes.config import SaeTraining
from saes.source import SaeSource, check_sae

from ..common.config import CorpusJobConfig, check_context, check_subject_and_corpus


class ReadingConfig(Section):
    """How much labelled text is read of each split."""

    tokens: Extent = 24_576
    """Tokens of whole documents, drawn uniformly: documents are judged by all of their tokens."""
    sampled_tokens: Count = 8192
    """Tokens drawn of these, on which single tokens are judged."""
    context_size: Several = 128
    """Tokens the subject sees at once, the beginning-of-sequence token included."""


class TruthConfig(Section):
    """What counts as enough, and how sure the figures are to be."""

    least_positives: Count = 10
    """Examples with a concept, and without it, on the select and on the report split; else it is left out."""
    most_latents: Several = 6
    """Latents of the largest k-sparse probe."""
    least_probe_f1: Fraction = 0.6
    """Absorption is measured of concepts that the dense probe tells this well (SAEBench's bound)."""
    least_latent_f1: Fraction = 0.3
    """Hedging is measured of concepts that some latent tells this well on the select split."""
    associated: OpenFraction = 0.1
    """From which phi coefficient two concepts count as occurring together."""
    draws: Count = Field(200, ge=20)
    """Resamples of the documents behind each interval."""


class Config(CorpusJobConfig):
    """Which dictionaries are held against the labels of the corpus."""

    site: SiteName = "resid_post.4"
    """Where the dictionaries stand and the dense probe reads: KIND.LAYER."""
    train: dict[Name, SaeTraining] = Field({"wide": SaeTraining()})
    """SAEs that are trained, by a name of yours; not looked at where `saes` are given."""
    saes: Listed[SaeSource] = ()
    """SAEs at the site that are there already: folders, RELEASE/SAE_ID, or mappings that say more."""
    baselines: Listed[Literal["random", "pca"]] = ("random", "pca")
    """Directions at the site that needed no SAE."""
    reading: ReadingConfig = ReadingConfig()
    """How much text is read."""
    truth: TruthConfig = TruthConfig()
    """What counts as enough."""

    def stages(self, shape: SubjectShape, tokens: int) -> Sequence[Stage]:
        """Trains the SAEs, where none are given."""
        return [self.training(shape, self.site, sae) for sae in self.train.values() if not self.saes]


def check(config: Config) -> None:
    """Finds an impossible site, corpus, SAE or context before anything is written."""
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
        check_sae(source, info)
    if not config.saes and not config.train:
        raise UserError("there is no SAE", "train, saes", "train at least one, or give folders")
    sizes = {"reading": config.reading.context_size}
    if not config.saes:
        sizes |= {f"train.{name}": one.context_size for name, one in config.train.items()}
    check_context(info, sizes)

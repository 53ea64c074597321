"""Describe features with any explainer, choose the best of several, score them, and keep them in a store."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from interp.corpus.source import WorldSource
from interp.cost import Stage, SubjectShape, TextSize, neuron_spaces
from interp.descriptions.cost import Describing, describing_stages
from interp.descriptions.sources import (
    AnyJudgeSource,
    ExplainerSource,
    KnownSource,
    PatternsSource,
    SimulatedSource,
    SimulatorSource,
    TextsConfig,
    check_named,
    check_sources,
)
from interp.embed.source import EmbedderSource, TfidfSource
from interp.errors import UserError
from interp.fields import (
    Count,
    FilePath,
    Layer,
    Line,
    Listed,
    Name,
    NonEmpty,
    PositiveFraction,
    Section,
    Several,
    one_line,
)
from interp.llm.endpoint import Endpoint
from interp.secrets import keep_passwords_of
from interp.subject.site import Site, SiteName
from saes.config import SaeTraining
from saes.cost import saved_size, trained_size
from saes.source import SaeConfig

from ..common.config import KeepingJobConfig, MiningJobConfig, check_mining


class ScoringConfig(TextsConfig):
    """How much text of the report split descriptions are scored on; agreement is on the random windows."""

    nulls: Count = 8
    """Number of other features' descriptions scored on the same text, as the null."""


def _without_password(where: str) -> str:
    """Refuses a URL that contains a password, without repeating it."""
    if "://" in where and keep_passwords_of(where):
        raise UserError(
            "a URL in a config may hold no password, as it is written down with the run",
            "store.where",
            "leave the password out, and set PGPASSWORD, or put it in ~/.pgpass",
        )
    return where


class StoreConfig(Section):
    """Where descriptions are stored, and how they are searched."""

    where: Annotated[str, AfterValidator(_without_password), AfterValidator(one_line)] = ""
    """A SQLite file or a PostgreSQL URL; store.sqlite in the run's folder if left out. A password belongs in
    PGPASSWORD or ~/.pgpass, never here."""
    embedder: EmbedderSource | None = TfidfSource()
    """The embedder of descriptions, for search by meaning; null: no vectors are made."""
    index: Literal["auto", "exact", "annoy"] = "auto"
    """The search index: exact, approximate (annoy), or chosen by size (auto)."""
    recall: PositiveFraction = 0.95
    """The recall that an approximate index is tuned to reach."""


class Config(KeepingJobConfig, MiningJobConfig):
    """Which features are described, by which explainers, and how descriptions are scored."""

    neurons: Literal["all", "none"] | Listed[Layer] = "all"
    """MLP neurons: of all layers, of none, or of these."""
    saes: Listed[SaeConfig] = ()
    """Trained SAEs whose latents are described."""
    site: SiteName = "resid_post.4"
    """Site at which `sae` is trained, KIND.LAYER."""
    sae: SaeTraining | None = None
    """How an SAE is trained first, whose latents are described; null for none."""
    sample: Several | None = 64
    """Features of each kind, drawn uniformly from those that are ever active; null for all."""
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    """Servers of language models, by a name of your choice."""
    explainers: NonEmpty[ExplainerSource] = (PatternsSource(),)
    """The explainers that write descriptions, compared with each other."""
    samples: Count = 1
    """Descriptions per explainer and feature; the best on the select split is chosen."""
    simulator: SimulatorSource = KnownSource()
    """The simulator, which predicts activations from a description."""
    judges: Listed[AnyJudgeSource] = (SimulatedSource(),)
    """The judges, which rate texts for detection and fuzzing."""
    choose_by: Literal["simulation", "detection"] = "simulation"
    """The score on the select split that chooses among the samples."""
    scoring: ScoringConfig = ScoringConfig()
    """How much text descriptions are scored on."""
    summarise_by: Line = ""
    """The endpoint that writes short forms; if left out, a rule does."""
    interest: FilePath | None = None
    """The folder of a trained classifier of interestingness (`interestingness.yaml`); else a rule is used."""
    store: StoreConfig = StoreConfig()
    """Where descriptions are stored and how they are searched."""
    features_at_once: Count = 32
    """Features whose text is read in one batch and whose endpoint calls run concurrently."""

    def stages(self, shape: SubjectShape, text: TextSize) -> Sequence[Stage]:
        """Trains the SAE, mines neurons and latents in one pass, then describes, scores and stores."""
        trains = [] if self.sae is None else [self.sae]
        latents = [saved_size(shape, source) for source in self.saes]
        latents += [trained_size(shape, Site.parse(self.site), sae) for sae in trains]
        layers = {"all": None, "none": ()}[self.neurons] if isinstance(self.neurons, str) else self.neurons
        neurons = neuron_spaces(shape, layers)
        trained = [
            stage for sae in trains for stage in self.trained(shape, text, self.site, sae, first=not neurons)
        ]
        apart = self.activations is not None and trained  # neurons are mined first, which keeps what is read
        mined = self.mined(shape, text, *((neurons, latents) if apart else ([*neurons, *latents],)))
        spaces = [*neurons, *latents]
        kinds = (1 if neurons else 0) + len(latents)
        lines = sum(one.lines for one in spaces)
        plan = Describing(
            lines if self.sample is None else min(lines, self.sample * kinds), spaces, self.mining,
            self.scoring, self.scoring.nulls, self.explainers, self.samples, self.simulator, self.judges,
            self.choose_by, self.summarise_by, self.endpoints, self.features_at_once,
            labelled=isinstance(self.corpus, WorldSource),
        )  # fmt: skip
        described = describing_stages(shape, self.subject.resolved_dtype(), plan, text)
        return [*mined, *trained, *described] if apart else [*trained, *mined, *described]


def check(config: Config) -> None:
    """Raises UserError for an impossible site, corpus, SAE, endpoint or pairing; nothing is written."""
    info = check_mining(config, **({} if config.sae is None else {"sae": config.sae.context_size}))
    for source in config.saes:
        source.check(info)
    if config.sae is not None:
        info.site_width(Site.parse(config.site))
    if config.neurons == "none" and not config.saes and config.sae is None:
        raise UserError("there is nothing to describe", "neurons, saes, sae", "set one of them")
    if not isinstance(config.neurons, str):
        for layer in config.neurons:
            info.site_width(Site("mlp_post", layer))
    words = [source.kind for source in config.explainers if source.kind != "patterns"]
    if words and config.simulator.kind == "known":
        raise UserError(
            f"the simulator `known` does not read the words that {', '.join(words)} writes",
            "simulator",
            "use likely_words, structured, prompt_logprobs or expected_value",
        )
    if config.interest is not None and not (config.interest / "interest.safetensors").exists():
        raise UserError(
            "there is no classifier",
            str(config.interest),
            "give the classifier/ folder of an interestingness run",
        )
    if config.store.embedder is not None:
        config.store.embedder.check()
    if config.summarise_by:
        check_named(config.summarise_by, config.endpoints)
    check_sources(config.endpoints, *config.explainers, config.simulator, *config.judges)

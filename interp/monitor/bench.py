"""What sessions on one model share: the subject, its feature spaces, and what is known of their features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import yaml

from interp.causal.side_effects import NeutralTexts, neutral_beginnings
from interp.corpus.source import CorpusSource
from interp.document import Corpus
from interp.embed.source import EmbedderSource, TfidfSource
from interp.errors import UserError
from interp.features.space import FeatureSpace
from interp.fields import Count, Listed, PathText, Section
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.monitor.knowledge import Knowledge
from interp.monitor.steering import Steerer
from interp.store.store import open_store
from interp.subject.folder import SubjectInfo, subject_info
from interp.subject.load import SubjectConfig
from interp.subject.subject import Subject
from saes.spaces import SpacesConfig


@dataclass(frozen=True)
class Bench:
    """One model with its feature spaces; on `neutral` texts the side effects of steering are measured."""

    subject: Subject
    knowledge: Knowledge
    all_spaces: Sequence[FeatureSpace]
    neutral: NeutralTexts | None = None
    sources: "Sources | None" = None
    """Where all but the subject came from, for exports."""
    corpora: Mapping[str, Corpus] = field(default_factory=dict)
    """The texts from which exemplars are shown, by name."""
    grader: Client | None = None
    """The endpoint that names and grades groups of features; without one their own words do."""

    @cached_property
    def spaces(self) -> dict[str, FeatureSpace]:
        """The feature spaces by name."""
        return {space.name: space for space in self.all_spaces}

    @cached_property
    def steerer(self) -> Steerer:
        """Makes interventions of cards."""
        return Steerer(self.subject, self.spaces, self.knowledge)


class Sources(Section):
    """Where a bench's features, their descriptions and its neutral texts come from."""

    spaces: SpacesConfig = SpacesConfig()
    """The feature spaces: all MLP neurons, and SAEs or directions that are named."""
    stores: Listed[PathText] = ()
    """Stores of descriptions: files, run folders, PostgreSQL URLs; the first that knows a feature counts."""
    embedder: EmbedderSource = TfidfSource()
    """The embedder of descriptions, for search by meaning and groups."""
    endpoint: Endpoint | None = None
    """A language model that names and grades groups of features; null: their own words name them."""
    neutral: CorpusSource | None = None
    """The text on which side effects are measured; null: they are not."""
    corpora: Listed[CorpusSource] = ()
    """The texts that the stores' exemplars are windows of; without them exemplars are not shown."""
    neutral_texts: Count = 20
    """How many beginnings of its documents."""

    def check(self, info: SubjectInfo) -> None:
        """Raises UserError if a layer, a site or a file does not exist, or the text is not for this model."""
        self.spaces.check(info)
        if self.neutral is not None:
            self.neutral.check(info, "sources.neutral")
        for number, source in enumerate(self.corpora):
            source.check(info, f"sources.corpora.{number}")

    def open(self, subject: Subject) -> Bench:
        """Opens the spaces and the stores, and reads the neutral texts.

        Raises:
            UserError: something is not there, or is of another model.
        """
        stores = [open_store(where) for where in self.stores]
        neutral = None
        if self.neutral is not None:
            neutral = neutral_beginnings(subject, self.neutral.open(subject), self.neutral_texts)
        knowledge = Knowledge(subject.name, stores, self.embedder)
        texts = [source.open(subject) for source in self.corpora]
        grader = None if self.endpoint is None else Client(self.endpoint)
        corpora = {corpus.name: corpus for corpus in texts}
        return Bench(subject, knowledge, self.spaces.open(subject), neutral, self, corpora, grader)


def exported(bench: Bench, state: Section) -> str:
    """The YAML of the experiment `replay` that writes what a session wrote, and measures it again."""
    values = {"subject": _loaded(bench.subject), "sources": bench.sources or Sources(), "state": state}
    config = {
        "experiment": "replay",
        "purpose": "What a session of the Monitor wrote, and what its steering set changes.",
        **{name: value.model_dump(mode="json") for name, value in values.items()},
    }
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def _loaded(subject: Subject) -> SubjectConfig:
    """How the subject is loaded again: by its name if that leads to its folder, otherwise by the folder."""
    folder = subject.info.folder
    try:
        named = subject_info(subject.name).folder == folder
    except UserError:
        named = False
    dtype = str(subject.dtype).removeprefix("torch.")
    name = subject.name if named else str(folder)
    return SubjectConfig.model_validate(
        {
            "name": name,
            "dtype": dtype,
            "backend": subject.backend,
            "processing": subject.processing,
            **{key: (subject.options or {}).get(key) for key in ("device_map", "quantize")},
        }
    )

"""What sessions on one model share: the subject, its feature spaces, and what is known of their features."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from interp.causal.side_effects import NeutralTexts, neutral_beginnings
from interp.corpus.source import CorpusSource
from interp.embed.source import EmbedderSource, TfidfSource
from interp.features.space import FeatureSpace
from interp.fields import Count, Listed, PathText, Section
from interp.monitor.knowledge import Knowledge
from interp.monitor.steering import Steerer
from interp.store.store import open_store
from interp.subject.folder import SubjectInfo
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
    neutral: CorpusSource | None = None
    """The text on which side effects are measured; null: they are not."""
    neutral_texts: Count = 20
    """How many beginnings of its documents."""

    def check(self, info: SubjectInfo) -> None:
        """Raises UserError if a layer, a site or a file does not exist, or the text is not for this model."""
        self.spaces.check(info)
        if self.neutral is not None:
            self.neutral.check(info, "sources.neutral")

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
        return Bench(subject, knowledge, self.spaces.open(subject), neutral)


def exported(subject: SubjectConfig, sources: Sources, state: Section) -> dict[str, object]:
    """A config of the experiment `replay`, which writes what a session wrote, and measures it again."""
    values = {"subject": subject, "sources": sources, "state": state}
    return {
        "experiment": "replay",
        "purpose": "What a session of the Monitor wrote, and what its steering set changes.",
        **{name: value.model_dump(mode="json") for name, value in values.items()},
    }

"""Patchscopes: what does the model itself say that an activation holds?"""

from typing import Literal

from pydantic import Field

from experiments.common.lenses.config import LensConfig, check_subject
from interp.corpus.source import CorpusSource, WorldSource
from interp.fields import Count, CountOrZero, FilePath, Flag, Section, Several, Text
from interp.lenses.entities import EntitySource, WorldEntities, check_entities
from interp.lenses.item_source import world_only
from interp.lenses.patchscopes import Named, TargetPrompts, check_target_prompts
from interp.lenses.relations import RelationSource, WorldRelations, check_relations
from interp.lenses.tuned_lens import check_lens
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info


class NextTokens(Section):
    """Predicting the model's own next token from an activation on its way."""

    corpus: CorpusSource = WorldSource(documents=6000)
    """Text: affine maps are fitted on the explain split, figures are of the report split."""
    fitted: Several = 1500
    """Beginnings of documents to fit maps on."""
    reported: Several = 200
    """Beginnings of documents to report on."""
    tuned_lens: FilePath | None = None
    """A tuned lens beside the logit lens, as `logit_lens` writes it."""
    check_model: Flag = True
    """Whether the tuned lens must be of a model of the subject's name; false for a renamed copy."""


class Extraction(Section):
    """Asking for an attribute that the source sentence does not ask for."""

    relations: RelationSource = WorldRelations(relations=("capital", "language", "continent", "spouse"))
    """Which attributes."""
    source: Text = "the doctor cooked near {} ."
    """The sentence that the subject's activation is read in; {} is its place."""
    most: Count = Field(40, ge=4)
    """At most so many samples of a relation."""


class CrossModel(Section):
    """Activations of another model, put into this one through an affine map."""

    source: SubjectConfig
    """The model that activations are read in; it must have the same vocabulary."""
    corpus: CorpusSource = WorldSource(documents=6000)
    """Text on which maps are fitted (explain split)."""
    fitted: Several = 1500
    """Beginnings of documents to fit maps on."""


class Config(LensConfig):
    """Which entities, prompts and attributes."""

    scopes: Named | TargetPrompts = "world"
    """Target prompts: world, published (Ghandeharioun et al. 2024), or your own."""
    entities: EntitySource = WorldEntities()
    """Entities in sentences."""
    description_pairs: Literal["same", "all"] = "same"
    """Layers of descriptions: each into itself, or all pairs (longer: texts are written)."""
    identity_tokens: CountOrZero = 0
    """Tokens in which a repeated entity is looked for; 0: the next token must begin it."""
    next_tokens: NextTokens | None = NextTokens()
    """Precision and surprisal of the next token; null for none."""
    extraction: Extraction | None = Extraction()
    """Attribute extraction against a probe; null for none."""
    cross_model: CrossModel | None = None
    """The same identity prompt for another model's activations; null for none."""


def check(config: Config) -> None:
    """Finds missing models, files and placeholders before anything is written."""
    info = check_subject(config, config.next_tokens.corpus if config.next_tokens else None)
    check_target_prompts(config.scopes)
    check_entities(config.entities)
    if config.next_tokens is not None:
        check_lens(config.next_tokens.tuned_lens)
    if config.extraction is not None:
        check_relations(config.extraction.relations)
    for field, in_world in (
        ("scopes", config.scopes == "world"),
        ("entities.kind", isinstance(config.entities, WorldEntities)),
        ("extraction", config.extraction and isinstance(config.extraction.relations, WorldRelations)),
    ):
        if in_world:
            world_only(info, field)
    if config.cross_model is not None:
        check_subject(config, config.cross_model.corpus)
        subject_info(config.cross_model.source.name)

"""Patchscopes: what does the model itself say that an activation holds?"""

from typing import Literal

from pydantic import Field

from interp.corpus.source import CorpusSource, WorldSource
from interp.fields import Count, CountOrZero, FilePath, Flag, Section, Several, Text
from interp.lenses.entities import EntitySource, WorldEntities
from interp.lenses.item_source import world_only
from interp.lenses.patchscopes import Named, TargetPrompts, check_target_prompts
from interp.lenses.relations import RelationSource, WorldRelations
from interp.lenses.tuned_lens import check_lens
from interp.subject.config import SubjectConfig
from interp.subject.folder import subject_info

from ..common.config import SubjectJobConfig, check_subject, check_text


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


class Config(SubjectJobConfig):
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
    info = check_subject(config)
    check_target_prompts(config.scopes)
    if config.scopes == "world":
        world_only(info, "scopes")
    config.entities.check(info, "entities")
    if config.next_tokens is not None:
        check_text(config.next_tokens.corpus, info, "next_tokens.corpus")
        check_lens(config.next_tokens.tuned_lens)
    if config.extraction is not None:
        config.extraction.relations.check(info, "extraction.relations")
    if config.cross_model is not None:
        check_text(config.cross_model.corpus, info, "cross_model.corpus")
        subject_info(config.cross_model.source.name)

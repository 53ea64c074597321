"""Patchscopes: what does the model itself say that an activation encodes?"""

from typing import Literal

from pydantic import Field

from interp.corpus.source import CorpusSource, WorldSource
from interp.errors import UserError
from interp.fields import (
    Count,
    CountOrZero,
    FilePath,
    Flag,
    LayerOrEmbedding,
    NonEmpty,
    Section,
    Several,
    Text,
)
from interp.lenses.entities import EntitySource, WorldEntities
from interp.lenses.item_source import world_only
from interp.lenses.lens_file import check_lens
from interp.lenses.patchscopes import Named, TargetPrompts, check_target_prompts
from interp.lenses.relations import RelationSource, WorldRelations
from interp.lenses.residual_stream import EMBEDDING
from interp.subject.folder import subject_info
from interp.subject.load import SubjectConfig

from ..common.config import SubjectJobConfig, check_layers, check_subject


class NextTokens(Section):
    """Prediction of the model's own next token from an activation of an earlier layer."""

    corpus: CorpusSource = WorldSource(documents=6000)
    """Text: affine maps are fitted on the explain split, and tested on the report split."""
    fitted: Several = 1500
    """Number of documents whose beginnings maps are fitted on."""
    reported: Several = 200
    """Number of documents whose beginnings maps are tested on."""
    tuned_lens: FilePath | None = None
    """The file of a tuned or Jacobian lens, written by `logit_lens`, to compare with; null for none."""
    check_model: Flag = True
    """Whether the lens must be trained on a model of the same name; false for a renamed copy."""


class Extraction(Section):
    """Extraction of an attribute that the source sentence does not ask for."""

    relations: RelationSource = WorldRelations(relations=("capital", "language", "continent", "spouse"))
    """The relations whose objects are extracted."""
    source: Text = "the doctor cooked near {} ."
    """The sentence in which the subject's activation is read; {} stands for the subject."""
    most: Count = Field(40, ge=4)
    """The largest number of samples of a relation."""


class CrossModel(Section):
    """Activations of another model, put into this one through an affine map."""

    source: SubjectConfig
    """The model whose activations are read; it must have the same vocabulary."""
    corpus: CorpusSource = WorldSource(documents=6000)
    """Text on whose explain split maps are fitted."""
    fitted: Several = 1500
    """Number of documents whose beginnings maps are fitted on."""


class Config(SubjectJobConfig):
    """Which entities, target prompts and attributes are tried."""

    scopes: Named | TargetPrompts = "world"
    """Target prompts: world, published (Ghandeharioun et al. 2024), or your own."""
    entities: EntitySource = WorldEntities()
    """Entities in sentences, whose activations are patched."""
    layers: NonEmpty[LayerOrEmbedding] | None = None
    """Layers that activations are read after and put in after, in the sweeps; -1 (the embedding) and all if
    left out."""
    description_pairs: Literal["same", "all"] = "same"
    """Layer pairs of the description prompt: each layer into itself, or all pairs (slow: it generates)."""
    identity_tokens: CountOrZero = 0
    """Generated tokens searched for the repeated entity; 0: the next token must begin it."""
    next_tokens: NextTokens | None = NextTokens()
    """How next-token prediction is measured; null to skip it."""
    extraction: Extraction | None = Extraction()
    """How attribute extraction is compared with a probe; null to skip it."""
    cross_model: CrossModel | None = None
    """The identity prompt applied to another model's activations; null to skip it."""


def check(config: Config) -> None:
    """Raises UserError for missing models, files and placeholders, before anything is written."""
    info = check_subject(config)
    check_target_prompts(config.scopes)
    if config.scopes == "world":
        world_only(info, "scopes")
    config.entities.check(info, "entities")
    check_layers(config.layers, info.n_layers - 1)
    if config.layers == (EMBEDDING,):
        raise UserError("the embedding alone is no activation to read", "layers", "add a layer")
    if config.next_tokens is not None:
        config.next_tokens.corpus.check(info, "next_tokens.corpus")
        check_lens(config.next_tokens.tuned_lens)
    if config.extraction is not None:
        config.extraction.relations.check(info, "extraction.relations")
    if config.cross_model is not None:
        config.cross_model.corpus.check(info, "cross_model.corpus")
        subject_info(config.cross_model.source.name)

"""Linear relations: is the step from a subject to its object an affine map, and can it be inverted?"""

from pydantic import Field

from interp.errors import UserError
from interp.fields import Count, CountOrZero, Finite, Flag, LayerOrEmbedding, NonEmpty
from interp.lenses.relations import RelationSource, WorldRelations

from ..common.config import SubjectJobConfig, check_layers, check_subject


class Config(SubjectJobConfig):
    """Which relations are studied, and which layers, factors and ranks are tried."""

    relations: RelationSource = WorldRelations()
    """Subjects, objects, and the sentences that ask for the object of a subject."""
    examples: Count = 8
    """Number of samples whose Jacobians are averaged."""
    shown: CountOrZero = 0
    """How many of these are shown before each question (the paper shows all others)."""
    layers: NonEmpty[LayerOrEmbedding] | None = None
    """Layers after which the subject is read; the embedding (-1) and all but the last if left out."""
    betas: NonEmpty[Finite] = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
    """Factors tried for the linear part."""
    ranks: NonEmpty[Count] = (2, 4, 8, 16, 32, 64)
    """Ranks tried for the inverse that changes objects."""
    known_only: Flag = True
    """Whether only samples count that the model answers rightly."""
    most: Count = Field(60, ge=8)
    """The largest number of samples of a relation."""


def check(config: Config) -> None:
    """Raises UserError for a missing model, file, relation or layer, before anything is written."""
    info = check_subject(config)
    config.relations.check(info, "relations")
    check_layers(config.layers, info.n_layers - 2)
    if min(config.ranks) > info.d_model:
        raise UserError(
            f"no rank is possible: activations have {info.d_model} numbers",
            "ranks",
            f"use 1 to {info.d_model}",
        )
    if config.shown > config.examples:
        raise UserError(
            f"{config.shown} samples cannot be shown of {config.examples}",
            "shown",
            "show no more than examples",
        )

"""The steering set: cards that strengthen or suppress features, or add vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor

from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace, Polarity, writable
from interp.fields import CountOrZero, Finite, Flag, Line, NonEmpty, PathText, PositiveFraction, Section, Word
from interp.intervene import Clamp, Positions
from interp.monitor.knowledge import Knowledge, Known
from interp.subject.forward import Intervention
from interp.subject.subject import Subject
from interp.vectors.file import interventions_of

Range = tuple[CountOrZero, CountOrZero]
Where = Literal["all", "prompt", "generated"] | NonEmpty[Range]
"""Which tokens are changed: all, those that were given, those that are written, or ranges of the text's
tokens, counted from 0 at its first (a beginning-of-sequence token is one), both ends included."""
NEAR = 0.01
"""Similarity of a description to a concept below which they have nothing to do with each other."""
STRENGTHEN, SUPPRESS = (50, 0.5), (500, 0.0)
"""How many features, and how many times their quantile: the published Monitor's rules."""


class FeatureCard(Section):
    """Features held at a multiple of their own quantile: strengthened, or suppressed at 0.

    The rule of Transluce's Monitor: a feature's value becomes `strength` times what it exceeds on a share
    `tail` of tokens, on the side that is meant. Its published text changes a feature only where it is active
    on that side (`only_same_sign`), its released code everywhere.
    """

    kind: Literal["features"] = "features"
    """Features of any spaces."""
    name: Line = ""
    """What they have in common, such as the concept that was searched for."""
    features: NonEmpty[Word]
    """Their keys, such as mlp.3/17+."""
    strength: Finite = STRENGTHEN[1]
    """How many times the quantile; 0 silences, a negative number turns them to the other side."""
    tail: PositiveFraction = 1e-5
    """The share of tokens on which a feature exceeds its quantile."""
    only_same_sign: Flag = False
    """Change a feature only where it is active on the side that is meant."""
    where: Where = "all"
    """The tokens that are changed."""
    on: Flag = True
    """Whether the card counts."""


class VectorCard(Section):
    """A saved vector, used as its file says at a multiple of its strength."""

    kind: Literal["vector"]
    """A vector."""
    name: Line = ""
    """What it does."""
    file: PathText
    """Its .safetensors file."""
    strength: Finite = 1.0
    """How many times its own length."""
    where: Where | None = None
    """The tokens that are changed; as the file says if left out."""
    on: Flag = True
    """Whether the card counts."""


Card = Annotated[FeatureCard | VectorCard, Field(discriminator="kind")]


class LeftOut(NamedTuple):
    """A feature of a card that is not changed, and why."""

    card: str
    key: str
    why: str


@dataclass(frozen=True)
class Steering:
    """The interventions of cards, in their order: where two change a feature, the later one counts."""

    edits: tuple[Intervention, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    n_features: int = 0
    """Features that are changed, over all cards."""


@dataclass(frozen=True)
class Steerer:
    """Makes interventions of cards for a subject, its feature spaces, and what is known of them."""

    subject: Subject
    spaces: Mapping[str, FeatureSpace]
    knowledge: Knowledge

    def steering(self, cards: Sequence[Card], where: Where | None = None) -> Steering:
        """The interventions of the cards that are on; `where` takes the place of the cards' own.

        Raises:
            UserError: a key names no feature, or a file holds no vector of this model.
        """
        edits: list[Intervention] = []
        left: list[LeftOut] = []
        changed: set[tuple[str, int]] = set()
        for card in (card for card in cards if card.on):
            asked = card.where if where is None else where
            if isinstance(card, VectorCard):
                at = None if asked is None else positions_of(asked)
                edits += interventions_of(card.file, self.subject, card.strength, at)
                continue
            assert asked is not None
            for clamp, out in self._clamps(card, asked):
                left += out
                if clamp is not None:
                    edits.append(clamp)
                    changed |= {(clamp.space.name, int(i)) for i in clamp.feature_ids}
        return Steering(tuple(edits), tuple(left), len(changed))

    def random_like(self, cards: Sequence[Card], seed: int) -> tuple[list[Card], int]:
        """Draws, for each card of features, as many of the same spaces that are known; drops vectors.

        They are changed by the same rule: their own quantile, the card's strength. The number is that of
        features for which there was no other to draw.
        """
        generator = np.random.default_rng(seed)
        drawn: list[Card] = []
        missing = 0
        for card in cards:
            if not isinstance(card, FeatureCard) or not card.on:
                continue
            own = [self._feature(key) for key in card.features]
            keys: list[str] = []
            for name in dict.fromkeys(one.space.name for one in own):
                taken = {one.feature_id for one in own if one.space.name == name}
                wanted = sum(one.space.name == name for one in own)
                pool = [
                    key for key in self._known_of(name, card) if self._feature(key).feature_id not in taken
                ]
                count = min(wanted, len(pool))
                missing += wanted - count
                keys += [pool[i] for i in generator.choice(len(pool), count, replace=False)]
            if keys:
                drawn.append(card.model_copy(update={"features": tuple(keys), "name": "random"}))
        return drawn, missing

    def _known_of(self, space: str, card: FeatureCard) -> list[str]:
        """Keys of the features of a space whose quantile is above zero, or of all if none is needed."""
        one = self.spaces[space]
        if not card.strength:
            return [f"{space}/{number}+" for number in range(one.n_features)]
        limits = self.knowledge.quantiles(space, one.n_features, level_of(card.tail))
        return [
            f"{space}/{i}{sign}"
            for sign, row in zip("+-", limits, strict=True)
            for i in np.flatnonzero(row > 0)
        ]

    def _feature(self, key: str) -> FeatureRef:
        return FeatureRef.parse(key, list(self.spaces.values()))

    def _clamps(self, card: FeatureCard, where: Where) -> list[tuple[Clamp | None, list[LeftOut]]]:
        by_space: dict[str, list[FeatureRef]] = {}
        for key in card.features:
            one = self._feature(key)
            by_space.setdefault(one.space.name, []).append(one)
        known = self.knowledge.of(one.key for of in by_space.values() for one in of)
        return [self._clamp(card, where, features, known) for features in by_space.values()]

    def _clamp(
        self, card: FeatureCard, where: Where, features: Sequence[FeatureRef], known: Mapping[str, Known]
    ) -> tuple[Clamp | None, list[LeftOut]]:
        left: list[LeftOut] = []
        ids: list[int] = []
        values: list[float] = []
        sides: list[Polarity] = []
        for one in features:
            value = _value(card, known[one.key])
            if one.feature_id in ids:
                left.append(LeftOut(card.name, one.key, "its other side is in the same card, before it"))
            elif isinstance(value, str):
                left.append(LeftOut(card.name, one.key, value))
            else:
                side: Polarity = 1 if one.polarity > 0 else -1
                ids.append(one.feature_id)
                values.append(side * value)
                sides.append(side)
        if not ids:
            return None, left
        clamp = Clamp(
            writable(features[0].space), ids, torch.tensor(values), positions_of(where),
            polarities=sides, only_same_sign=card.only_same_sign,
        )  # fmt: skip
        return clamp, left


def level_of(tail: float) -> str:
    """The probability that belongs to a tail, as stores write it."""
    return f"{1 - tail:.6g}"


def positions_of(where: Where) -> Positions:
    """Tokens as interventions choose them; ranges count the whole text, what is written included."""
    if isinstance(where, str):
        return where

    def within(tokens: Int[Tensor, "batch seen"]) -> Bool[Tensor, "batch seen"]:
        place = torch.arange(tokens.shape[1], device=tokens.device)
        inside = torch.stack([(place >= start) & (place <= end) for start, end in where]).any(0)
        return inside.expand(tokens.shape)

    return within


def _value(card: FeatureCard, known: Known) -> float | str:
    """The value in the feature's own polarity, or why there is none."""
    if not card.strength:
        return 0.0
    quantile = known.quantiles.get(level_of(card.tail))
    if quantile is None:
        return f"no quantile at {level_of(card.tail)} is known of it"
    if quantile <= 0:
        return f"it is active on no more than a share {card.tail:g} of tokens"
    return card.strength * quantile


def about(knowledge: Knowledge, concept: str, k: int, strength: float) -> FeatureCard:
    """Makes a card of the `k` features whose descriptions are nearest in meaning to a concept.

    There are fewer where fewer have anything to do with it (a similarity of `NEAR` or more).

    Raises:
        UserError: nothing is described, or nothing is near.
    """
    hits = [hit for hit in knowledge.search(concept, k) if hit.similarity >= NEAR]
    if not hits:
        raise UserError(f"no description is near {concept!r}", "concept", "use other words")
    return FeatureCard(name=concept, features=tuple(hit.key for hit in hits), strength=strength)

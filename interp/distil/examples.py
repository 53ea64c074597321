"""What a student is taught by: prompts with the teacher's description, texts with classes of activation."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from interp.descriptions.excerpt import Excerpt

CLASSES = 11


@dataclass(frozen=True)
class ExplainerExample:
    """A prompt of one feature and the description that is to follow it."""

    feature: str
    prompt: str
    description: str


@dataclass(frozen=True)
class SimulatorExample:
    """A description, a text, and for each token of the subject where it ends and its class, 0 to 10.

    Tokens that do not count have class -100.
    """

    feature: str
    description: str
    text: str
    ends: tuple[int, ...]
    classes: tuple[int, ...]


def held_out(feature: str, share: float, seed: int) -> bool:
    """Whether a feature is kept for testing: by its name alone, so that both of its sides are."""
    digest = hashlib.blake2b(f"{seed}/{feature.rstrip('+-')}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share


def classes_of(excerpt: Excerpt, largest: float) -> Int[np.ndarray, " token"]:
    """Activations as whole tenths of the feature's largest, to the nearest; neurons are never silent."""
    share = np.clip(excerpt.values / largest, 0, 1) if largest > 0 else np.zeros(len(excerpt.values))
    classes = np.rint(share * (CLASSES - 1)).astype(np.int64)
    return np.where(excerpt.counts, classes, -100)


def simulator_examples(
    feature: str, description: str, excerpts: Sequence[Excerpt], largest: float
) -> list[SimulatorExample]:
    """One example for each excerpt."""
    return [
        SimulatorExample(
            feature, description, one.text, tuple(one.ends.tolist()),
            tuple(classes_of(one, largest).tolist()),
        )
        for one in excerpts
    ]  # fmt: skip


def quoted(description: str) -> set[str]:
    """The pieces of text that a description by patterns names, in quotation marks."""
    return {piece.strip() for piece in re.findall("“([^”]*)”", description)}


def around_peak(excerpt: Excerpt, before: int, after: int) -> Excerpt:
    """The tokens around the strongest one: a small model has no room for more."""
    values = np.where(excerpt.counts, excerpt.values, -np.inf)
    peak = int(values.argmax())
    first, past = max(0, peak - before), min(len(values), peak + after + 1)
    inside = slice(first, past)
    window = replace(
        excerpt.window,
        tokens=excerpt.window.tokens[inside],
        values=excerpt.window.values[inside],
        counts=excerpt.window.counts[inside],
        start=excerpt.window.start + first,
    )
    return Excerpt(window, excerpt.pieces[inside])

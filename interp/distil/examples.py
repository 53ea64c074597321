"""Training examples for a student: prompts with the teacher's description, texts with activation classes."""

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
    """A prompt on one feature and the description that should follow it."""

    feature: str
    prompt: str
    description: str


@dataclass(frozen=True)
class SimulatorExample:
    """A description, a text, and for each token of the subject its end in the text and its class, 0 to 10.

    Tokens that do not count have class -100.
    """

    feature: str
    description: str
    text: str
    ends: tuple[int, ...]
    classes: tuple[int, ...]


def is_held_out(feature: str, share: float, seed: int) -> bool:
    """Whether a feature is held out for testing; decided by its name alone, so alike for both polarities."""
    digest = hashlib.blake2b(f"{seed}/{feature.rstrip('+-')}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share


def classes_of(excerpt: Excerpt, largest: float) -> Int[np.ndarray, " token"]:
    """Activations as tenths of the feature's largest, rounded: neurons are never exactly 0."""
    share = np.clip(excerpt.values / largest, 0, 1) if largest > 0 else np.zeros(len(excerpt.values))
    classes = np.rint(share * (CLASSES - 1)).astype(np.int64)
    return np.where(excerpt.counts, classes, -100)


def simulator_examples(
    feature: str, description: str, excerpts: Sequence[Excerpt], largest: float
) -> list[SimulatorExample]:
    """Makes one example of each excerpt, in classes relative to the feature's `largest` activation."""
    return [
        SimulatorExample(
            feature, description, one.text, tuple(one.ends.tolist()),
            tuple(classes_of(one, largest).tolist()),
        )
        for one in excerpts
    ]  # fmt: skip


def quoted(description: str) -> set[str]:
    """The pieces of text that a description by patterns quotes (“...”)."""
    return {piece.strip() for piece in re.findall("“([^”]*)”", description)}


def around_peak(excerpt: Excerpt, before: int, after: int) -> Excerpt:
    """Cuts an excerpt to the tokens around the strongest: a small model has no room for more."""
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

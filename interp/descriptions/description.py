"""A description: a sentence, its parts, and the pattern trie that it was written from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from interp.descriptions.trie import PatternTrie, simulate


@dataclass(frozen=True)
class Part:
    """A piece of the sentence: plain words, or tokens quoted from text (a renderer marks these)."""

    kind: Literal["words", "tokens"]
    text: str


@dataclass(frozen=True)
class Description:
    """What a feature does, in words and as a simulator.

    `text` is `parts` in one string, quoted tokens in “ ”; nothing in it is escaped. `exemplars` is the number
    of explain-split peaks that it was written from, 0 for a feature that never fires.
    """

    text: str
    parts: tuple[Part, ...]
    trie: PatternTrie
    exemplars: int

    def simulate(self, tokens: Int[np.ndarray, " token"]) -> Float[np.ndarray, " token"]:
        """Predicts activations on a token row (without BOS)."""
        return simulate(self.trie, tokens)

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, from which `from_json` restores the same description exactly."""
        parts = [[part.kind, part.text] for part in self.parts]
        return {"text": self.text, "parts": parts, "trie": self.trie.to_json(), "exemplars": self.exemplars}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Description":
        """Restore a description from `to_json`."""
        parts = tuple(Part(kind, text) for kind, text in saved["parts"])
        return cls(saved["text"], parts, PatternTrie.from_json(saved["trie"]), int(saved["exemplars"]))

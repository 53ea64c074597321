"""The pattern trie of Neuron2Graph: which tokens, after which, make a feature fire and how strongly.

A pattern is a path that starts at the activating token and runs leftwards through its context; `IGNORE`
stands for any one token, `ANY` for one or more.
After Foote et al. 2023, "Neuron to Graph" (arXiv:2305.19911); here the end of a path carries a real-valued
activation, and which of several matching paths wins is a fixed total order.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

IGNORE = -1
ANY = -2
REACH = 32
"""The most tokens that `ANY` stands for."""
Path = tuple[int, ...]


@dataclass(frozen=True)
class End:
    """What a complete pattern predicts.

    `value` is an activation; `support` counts the exemplars whose own peak is this pattern; `observed` counts
    the explain-split tokens that the value was calibrated on (0: it is what was measured when the pattern
    was tested).
    """

    value: float
    support: int = 0
    observed: int = 0


@dataclass
class _Node:
    children: dict[int, "_Node"] = field(default_factory=dict)
    pattern: int = -1


def specificity(path: Path) -> tuple[int, int, tuple[int, ...], Path]:
    """Order of precedence of matching patterns: most tokens named, then longest, then named nearest.

    Different patterns never compare equal; what is left of ties falls to the token ids.
    """
    return named(path), len(path), tuple(min(token, 0) for token in path), path


class PatternTrie:
    """An immutable set of patterns with their ends, and the baseline predicted where none matches."""

    def __init__(self, patterns: Mapping[Path, End], baseline: float = 0.0) -> None:
        for path in patterns:
            if not path or path[-1] < 0 or path[0] == ANY:
                raise ValueError(f"pattern {path}: starts at one token and ends at a named one")
        self.patterns: dict[Path, End] = {path: patterns[path] for path in sorted(patterns)}
        self.baseline = float(baseline)
        self.paths: tuple[Path, ...] = tuple(self.patterns)
        self.values = np.array([end.value for end in self.patterns.values()], dtype=np.float64)
        self._rank = {path: i for i, path in enumerate(sorted(self.paths, key=specificity))}
        self._root = _Node()
        for number, path in enumerate(self.paths):
            node = self._root
            for token in path:
                node = node.children.setdefault(token, _Node())
            node.pattern = number
        self._ranks = [self._rank[path] for path in self.paths]
        self._any_first = IGNORE in self._root.children
        self._first = np.array([t for t in self._root.children if t != IGNORE], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PatternTrie):
            return NotImplemented
        return self.patterns == other.patterns and self.baseline == other.baseline

    @property
    def peak(self) -> float:
        """The largest value that any pattern predicts (0 without patterns)."""
        return float(self.values.max()) if len(self.values) else 0.0

    def winners(
        self, tokens: Int[np.ndarray, " token"], first: Int[np.ndarray, " token"] | None = None
    ) -> Int[np.ndarray, " token"]:
        """Returns the number of the winning pattern at each token of a row, -1 where none matches.

        A pattern matches where its first token is and its context precedes it inside the row.
        For several rows in one array, `first` is the index at which the row of each token begins.
        """
        winners = np.full(len(tokens), -1, dtype=np.int64)
        places = np.arange(len(tokens)) if self._any_first else np.flatnonzero(np.isin(tokens, self._first))
        begins = np.zeros(len(tokens), dtype=np.int64) if first is None else first
        row = tokens.tolist()
        for place, begin in zip(places.tolist(), begins[places].tolist(), strict=True):
            winners[place] = self._winner(row, place, begin)
        return winners

    def _winner(self, row: list[int], place: int, begin: int) -> int:
        best, best_rank = -1, -1
        open_nodes = [(self._root, place)]
        while open_nodes:
            node, at = open_nodes.pop()
            if node.pattern >= 0 and self._ranks[node.pattern] > best_rank:
                best, best_rank = node.pattern, self._ranks[node.pattern]
            if at < begin:
                continue
            for token in (row[at], IGNORE):
                child = node.children.get(token)
                if child is not None:
                    open_nodes.append((child, at - 1))
            child = node.children.get(ANY)
            if child is not None:
                open_nodes += [
                    (child, before) for before in range(at - 1, max(at - 1 - REACH, begin - 1), -1)
                ]
        return best

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, from which `from_json` restores the same trie exactly."""
        rows = [[list(path), end.value, end.support, end.observed] for path, end in self.patterns.items()]
        return {"baseline": self.baseline, "patterns": rows}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "PatternTrie":
        """Restore a trie from `to_json`."""
        patterns = {
            tuple(int(token) for token in path): End(float(value), int(support), int(observed))
            for path, value, support, observed in saved["patterns"]
        }
        return cls(patterns, float(saved["baseline"]))


def named(path: Iterable[int]) -> int:
    """Counts the tokens that a pattern names."""
    return sum(token >= 0 for token in path)


def simulate(trie: PatternTrie, tokens: Int[np.ndarray, " token"]) -> Float[np.ndarray, " token"]:
    """Predicts activations on a token row (without BOS).

    The most specific matching pattern gives the value (`trie.specificity`); without a match it is the
    trie's baseline. Each value depends on that token and those before it only.
    """
    winners = trie.winners(tokens)
    predicted = np.full(len(tokens), trie.baseline)
    matched = winners >= 0
    predicted[matched] = trie.values[winners[matched]]
    return predicted

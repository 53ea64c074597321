"""Sweeps over pairs of a source and a target layer, and unbiased reports of them.

The share of items that some pair gets right (the oracle) takes a maximum over pairs for every item, and the
best pair's share takes one over pairs: both are optimistic. A pair that is chosen on one half of the items
and reported on the other is not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.lenses.answers import Answers
from interp.lenses.patch import Patch
from interp.lenses.prompt import Prompt
from interp.lenses.residual_stream import EMBEDDING, Vectors, layer_name, stream_site
from interp.statistics.estimate import share_interval, share_of_items
from interp.subject.subject import Subject

Pair = tuple[int, int]


@dataclass(frozen=True, eq=False, repr=False)
class PairSweep:
    """`right` [pair, item]: whether an item is right with its activation put from one layer into another."""

    pairs: tuple[Pair, ...]
    right: Bool[np.ndarray, "pair item"]

    def __repr__(self) -> str:
        n_pairs, n_items = self.right.shape
        source, target = map(layer_name, self.best())
        share = f"best {source} into {target}, {self.right.mean(1).max():.2f} right"
        return f"PairSweep({n_pairs} pairs of layers, {n_items} items; {share})"

    def frame(self) -> pd.DataFrame:
        """Makes a row for each pair: source, target, the share of right items with its interval, and n."""
        rows = []
        for (source, target), right in zip(self.pairs, self.right, strict=True):
            share, low, high = share_interval(int(right.sum()), len(right))
            rows.append((source, target, share, low, high, len(right)))
        return pd.DataFrame(rows, columns=["source", "target", "right", "right_low", "right_high", "n"])

    def of(self, items: Sequence[int]) -> "PairSweep":
        """Selects items, by index."""
        return PairSweep(self.pairs, self.right[:, list(items)])

    def where(self, wanted: Callable[[Pair], bool]) -> "PairSweep":
        """Selects the pairs for which `wanted` is true."""
        kept = [place for place, pair in enumerate(self.pairs) if wanted(pair)]
        return PairSweep(tuple(self.pairs[place] for place in kept), self.right[kept])

    def best(self) -> Pair:
        """The pair with the most right items; the first of ties."""
        return self.pairs[int(self.right.mean(1).argmax())]

    def at(self, pair: Pair) -> Bool[np.ndarray, " item"]:
        """Whether each item is right with this pair."""
        found: np.ndarray = self.right[self.pairs.index(pair)]
        return found

    def any(self) -> Bool[np.ndarray, " item"]:
        """Whether each item is right with at least one pair: the oracle."""
        found: np.ndarray = np.logical_or.reduce(self.right, axis=0)
        return found


def sweep_pairs(
    subject: Subject,
    vectors: Vectors,
    targets: Sequence[Prompt],
    answers: Answers,
    pairs: Sequence[Pair],
    rescaled: bool = False,
) -> PairSweep:
    """Puts `vectors[source]` into the targets after layer `target`, for every pair of layers.

    All sources of a target layer share batches. At the embedding, vectors are scaled to the norm of what they
    replace, since those of later layers are several times longer; elsewhere only with `rescaled`.
    """
    right = np.zeros((len(pairs), len(targets)), dtype=bool)
    for target in dict.fromkeys(target for _, target in pairs):
        of_target = [place for place, pair in enumerate(pairs) if pair[1] == target]
        put_in = torch.cat([vectors[pairs[place][0]] for place in of_target])
        patch = Patch(stream_site(target), put_in, rescaled or target == EMBEDDING)
        items = list(range(len(targets))) * len(of_target)
        found = answers.of_items(items).right(subject, [targets[item] for item in items], patch)
        right[of_target] = found.reshape(len(of_target), len(targets))
    return PairSweep(tuple(pairs), right)


def report_sweep(
    sweep: PairSweep,
    controls: Mapping[str, Sequence[PairSweep]],
    halves: tuple[Sequence[int], Sequence[int]],
    seed: int,
) -> pd.DataFrame:
    """Reports a sweep and its controls on the second half of the items: held-out pairs, and the oracles.

    A row for each condition of the sweep and of each control: the pair that is best on the first half (each
    draw of a control has its own), and two optimistic oracles: the pair that is best on the second half
    itself, and any pair. Columns: condition, control ("" for the sweep itself), source, target (None for any
    pair, and where draws differ), right, its interval (`share_of_items`: an item counts by its mean over
    draws), n.
    """
    to_choose, report = halves
    rows = []
    for name, draws in {"": [sweep], **controls}.items():
        found = [draw.of(report) for draw in draws]
        for condition, at in (
            ("chosen", [draw.of(to_choose).best() for draw in draws]),
            ("best (oracle)", [draw.best() for draw in found]),
            ("any (oracle)", [None] * len(found)),
        ):
            right = [own.any() if pair is None else own.at(pair) for own, pair in zip(found, at, strict=True)]
            share = share_of_items(np.concatenate(right), np.tile(np.arange(len(report)), len(right)), seed)
            pair = at[0] if len(set(at)) == 1 else None
            rows.append((condition, name, *(pair or (None, None)), *share, len(report)))
    ends = ["right", "right_low", "right_high", "n"]
    return pd.DataFrame(rows, columns=["condition", "control", "source", "target", *ends])


def same_layer(layers: Sequence[int]) -> list[Pair]:
    """Pairs every layer with itself."""
    return [(layer, layer) for layer in layers]


def all_pairs(layers: Sequence[int]) -> list[Pair]:
    """Pairs every source layer with every target layer, source by source."""
    return [(source, target) for source in layers for target in layers]


def random_vectors(vectors: Vectors, seed: int) -> dict[int, Float[Tensor, "item d_model"]]:
    """Draws random directions with the norms of the vectors: the control of a patchscope."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer, those in vectors.items():
        drawn = torch.randn(those.shape, generator=generator)
        found[layer] = torch.nn.functional.normalize(drawn, dim=-1) * those.norm(dim=-1, keepdim=True).cpu()
    return found

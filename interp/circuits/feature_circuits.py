"""Circuits of features: which neurons or latents are enough for a behaviour, all others corrupted.

Sparse feature circuits (Marks et al. 2024, arXiv 2403.19647) without edges: features of any `FeatureSpace`
are scored by what corrupting them does, and a circuit of some of them is run with all others corrupted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.evaluation import Faithfulness
from interp.circuits.gradients import metric_gradients, moved
from interp.circuits.pairs import Pairs
from interp.circuits.wiring import START, Wiring
from interp.circuits.written import last_logits
from interp.errors import UserError
from interp.features.space import FeatureSpace, writable
from interp.subject.passes import Edit

Errors = Literal["kept", "corrupted"]
"""What a dictionary does not explain is left as it is in the run, or corrupted with the rest."""
KeptFeatures = Mapping[str, Bool[Tensor, " feature"]]
"""Which features of each space are kept, by the space's name."""


@dataclass(frozen=True, eq=False, repr=False)
class FeatureScores:
    """What corrupting each feature does to the metric, at all positions, on average over pairs; by space."""

    values: dict[str, Float[Tensor, " feature"]]

    def top(self, n: int) -> dict[str, Bool[Tensor, " feature"]]:
        """Marks the `n` features of the largest scores, by size, of all spaces together."""
        joined = torch.cat([found.abs() for found in self.values.values()])
        marked = torch.zeros(len(joined), dtype=torch.bool)
        marked[joined.argsort(descending=True, stable=True)[:n]] = True
        return self._by_space(marked)

    def random(self, n: int, seed: int) -> dict[str, Bool[Tensor, " feature"]]:
        """Marks `n` features at random."""
        size = sum(map(len, self.values.values()))
        marked = torch.zeros(size, dtype=torch.bool)
        marked[torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:n]] = True
        return self._by_space(marked)

    def _by_space(self, marked: Bool[Tensor, " any"]) -> dict[str, Bool[Tensor, " feature"]]:
        parts = torch.split(marked, [len(found) for found in self.values.values()])
        return dict(zip(self.values, parts, strict=True))


def feature_scores(
    wiring: Wiring, pairs: Pairs, spaces: Sequence[FeatureSpace], *, steps: int = 5, rows_at_once: int = 32
) -> FeatureScores:
    """Scores features by (corrupted - clean value) . dT/d(value), the gradient averaged along the input.

    It is taken at `steps` points k / steps from the corrupted input towards the clean one, or with one step
    at the clean prompts.

    Raises:
        UserError: two spaces share a site, or one can only be read.
    """
    found = {space.name: torch.zeros(space.n_features, dtype=torch.float64) for space in _checked(spaces)}
    sites = [space.site for space in spaces]
    shares = [1 - step / steps for step in range(steps)] if steps > 1 else [0.0]
    for batch in pairs.batches(rows_at_once):
        mask = batch.clean.real.long()
        clean = wiring.subject.read(batch.clean.tokens, [START, *sites], mask)
        corrupted = wiring.subject.read(batch.corrupted.tokens, [START, *sites], mask)
        with torch.no_grad():
            logits = last_logits(wiring, batch.clean)
        change = corrupted[START] - clean[START]
        runs = [
            metric_gradients(wiring, batch, batch.clean, logits, sites, {START: moved(change, share)})
            for share in shares
        ]
        for space in spaces:
            gradient = torch.stack([run.at[space.site] for run in runs]).mean(0)
            back = space.pull_back(clean[space.site], gradient)
            moves = space.encode(corrupted[space.site]) - space.encode(clean[space.site])
            kept = batch.clean.real[..., None]
            found[space.name] += torch.where(kept, back * moves, 0).sum((0, 1)).double().cpu()
    return FeatureScores({name: values / len(pairs) for name, values in found.items()})


class FeatureEvaluator(Faithfulness):
    """Runs circuits of features on pairs, all features that are not kept at their corrupted values."""

    def __init__(
        self,
        wiring: Wiring,
        pairs: Pairs,
        spaces: Sequence[FeatureSpace],
        *,
        errors: Errors = "kept",
        rows_at_once: int = 32,
        seed: int = 0,
    ) -> None:
        """Prepares the pairs.

        Raises:
            UserError: two spaces share a site, one can only be read, or faithfulness is not defined.
        """
        self.subject, self.spaces, self.errors = wiring.subject, _checked(spaces), errors
        self._wiring = wiring
        self._batches = []
        clean = []
        for batch in pairs.batches(rows_at_once):
            with torch.no_grad():
                logits = last_logits(wiring, batch.clean)
            sites = [space.site for space in spaces]
            read = self.subject.read(batch.corrupted.tokens, sites, batch.corrupted.real.long())
            self._batches.append((batch, read, logits))
            clean.append(batch.value(logits, logits))
        nothing = {space.name: torch.zeros(space.n_features, dtype=torch.bool) for space in spaces}
        super().__init__(pairs, _joined(clean), self.values(nothing), seed, wiring.subject.name)

    @torch.no_grad()
    def values(self, kept: KeptFeatures) -> Float[np.ndarray, " pair"]:
        """The metric of each pair, with the features that are not kept corrupted at every position."""
        found = []
        for batch, corrupted, logits in self._batches:
            edits = {
                space.site: self._edit(space, kept[space.name], corrupted[space.site], batch.clean.real)
                for space in self.spaces
            }
            with self.subject.edited(edits):
                found.append(batch.value(last_logits(self._wiring, batch.clean), logits))
        return _joined(found)

    def _edit(
        self,
        space: FeatureSpace,
        kept: Bool[Tensor, " feature"],
        corrupted: Float[Tensor, "batch pos d_site"],
        real: Bool[Tensor, "batch pos"],
    ) -> Edit:
        ids = (kept if self.errors == "corrupted" else ~kept).nonzero()[:, 0].to(corrupted.device)

        def edit(activation: Tensor) -> Tensor:
            if self.errors == "corrupted":
                edited = space.write(corrupted, ids, space.encode(activation)[..., ids])
            else:
                edited = space.write(activation, ids, space.encode(corrupted)[..., ids])
            there = real.view(*real.shape, *[1] * (activation.ndim - 2))
            return torch.where(there, edited, activation)

        return edit


def _checked(spaces: Sequence[FeatureSpace]) -> list[FeatureSpace]:
    sites = [space.site for space in spaces]
    if not spaces or len(set(sites)) < len(sites):
        raise UserError(
            "there is no space" if not spaces else "two spaces share a site",
            "feature circuit",
            "give one space for each site",
        )
    return [writable(space) for space in spaces]


def _joined(values: Sequence[Float[Tensor, " batch"]]) -> Float[np.ndarray, " pair"]:
    return torch.cat(list(values)).double().cpu().numpy()

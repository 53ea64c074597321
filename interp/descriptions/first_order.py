"""Estimates, from one gradient a row, how each other token would change a feature's activation."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.descriptions.query import Query
from interp.descriptions.reader import WindowPasses, batches, padded, site_depth
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.subject.site import Site
from interp.subject.subject import Subject

EMBEDDED = Site("resid_pre", 0)


class _Embeddings:
    """What tokens put into the residual stream, read once each."""

    def __init__(self, subject: Subject, tokens_per_batch: int) -> None:
        self._subject = subject
        self._tokens_per_batch = tokens_per_batch
        self._place: dict[int, int] = {}
        self._rows = np.zeros((0, subject.d_model), dtype=np.float32)

    def know(self, tokens: Int[np.ndarray, " token"]) -> None:
        """Reads the tokens that were not read yet."""
        new = [token for token in np.unique(tokens).tolist() if token not in self._place]
        if not new:
            return
        self._place.update({token: len(self._place) + number for number, token in enumerate(new)})
        rows = [
            self._subject.read(part, [EMBEDDED], torch.ones_like(part))[EMBEDDED][:, 0].float().cpu().numpy()
            for part in torch.split(torch.tensor(new)[:, None], self._tokens_per_batch)
        ]
        self._rows = np.concatenate([self._rows, *rows])

    def of(self, tokens: Int[np.ndarray, " token"]) -> Float[np.ndarray, "token d_model"]:
        """The rows of tokens that are known."""
        return self._rows[[self._place[token] for token in tokens.tolist()]]


@dataclass(frozen=True)
class _SubjectSlope:
    tokens: Int[np.ndarray, " token"]
    gradient: Float[np.ndarray, "token d_model"]
    embeddings: _Embeddings

    def change(self, place: int, tokens: Int[np.ndarray, " candidate"]) -> Float[np.ndarray, " candidate"]:
        """(e' - e) g: the other token's embedding less its own, along the gradient."""
        there = self.embeddings.of(self.tokens[place : place + 1])
        estimated: Float[np.ndarray, " candidate"] = (self.embeddings.of(tokens) - there) @ self.gradient[
            place
        ]
        return estimated


class SubjectSlopes:
    """The `Slopes` of some features of a subject: one forward and one backward pass a query.

    Ebrahimi et al. 2018, "HotFlip" (arXiv:1712.06751), equation 10, with the feature's activation in place
    of the loss.
    """

    def __init__(
        self,
        subject: Subject,
        features: Sequence[FeatureRef],
        tokens_per_batch: int = 4096,
        spent: WindowPasses | None = None,
    ) -> None:
        self._subject = subject
        self._features = features
        self._tokens_per_batch = tokens_per_batch
        self._spent = spent or WindowPasses()
        self._embeddings = _Embeddings(subject, tokens_per_batch)

    def know(self, tokens: Int[np.ndarray, " token"]) -> None:
        """Reads the embeddings of these tokens."""
        if self._readable:
            self._embeddings.know(tokens)

    @cached_property
    def _readable(self) -> bool:
        with suppress(UserError):
            self._subject.site_width(EMBEDDED)
            return True
        return False

    def __call__(self, queries: Sequence[Query]) -> list[_SubjectSlope | None]:
        """Computes the slopes; None for a model whose embeddings cannot be read."""
        slopes: list[_SubjectSlope | None] = [None for _ in queries]
        if not queries or not self._readable:
            return slopes
        self.know(np.concatenate([query.tokens for query in queries]))
        rows = [query.tokens for query in queries]
        depth = np.array([site_depth(self._features[query.feature].space.site) for query in queries])
        order = sorted(range(len(rows)), key=lambda row: (depth[row], len(rows[row])))
        for batch in batches(order, rows, depth, self._tokens_per_batch):
            table, last = padded(self._subject, [rows[row] for row in batch])
            self._spent.add(2 * (last + 1), last + 1)
            found = self._gradient(table, last, [queries[row].feature for row in batch])
            for row, gradient, end in zip(batch, found, last.tolist(), strict=True):
                if len(rows[row]) <= end + 1:  # else it was cut to the context
                    own = gradient[end + 1 - len(rows[row]) : end + 1]
                    slopes[row] = _SubjectSlope(rows[row], own, self._embeddings)
        return slopes

    def _gradient(
        self, tokens: Int[Tensor, "row pos"], last: Int[Tensor, " row"], features: list[int]
    ) -> Float[np.ndarray, "row pos d_model"]:
        at: dict[Site, list[int]] = {}
        for row, feature in enumerate(features):
            at.setdefault(self._features[feature].space.site, []).append(row)

        def measure(site: Site, activation: Tensor) -> Tensor:
            total = activation.new_zeros(())
            spaces: dict[str, list[int]] = {}
            for row in at[site]:
                spaces.setdefault(self._features[features[row]].space.name, []).append(row)
            for here in spaces.values():
                refs = [self._features[features[row]] for row in here]
                encoded = refs[0].space.encode(activation[here, last[here]])
                picked = encoded[range(len(here)), [ref.feature_id for ref in refs]]
                polarity = torch.tensor([ref.polarity for ref in refs]).to(picked)
                total = total + (picked * polarity).sum()
            return total

        measures = {site: lambda activation, site=site: measure(site, activation) for site in at}
        gradient = self._subject.gradients(tokens, EMBEDDED, measures, torch.ones_like(tokens))
        return gradient.float().cpu().numpy()

"""An internal judge: what the model represents while it replies, not only what it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.elicit.behaviour import Exchange, Judgement
from interp.elicit.spending import Meter
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject
from interp.subject.text import Conversation
from interp.vectors.vector import Vector

Number = float | int
Where = Literal["reply", "asked", "last"]
PLACES = {"reply": "in the reply", "asked": "in what was asked", "last": "where the reply begins"}
BATCH = 64


@dataclass(frozen=True, eq=False)
class Reading:
    """One number at each token: a feature's activation, or an activation's projection on a direction."""

    name: str
    site: Site
    of: Callable[[Float[Tensor, "*batch width"]], Float[Tensor, "*batch"]]

    @classmethod
    def feature(cls, feature: FeatureRef) -> "Reading":
        """A feature on its side."""

        def value(activation: Tensor) -> Tensor:
            read: Tensor = feature.space.encode(activation)[..., feature.feature_id] * feature.polarity
            return read

        return cls(feature.key, feature.space.site, value)

    @classmethod
    def vector(cls, vector: Vector) -> "Reading":
        """The length of an activation along a vector, in units of the activation.

        Raises:
            UserError: the vector is zero, or not in the residual stream's space.
        """
        if vector.site.kind not in RESIDUAL_KINDS:
            raise UserError(
                f"nothing can be projected at {vector.site}",
                f"vector {vector.name}",
                f"use {', '.join(RESIDUAL_KINDS)}",
            )
        unit = vector.scaled_to(1).values
        return cls(
            f"vector {vector.name} at {vector.site}",
            vector.site,
            lambda activation: activation.float() @ unit.to(activation.device),
        )


class InternalJudge:
    """The behaviour shows where a reading is at least `threshold` somewhere.

    The score is the largest reading: over the reply's tokens (`reply`), over all tokens before it (`asked`),
    or at the last of these (`last`), where nothing need be written. It is read as the model is without
    steering, in one pass that ends at the reading's site; `meter` counts it.
    """

    def __init__(
        self,
        subject: Subject,
        reading: Reading,
        threshold: Number,
        where: Where = "reply",
        meter: Meter | None = None,
    ) -> None:
        self._subject, self._reading, self._meter = subject, reading, meter
        self.threshold, self.where = float(threshold), where

    @property
    def name(self) -> str:
        """The reading, its place and the threshold."""
        return f"{self._reading.name} at least {self.threshold:.4g} {PLACES[self.where]}"

    def calibrated(self, exchanges: Sequence[Exchange], quantile: Number) -> "InternalJudge":
        """The same judge whose threshold is a quantile of its scores of ordinary exchanges.

        Raises:
            UserError: no exchange has a score.
        """
        scores = [score for score in self.scores(exchanges) if score is not None]
        if not scores:
            raise UserError("no ordinary reply can be read", self.name, "give prompts that the model answers")
        threshold = float(np.quantile(scores, quantile))
        return InternalJudge(self._subject, self._reading, threshold, self.where, self._meter)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges each exchange; None for an empty reply where the reply is read."""
        return [
            None if score is None else Judgement(score, score >= self.threshold)
            for score in self.scores(exchanges)
        ]

    @torch.no_grad()
    def scores(self, exchanges: Sequence[Exchange]) -> list[float | None]:
        """The largest reading of each exchange.

        Raises:
            Exhausted: the pass does not fit the budget.
        """
        scores: list[float | None] = [None] * len(exchanges)
        after = self.where == "reply"
        rows = {
            place: [*one.asked, *(one.written if after else ())]
            for place, one in enumerate(exchanges)
            if one.written or not after
        }
        order = sorted(rows, key=lambda place: len(rows[place]))
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            count = sum(len(rows[place]) for place in places)
            if self._meter is not None:
                self._meter.afford(len(places), count)
            counted = [self._counted(exchanges[place]) for place in places]
            for place, value in zip(places, self._largest([rows[p] for p in places], counted), strict=True):
                scores[place] = value
            if self._meter is not None:
                self._meter.spend(len(places), count)
        return scores

    def _counted(self, exchange: Exchange) -> int:
        """How many of a row's last tokens are read."""
        return {"reply": len(exchange.written), "asked": len(exchange.asked), "last": 1}[self.where]

    def _largest(self, rows: Sequence[Sequence[int]], counted: Sequence[int]) -> list[float]:
        tokens, mask = self._subject.pad([Conversation(row) for row in rows])
        read: list[Tensor] = []
        visitor = {self._reading.site: lambda activation: read.append(self._reading.of(activation))}
        with self._subject.unedited():
            self._subject.visit(tokens, visitor, mask)
        values = read[0].float().cpu()
        from_end = torch.arange(values.shape[1], 0, -1)
        outside = from_end > torch.tensor(counted)[:, None]
        largest: list[float] = values.masked_fill(outside, -torch.inf).amax(1).tolist()
        return largest

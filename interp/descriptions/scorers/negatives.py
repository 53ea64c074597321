"""Finds features easily mistaken for one: those that co-occur with it, or have a similar decoder."""

import torch
from jaxtyping import Float
from torch import Tensor

from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.exemplars import TokenSample


class Neighbourhood:
    """The features of one space, ready to be compared with each other.

    Co-occurrence is the correlation of activations over a sample of tokens (without one, only decoders are
    compared), similarity of decoders their cosine. For signed spaces, the polarity follows the sign.
    """

    def __init__(self, space: ReadableFeatures, sample: TokenSample | None) -> None:
        self._space = space
        everything = torch.arange(space.n_features)
        self._tables = [torch.nn.functional.normalize(space.decoder(everything).float().cpu(), dim=-1)]
        if sample is not None:
            values = sample.value.float()
            # a feature that never varies is similar to none
            centred = torch.nn.functional.normalize((values - values.mean(0)).T, dim=-1)
            self._tables.insert(0, centred)

    def of(self, feature: FeatureRef, n: int) -> list[FeatureRef]:
        """Returns up to `n` features, half by co-occurrence, half by decoder, the most similar first."""
        chosen: list[FeatureRef] = []
        for place, table in enumerate(self._tables):
            most = n * (place + 1) // len(self._tables)
            for other in self._likest(table, feature, 2 * n):
                if len(chosen) < most and other not in chosen:
                    chosen.append(other)
        return chosen

    def _likest(self, table: Float[Tensor, "feature width"], feature: FeatureRef, n: int) -> list[FeatureRef]:
        likeness = table @ table[feature.feature_id] * feature.polarity
        likeness[feature.feature_id] = 0.0
        strength = likeness.abs() if self._space.signed else likeness
        found = strength.topk(min(n, len(strength)))
        return [
            FeatureRef(self._space, other, 1 if likeness[other] > 0 else -1)
            for value, other in zip(found.values.tolist(), found.indices.tolist(), strict=True)
            if value > 0
        ]

"""The values that an intervention writes: the same everywhere, or one for each position of a prompt."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.document import Document
from interp.errors import UserError
from interp.features.space import Polarity, ReadableFeatures
from interp.features.statistics import FeatureStatistics
from interp.mining.priority import priority
from interp.subject.forward import ForwardPass

Number = float | int


class Values:
    """A number, values [*width] for every position, or values [batch, pos, *width] for those of a prompt.

    Raises:
        UserError: the values have another shape.
    """

    def __init__(self, value: Number | Sequence[Number] | Tensor, width: tuple[int, ...], place: str) -> None:
        tensor = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64)
        self.tensor = tensor if tensor.is_floating_point() else tensor.double()
        self.width = width
        self.place = place
        self.by_position = self.tensor.ndim == len(width) + 2
        shape = tuple(self.tensor.shape)
        if shape not in ((), width) and not (self.by_position and shape[2:] == width):
            raise UserError(
                f"values of shape {shape} do not fit what has shape {width}",
                place,
                f"give one number, values of shape {width}, or [batch, pos, {', '.join(map(str, width))}]",
            )

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if values for each position have another shape than the prompts."""
        shape = (len(forward.tokens), forward.prompt_length)
        if self.by_position and tuple(self.tensor.shape[:2]) != shape:
            raise UserError(
                f"values for {tuple(self.tensor.shape[:2])} positions do not fit prompts of shape {shape}",
                self.place,
                "give them the shape of the tokens, padding included",
            )

    def of(self, forward: ForwardPass, activation: Tensor) -> Float[Tensor, "batch pos *width"]:
        """The values for a pass, in their own float type. After the prompt, values by position are zero."""
        batch, n_new = activation.shape[:2]
        value = self.tensor.to(activation.device)
        if not self.by_position:
            return value.expand(batch, n_new, *self.width)
        missing = forward.tokens.shape[1] - value.shape[1]
        if missing > 0:
            value = torch.cat([value, value.new_zeros(batch, missing, *self.width)], 1)
        return value[:, forward.start :]


class AtQuantile:
    """`strength` times the quantile q(1 - tail) of a feature, or q(tail) for its negative side.

    The rule of Transluce's Monitor. Its released code uses tail 1e-7, its published text 1e-5 (the default:
    a corpus of some hundred thousand tokens has no estimate of rarer ones).
    """  # fmt: skip

    def __init__(self, strength: Number, tail: float = 1e-5) -> None:
        self.strength = strength
        self.tail = tail

    def values(
        self,
        space: ReadableFeatures,
        feature_ids: Int[Tensor, " feature"],
        polarities: Sequence[Polarity],
        statistics: FeatureStatistics | None,
    ) -> Float[Tensor, " feature"]:
        """Computes the value for each feature.

        Raises:
            UserError: there are no statistics, they do not tell that quantile, or a feature is active on a
                smaller share of the tokens.
        """
        found = required_statistics(statistics, space, "a quantile")
        values = found.tail(self.tail, feature_ids, polarities)
        silent = feature_ids.cpu()[values * values.new_tensor(polarities) <= 0]
        if len(silent) and self.strength != 0:
            named = ", ".join(map(str, silent.tolist()[:5]))
            smaller = self.tail > min(found.levels) * 1.001
            raise UserError(
                f"no more than a share {self.tail:g} of the tokens activates feature {named}",
                f"clamp on {space.name}",
                "clamp it to a number" + (", or use a smaller tail" if smaller else ""),
            )
        return self.strength * values


def required_statistics(
    statistics: FeatureStatistics | None, space: ReadableFeatures, purpose: str
) -> FeatureStatistics:
    """Returns the statistics, checked to be of this space.

    Raises:
        UserError: there are none, or they are of another space.
    """
    fix = f"mine {space.name} and pass statistics=mined[{space.name!r}].statistics()"
    if statistics is None:
        raise UserError(f"{purpose} needs the features' statistics", space.name, fix)
    if statistics.space != space.name or len(statistics.mean) != space.n_features:
        raise UserError(f"the statistics are of {statistics.space}", space.name, fix)
    return statistics


def resampled_rows(forward: ForwardPass, n_rows: int, seed: int) -> Int[Tensor, "batch pos"]:
    """Draws one of `n_rows` for each new column, by a hash of the prompt, the position and the seed."""
    n = forward.prompt_length
    prompts = forward.tokens[:, :n].cpu().numpy().astype(np.int32)
    real = forward.real[:, :n].cpu().numpy()
    texts = np.array([Document(row[kept]).hash for row, kept in zip(prompts, real, strict=True)])
    positions = forward.positions()[:, forward.start :].clamp(min=0).cpu().numpy()
    rows = priority(np.broadcast_to(texts[:, None], positions.shape), positions, seed & 0xFFFFFFFF) % n_rows
    return torch.from_numpy(rows)

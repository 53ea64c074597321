"""Interventions on features of any space: clamp, scale, ablate, add."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.features.space import FeatureSpace, Polarity, writable
from interp.features.space import polarities as sides_of
from interp.features.statistics import FeatureStatistics
from interp.intervene.edit import PositionEdit, with_norm_of
from interp.intervene.positions import Positions
from interp.intervene.values import AtQuantile, Number, Values, required_statistics, resampled_rows
from interp.subject.forward import ForwardPass

FeatureIds = int | Sequence[int] | Tensor
AblateTo = Literal["zero", "mean", "resample"]


class FeatureEdit(PositionEdit):
    """Writes new values of some features of one space at some positions.

    Raises:
        UserError: no feature is named, one does not exist, one is named twice, or they can only be read.
    """

    def __init__(
        self,
        space: FeatureSpace,
        feature_ids: FeatureIds,
        positions: Positions,
        given: Values | None = None,
    ) -> None:
        super().__init__([space.site], positions, given)
        self.space = writable(space)
        self.feature_ids = checked_ids(space, feature_ids)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.feature_ids)} features of {self.space.name})"

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation with the new values at every position."""
        values = self.values(activation, forward)
        return self.space.write(activation, self.feature_ids.to(activation.device), values)

    @abstractmethod
    def values(self, activation: Tensor, forward: ForwardPass) -> Float[Tensor, "batch pos feature"]:
        """The values to write, at every position."""

    def read(self, activation: Tensor) -> Float[Tensor, "batch pos feature"]:
        """Reads the features' present values."""
        encoded = self.space.encode(activation)
        return encoded[..., self.feature_ids.to(encoded.device)]


class Clamp(FeatureEdit):
    """Sets features to a value, or to a multiple of their own quantiles (`AtQuantile`).

    `value` is one number, one for each feature [feature], or values [batch, pos, feature] of a whole prompt.
    A feature's `polarities` say which of its sides is meant, +1 by default. With `only_same_sign` a feature
    is changed only where it is active on that side; without, everywhere. The published text of Transluce's
    Monitor has that rule, its released code does not.

    Raises:
        UserError: as for `FeatureEdit`; or a quantile without statistics to take it from, or of a feature
            that is never active on that side of it.
    """

    def __init__(
        self,
        space: FeatureSpace,
        feature_ids: FeatureIds,
        value: Number | Sequence[Number] | Tensor | AtQuantile,
        positions: Positions = "all",
        *,
        polarities: Polarity | Sequence[Polarity] = 1,
        only_same_sign: bool = False,
        statistics: FeatureStatistics | None = None,
    ) -> None:
        ids = checked_ids(space, feature_ids)
        sides = [polarities] * len(ids) if isinstance(polarities, int) else list(polarities)
        if len(sides) != len(ids) or not set(sides) <= set(sides_of(space)):
            raise UserError(
                f"polarities {sides} do not fit {len(ids)} features",
                space.name,
                f"give each one of {', '.join(map(str, sides_of(space)))}",
            )
        if isinstance(value, AtQuantile):
            value = value.values(space, ids, sides, statistics)
        self.value = Values(value, (len(ids),), space.name)
        super().__init__(space, ids, positions, self.value)
        self.polarities = torch.tensor(sides)
        self.only_same_sign = only_same_sign

    def values(self, activation: Tensor, forward: ForwardPass) -> Float[Tensor, "batch pos feature"]:
        """The value; with `only_same_sign`, the present value where a feature is not active on its side."""
        value = self.value.of(forward, activation)
        if not self.only_same_sign:
            return value
        current = self.read(activation)
        same = current * self.polarities.to(current.device) > 0
        return torch.where(same, value.to(current.dtype), current)


class Scale(FeatureEdit):
    """Multiplies features by a factor (0 silences them, 1 changes nothing, -1 turns their sign)."""

    def __init__(
        self, space: FeatureSpace, feature_ids: FeatureIds, factor: Number, positions: Positions = "all"
    ) -> None:
        super().__init__(space, feature_ids, positions)
        self.factor = factor

    def values(self, activation: Tensor, forward: ForwardPass) -> Float[Tensor, "batch pos feature"]:
        """The features' own values times the factor."""
        return self.factor * self.read(activation)


class Ablate(FeatureEdit):
    """Removes features' information: sets them to zero, to their mean, or to their values on another token.

    `resample` gives all features together the values that they have on one token of the corpus, drawn
    for each position of each text from `seed` and the text itself: the same in any batch, and with a cache.

    Raises:
        UserError: as for `FeatureEdit`; mean and resample need statistics, resample a sample in them.
    """

    def __init__(
        self,
        space: FeatureSpace,
        feature_ids: FeatureIds,
        to: AblateTo = "zero",
        positions: Positions = "all",
        *,
        statistics: FeatureStatistics | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(space, feature_ids, positions)
        if to not in get_args(AblateTo):
            raise UserError(
                f"features cannot be ablated to {to!r}",
                f"ablation of {space.name}",
                f"use one of {', '.join(get_args(AblateTo))}",
            )
        self.to = to
        self.seed = seed
        self._table = self._levels(statistics)

    def _levels(self, statistics: FeatureStatistics | None) -> Float[Tensor, "token feature"]:
        """The rows that a position's values are taken from; one row for zero and mean."""
        if self.to == "zero":
            return torch.zeros(1, len(self.feature_ids))
        found = required_statistics(statistics, self.space, f"ablation to {self.to}")
        ids = self.feature_ids.cpu()
        if self.to == "mean":
            return found.mean[ids][None]
        if found.sample is None or len(found.sample) == 0:
            raise UserError(
                "the statistics hold no sample of tokens",
                f"ablation of {self.space.name}",
                "mine with token samples, or ablate to zero or mean",
            )
        return found.sample[:, ids].float()

    def values(self, activation: Tensor, forward: ForwardPass) -> Float[Tensor, "batch pos feature"]:
        """Zero, the means, or a row of the sample for each position."""
        table = self._table.to(activation.device)
        if len(table) == 1:
            return table.expand(*activation.shape[:2], -1)
        return table[resampled_rows(forward, len(table), self.seed).to(table.device)]


class Add(FeatureEdit):
    """Adds an amount, in units of activation, to features; `preserve_norm` then restores the norm.

    On a direction, an amount is a multiple of the unit vector. Restoring the norm of each position's
    activation is the rule of in-context vectors (Liu et al. 2023, arXiv 2311.06668).
    """

    def __init__(
        self,
        space: FeatureSpace,
        feature_ids: FeatureIds,
        amount: Number,
        positions: Positions = "all",
        *,
        preserve_norm: bool = False,
    ) -> None:
        super().__init__(space, feature_ids, positions)
        self.amount = amount
        self.preserve_norm = preserve_norm

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation with the amount added, at its old norm with `preserve_norm`."""
        moved = super().edited(activation, forward)
        return with_norm_of(activation, moved) if self.preserve_norm else moved

    def values(self, activation: Tensor, forward: ForwardPass) -> Float[Tensor, "batch pos feature"]:
        """The features' own values plus the amount."""
        return self.read(activation) + self.amount


def checked_ids(space: FeatureSpace, feature_ids: FeatureIds) -> Int[Tensor, " feature"]:
    """Makes a tensor of feature ids, checked against the space.

    Raises:
        UserError: there is none, one does not exist, or one is named twice.
    """
    ids = torch.as_tensor([feature_ids] if isinstance(feature_ids, int) else feature_ids)
    if ids.ndim != 1 or len(ids) == 0:
        raise UserError("no feature is named", space.name, f"use ids from 0 to {space.n_features - 1}")
    if ids.dtype == torch.bool or ids.is_floating_point():
        raise UserError(f"features cannot be named by {ids.dtype} values", space.name, "give their ids")
    wrong = ids[(ids < 0) | (ids >= space.n_features)].tolist()
    if wrong:
        raise UserError(
            f"feature {wrong[0]} does not exist", space.name, f"use ids from 0 to {space.n_features - 1}"
        )
    if len(set(ids.tolist())) < len(ids):
        raise UserError("a feature is named twice", space.name, "name each once")
    return ids.long()

"""Naming one feature of one space."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from interp.errors import UserError
from interp.features.space import ReadableFeatures


@dataclass(frozen=True)
class FeatureRef:
    """One feature of one space in one polarity (+1 or -1; the activation is `polarity * encode`)."""

    space: ReadableFeatures
    feature_id: int
    polarity: int = 1

    @property
    def key(self) -> str:
        """A name that is unique in a run, e.g. `mlp.3/17+`."""
        return f"{self.space.name}/{self.feature_id}{'+' if self.polarity > 0 else '-'}"

    @property
    def seed(self) -> tuple[int, ...]:
        """Numbers unique to this feature, to seed a random generator with."""
        return (*self.space.name.encode(), self.feature_id, self.polarity + 1)

    @classmethod
    def parse(cls, key: str, spaces: Sequence[ReadableFeatures]) -> "FeatureRef":
        """Reads what `key` wrote; without a sign, the positive side is meant.

        Raises:
            UserError: the key is malformed, or there is no such space, feature or side.
        """
        named = {space.name: space for space in spaces}
        name, feature_id, polarity = split_key(key, {name: s.n_features for name, s in named.items()})
        if polarity < 0 and not named[name].signed:
            raise UserError(f"features of {name} have no negative side", key, f"write {name}/{feature_id}")
        return cls(named[name], feature_id, polarity)


def split_key(key: str, sizes: Mapping[str, int]) -> tuple[str, int, int]:
    """Splits a feature's key into space, id and polarity, and checks them against the spaces' sizes.

    Raises:
        UserError: the key is malformed, or there is no such space or feature.
    """
    found = re.fullmatch(r"(.+)/(\d+)([+-]?)", key)
    if found is None:
        raise UserError(f"{key!r} names no feature", "feature", "write SPACE/ID, such as mlp.3/17+")
    name, feature_id = found[1], int(found[2])
    if name not in sizes:
        near = get_close_matches(name, sizes, n=3) or list(sizes)[:10]
        raise UserError(f"there is no feature space {name!r}", key, f"use {', '.join(near)}")
    if feature_id >= sizes[name]:
        raise UserError(f"feature {feature_id} does not exist", key, f"use ids from 0 to {sizes[name] - 1}")
    return name, feature_id, -1 if found[3] == "-" else 1

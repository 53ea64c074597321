"""What several tests hold of results of mining."""

from dataclasses import fields

import torch
from torch import Tensor

from interp.mining.mined import MinedSpaces


def same_bits(one: MinedSpaces, other: MinedSpaces) -> bool:
    """Whether two passes found the same, to the last bit."""
    if set(one) != set(other):
        return False
    for name, space in one.items():
        for split, part in space.exemplars.items():
            theirs = other[name].exemplars[split]
            pairs = [(getattr(part, field.name), getattr(theirs, field.name)) for field in fields(part)]
            pairs.append((space.samples[split].value, other[name].samples[split].value))
            if not all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs):
                return False
    return True

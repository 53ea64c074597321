"""What may enter which features' lists, found and counted on a device and merged by counts known beforehand.

How much of a batch enters is known on the device alone, and asking for it (`nonzero`, `item`) would stop the
device until the host has its answer, at every layer. So the mask of what may enter is made and counted, the
counts travel to the host while the device goes on, and the merge, a layer later, has fixed sizes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

N_SIZES = 3


@dataclass(frozen=True)
class Laid:
    """Hits in the order of their lines, all [hit] but `lines` and `begins`.

    Hit `i` is `unit[i]`, which may enter `line[i]`, the `place[i]`-th of the `lines` [hit line] that any may
    enter; there it is the `rank[i]`-th hit, and `begins` [hit line] is the number of the first.
    """

    unit: Int64[Tensor, " hit"]
    line: Int64[Tensor, " hit"]
    place: Int64[Tensor, " hit"]
    rank: Int64[Tensor, " hit"]
    lines: Int64[Tensor, " changed"]
    begins: Int64[Tensor, " changed"]


@dataclass(frozen=True)
class Hits:
    """Which units (rows, groups of tokens, tokens) may enter which lines, and how many may enter each."""

    mask: Bool[Tensor, "unit line"]
    per_line: Int64[Tensor, " line"]

    @classmethod
    def of(cls, mask: Bool[Tensor, "unit line"]) -> "Hits":
        """Counts a mask by line."""
        return cls(mask, mask.sum(0))

    def sizes(self) -> Int64[Tensor, " size"]:
        """The `N_SIZES` numbers that `laid` needs: of all hits, of lines with one, and the most of a line."""
        return torch.stack([self.per_line.sum(), (self.per_line > 0).sum(), self.per_line.max()])

    def laid(self, n_hits: int, n_lines: int) -> Laid:
        """Lays out the hits, whose numbers the host has from `sizes`."""
        unit, line = torch.nonzero_static(self.mask, size=n_hits).unbind(1)
        order = line.argsort(stable=True)
        unit, line = unit[order], line[order]
        some = self.per_line > 0
        lines = torch.nonzero_static(some, size=n_lines)[:, 0]
        before = self.per_line.cumsum(0) - self.per_line
        place = (some.cumsum(0) - 1)[line]
        rank = torch.arange(n_hits, device=line.device) - before[line]
        return Laid(unit, line, place, rank, lines, before[lines])

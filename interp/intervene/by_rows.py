"""Several experiments in one batch: each group of rows has its own interventions."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from interp.errors import UserError
from interp.subject.forward import ForwardPass, Intervention
from interp.subject.site import Site

Group = tuple[int, Sequence[Intervention]]
"""The number of rows, and their interventions."""


class ByRows:
    """Applies its own interventions to every group of rows of a batch; a group may have none.

    The groups are consecutive rows, in their order. Each gives the same result as if it were run alone;
    within a group, interventions act in the order given.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = [(n_rows, tuple(interventions)) for n_rows, interventions in groups]
        self.n_rows = sum(n_rows for n_rows, _ in self.groups)
        found = [site for _, edits in self.groups for edit in edits for site in edit.sites]
        self.sites: tuple[Site, ...] = tuple(dict.fromkeys(found))

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if the groups do not make up the batch, or a change is impossible in it."""
        if len(forward.tokens) != self.n_rows:
            raise UserError(
                f"interventions for {self.n_rows} rows do not fit a batch of {len(forward.tokens)}",
                "ByRows",
                "give the number of rows of every group",
            )
        for _, edits, own in self._parts(forward):
            for edit in edits:
                edit.check(own)

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """Changes each group's rows by its own interventions."""
        changed = []
        for rows, edits, own in self._parts(forward):
            part = activation[rows]
            for edit in edits:
                if site in edit.sites:
                    part = edit.apply(part, site, own)
            changed.append(part)
        return torch.cat(changed)

    def _parts(self, forward: ForwardPass) -> Iterator[tuple[slice, tuple[Intervention, ...], ForwardPass]]:
        start = 0
        for n_rows, edits in self.groups:
            rows = slice(start, start + n_rows)
            own = ForwardPass(forward.tokens[rows], forward.real[rows], forward.start, forward.prompt_length)
            yield rows, edits, own
            start += n_rows

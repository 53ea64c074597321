"""Measures many changes together, each on rows of its own in one batch."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.passes import select_rows, target_values
from interp.attribution.target import Target
from interp.errors import UserError
from interp.subject.forward import ForwardPass, Intervention
from interp.subject.site import Site
from interp.subject.subject import Subject


class EachOnItsRows:
    """Combines interventions: the first acts on the first `len(prompts.tokens)` rows, and so on."""

    def __init__(self, changes: Sequence[Intervention], prompts: ForwardPass) -> None:
        self.changes = changes
        self.prompts = prompts
        self.sites = tuple({site: None for change in changes for site in change.sites})

    def check(self, forward: ForwardPass) -> None:
        """Raises UserError if a change is impossible on these prompts."""
        for change in self.changes:
            change.check(self.prompts)

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """Applies each change to its rows."""
        parts = torch.split(activation, len(self.prompts.tokens))
        return torch.cat(
            [
                change.apply(part, site, self.prompts) if site in change.sites else part
                for change, part in zip(self.changes, parts, strict=True)
            ]
        )


@torch.no_grad()
def values_under(
    subject: Subject,
    prompts: ForwardPass,
    target: Target,
    changes: Sequence[Intervention],
    rows_at_once: int,
) -> Float[Tensor, "change batch"]:
    """Computes the target of every prompt under each change on its own, `rows_at_once` rows in a pass.

    Raises:
        UserError: `rows_at_once` is below 1, or a change is impossible on these prompts.
    """
    if rows_at_once < 1:
        raise UserError(f"rows_at_once is {rows_at_once}", "rows_at_once", "use at least 1")
    EachOnItsRows(changes, prompts).check(prompts)
    batch = len(prompts.tokens)
    at_once = max(1, rows_at_once // batch)
    found = [torch.empty(0, batch, device=subject.device)]
    for start in range(0, len(changes), at_once):
        part = changes[start : start + at_once]
        rows = torch.arange(batch, device=subject.device).repeat(len(part))
        with subject.intervene(EachOnItsRows(part, prompts)):
            values = target_values(subject, select_rows(prompts, rows), target.of_rows(rows))
        found.append(values.view(len(part), batch))
    return torch.cat(found)

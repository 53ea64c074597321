"""Puts one vector into each prompt, as every patchscope does."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.lenses.prompt_batches import PromptBatch
from interp.subject.forward import ForwardPass
from interp.subject.site import Site
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False, repr=False)
class Patch:
    """Vectors [prompt, d_model] that replace the activation at a site, at each prompt's position.

    With `rescaled` they are scaled to the norms of what they replace.
    """

    site: Site
    vectors: Float[Tensor, "prompt d_model"]
    rescaled: bool = False

    def __repr__(self) -> str:
        return f"Patch({len(self.vectors)} vectors at {self.site}{', rescaled' if self.rescaled else ''})"

    def on(self, subject: Subject, rows: PromptBatch) -> AbstractContextManager[None]:
        """Within the block these prompts run with their vectors put in."""
        return subject.intervene(_PutIn(self, self.vectors[rows.places], rows.columns))


class _PutIn:
    """Replaces one column of each row of the prompt; generated tokens are left alone."""

    def __init__(
        self, patch: Patch, vectors: Float[Tensor, "row d_model"], columns: Int[Tensor, " row"]
    ) -> None:
        self.sites = (patch.site,)
        self.rescaled, self.vectors, self.columns = patch.rescaled, vectors, columns

    def check(self, forward: ForwardPass) -> None:
        """Checks nothing: the columns were computed from these rows."""

    def apply(self, activation: Tensor, site: Site, forward: ForwardPass) -> Tensor:
        """Returns the activation with each row's vector at its column."""
        rows = (self.columns >= forward.start).nonzero()[:, 0]
        if not len(rows):
            return activation
        columns = (self.columns[rows] - forward.start).to(activation.device)
        vectors, rows = self.vectors[rows].to(activation), rows.to(activation.device)
        if self.rescaled:
            norms = activation[rows, columns].norm(dim=-1, keepdim=True)
            vectors = torch.nn.functional.normalize(vectors, dim=-1) * norms
        changed = activation.clone()
        changed[rows, columns] = vectors
        return changed

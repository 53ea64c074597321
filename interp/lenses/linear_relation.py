"""Linear relations: an affine map from a subject's activation to its object's, made of the model's Jacobians.

Hernandez et al. 2024 (arXiv 2308.09124): with s the residual stream after layer h at the subject's last
token and o that after the last layer at the prompt's last token, W and b are the means over examples of
W_i = do/ds and b_i = o - W_i s, and LRE(s) = beta W s + b (equation 3). An object is changed by s' = s +
W_r^+ (o' - o), W_r^+ the pseudo-inverse of the best rank-r approximation of W (equation 6).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.lenses.jacobian import jacobian_rows
from interp.lenses.prompt import Prompt
from interp.lenses.prompt_batches import PromptBatch, prompt_batches
from interp.lenses.residual_stream import EMBEDDING, layer_name, stream_site
from interp.subject.site import Site
from interp.subject.subject import Subject

ROWS_PER_BATCH = 16


@dataclass(frozen=True, eq=False, repr=False)
class LinearRelation:
    """LRE(s) = beta W s + b, from the stream after layer `layer` to that after the last."""

    layer: int
    weight: Float[Tensor, "out source"]
    bias: Float[Tensor, " out"]
    beta: float = 1.0

    def __repr__(self) -> str:
        out, source = self.weight.shape
        return f"LinearRelation(from layer {layer_name(self.layer)} to the last, {source} to {out} numbers)"

    def __call__(self, subjects: Float[Tensor, "item source"]) -> Float[Tensor, "item out"]:
        """Predicts the objects' activations after the last layer."""
        found: Tensor = self.beta * subjects.to(self.weight) @ self.weight.T + self.bias
        return found

    def inverse(self, rank: int) -> Float[Tensor, "source out"]:
        """The pseudo-inverse of the best rank-`rank` approximation of W."""
        left, singular, right = torch.linalg.svd(self.weight, full_matrices=False)
        inverse: Tensor = (right[:rank].T / singular[:rank]) @ left[:, :rank].T
        return inverse

    def edited(
        self,
        subjects: Float[Tensor, "item source"],
        wanted: Float[Tensor, "item out"],
        present: Float[Tensor, "item out"],
        rank: int,
    ) -> Float[Tensor, "item source"]:
        """Moves subjects' activations so that objects' change from `present` to `wanted` (equation 6)."""
        return subjects.to(self.weight) + (wanted - present) @ self.inverse(rank).T


def fit_relation(
    subject: Subject, prompts: Sequence[Prompt], layer: int, beta: float = 1.0
) -> LinearRelation:
    """Averages Jacobian and bias over prompts, each at its subject's last token (equation 3)."""
    return fit_relations(subject, prompts, [layer], beta)[layer]


def fit_relations(
    subject: Subject, prompts: Sequence[Prompt], layers: Sequence[int], beta: float = 1.0
) -> dict[int, LinearRelation]:
    """Fits the relation from each layer, all from the same backward passes.

    Raises:
        UserError: as `jacobians`.
    """
    _check(subject, layers)
    width = subject.d_model
    weight = {layer: torch.zeros(width, width) for layer in layers}
    bias = {layer: torch.zeros(width) for layer in layers}
    for rows in prompt_batches(subject, prompts, ROWS_PER_BATCH):
        in_order = torch.tensor(rows.places).argsort()
        for layer, found in _jacobians_of_rows(subject, rows, layers).items():
            own, output, read = (part[in_order] for part in found)
            weight[layer] += own.sum(0)
            bias[layer] += (output - torch.einsum("nos,ns->no", own, read)).sum(0)
    count = len(prompts)
    return {
        layer: LinearRelation(layer, weight[layer] / count, bias[layer] / count, beta) for layer in layers
    }


def jacobians(
    subject: Subject, prompts: Sequence[Prompt], layer: int, rows_per_batch: int = ROWS_PER_BATCH
) -> tuple[Float[Tensor, "n out source"], Float[Tensor, "n out"], Float[Tensor, "n source"]]:
    """do/ds of each prompt, with o and s; single precision on the CPU.

    All prompts of a batch and several rows of their Jacobians share a backward pass, which begins after
    the last layer and ends at the subject's token.

    Raises:
        UserError: there is no prompt, one does not fit the context, or `layer` is not before the last.
    """
    _check(subject, [layer])
    width = subject.d_model
    weights = torch.empty(len(prompts), width, width)
    outputs, inputs = torch.empty(len(prompts), width), torch.empty(len(prompts), width)
    for rows in prompt_batches(subject, prompts, rows_per_batch):
        found = _jacobians_of_rows(subject, rows, [layer])[layer]
        for table, part in zip((weights, outputs, inputs), found, strict=True):
            table[rows.places] = part
    return weights, outputs, inputs


def _check(subject: Subject, layers: Sequence[int]) -> None:
    for layer in layers:
        if not EMBEDDING <= layer < subject.n_layers - 1:
            raise UserError(
                f"there is no relation from layer {layer} to the last: nothing is computed in between",
                "layer",
                f"use {EMBEDDING} (the embedding) to {subject.n_layers - 2}",
            )


def _jacobians_of_rows(
    subject: Subject, rows: PromptBatch, layers: Sequence[int]
) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
    at = torch.arange(len(rows.places), device=subject.device)
    lowest = stream_site(min(layers))
    read: dict[Site, Tensor] = {}
    ends: list[Tensor] = []

    def open_graph(activation: Tensor, site: Site) -> Tensor:
        taken = activation[at, rows.columns]
        if site == lowest:
            activation, taken = activation.detach(), taken.detach().clone().requires_grad_()
        read[site] = taken
        return activation.index_put((at, rows.columns), taken)

    def keep(activation: Tensor) -> Tensor:
        ends.append(activation[:, -1])
        return activation

    edits: dict[Site, Callable[[Tensor], Tensor]] = {
        site: partial(open_graph, site=site) for site in map(stream_site, layers)
    }
    with torch.enable_grad(), subject.edited({**edits, stream_site(subject.n_layers - 1): keep}):
        subject.normed(rows.tokens, rows.mask)
    (end,), leaves = ends, [read[stream_site(layer)] for layer in layers]
    parts = [[part.float().cpu() for part in found] for found in jacobian_rows(subject, end, leaves)]
    output = end.detach().float().cpu()
    return {
        layer: (torch.cat(own).transpose(0, 1), output, leaf.detach().float().cpu())
        for layer, own, leaf in zip(layers, zip(*parts, strict=True), leaves, strict=True)
    }

"""Direct logit attribution: how much each layer, head and neuron adds to a logit by itself.

logit_t = sum over parts c of <W_U[:, t], norm(c)> with the scale of the final norm held at what it is in
the whole (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.lens.frozen_norm import FrozenNorm
from interp.lens.prompt import Prompt
from interp.subject.read_at import read_at
from interp.subject.site import Site, SiteKind
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class DirectAttribution:
    """What parts of the model add to a logit (or a difference of two), for each prompt; in logits.

    `embedding` + `attention` + `mlp` over layers + `bias` is `logit`, the model's own before any soft cap. A
    layer's attention is the sum of its heads and of its output bias, its MLP that of its neurons and its
    bias; `heads` and `neurons` are None where norms stand between them and the residual stream (Gemma 2).
    """

    embedding: Float[np.ndarray, " prompt"]
    attention: Float[np.ndarray, "prompt layer"]
    mlp: Float[np.ndarray, "prompt layer"]
    bias: Float[np.ndarray, " prompt"]
    logit: Float[np.ndarray, " prompt"]
    heads: Float[np.ndarray, "prompt layer head"] | None
    neurons: Float[np.ndarray, "prompt layer neuron"] | None

    def total(self) -> Float[np.ndarray, " prompt"]:
        """All parts together: the logit, up to rounding."""
        layers: np.ndarray = self.embedding + self.attention.sum(1) + self.mlp.sum(1) + self.bias
        return layers

    def of_prompt(self, row: int) -> "DirectAttribution":
        """That of one prompt alone."""
        one = slice(row, row + 1)
        return DirectAttribution(
            embedding=self.embedding[one],
            attention=self.attention[one],
            mlp=self.mlp[one],
            bias=self.bias[one],
            logit=self.logit[one],
            heads=None if self.heads is None else self.heads[one],
            neurons=None if self.neurons is None else self.neurons[one],
        )

    def top(self, k: int = 10) -> pd.DataFrame:
        """The heads and neurons that add most on average over prompts, by size: kind, layer, index, value."""
        parts = []
        for kind, values in (("head", self.heads), ("neuron", self.neurons)):
            if values is not None:
                mean = values.mean(0)
                layer, index = np.unravel_index(np.argsort(-np.abs(mean), axis=None)[:k], mean.shape)
                parts.append(
                    pd.DataFrame({"kind": kind, "layer": layer, "index": index, "value": mean[layer, index]})
                )
        if not parts:
            raise UserError(
                "this model has no heads and neurons that add up", "direct attribution", "use its layers"
            )
        table = pd.concat(parts, ignore_index=True)
        order = table["value"].abs().sort_values(ascending=False, kind="stable").index[:k]
        return table.loc[order].reset_index(drop=True)


@torch.inference_mode()
def direct_attribution(
    subject: Subject,
    prompts: Sequence[Prompt],
    targets: Sequence[int],
    distractors: Sequence[int] | None = None,
) -> DirectAttribution:
    """Attributes each prompt's logit of its target, less that of its distractor, at the prompt's position.

    One pass; a layer's neurons and heads are one product each.

    Raises:
        UserError: there is no prompt, or not one target for each.
    """
    for name, given in (("targets", targets), ("distractors", distractors)):
        if given is not None and len(given) != len(prompts):
            raise UserError(f"{len(given)} {name} for {len(prompts)} prompts", name, "give one for each")
    last = Site("resid_post", subject.n_layers - 1)
    kinds: list[SiteKind] = ["attn_out", "mlp_out"]
    try:
        to_stream = {
            w.site: w.weight.movedim(w.axis, -1).reshape(-1, subject.d_model) for w in subject.writers()
        }
        kinds += ["head_out", "mlp_post"]
    except UserError:
        to_stream = {}
    layers = range(subject.n_layers)
    sites = [Site("resid_pre", 0), last, *(Site(kind, layer) for kind in kinds for layer in layers)]
    positions = torch.tensor([[prompt.position] for prompt in prompts])
    read = read_at(subject, [prompt.tokens for prompt in prompts], sites, positions)
    at = {site: found[:, 0].to(subject.device) for site, found in read.items()}

    norm, unembedding = FrozenNorm.of(subject), subject.unembedding()
    constant = subject.unembed(
        torch.zeros(1, 1, subject.d_model, device=subject.device, dtype=subject.dtype)
    )[0, 0]
    column, offset = unembedding[:, list(targets)].T.float(), constant[list(targets)].float()
    if distractors is not None:
        column, offset = (
            column - unembedding[:, list(distractors)].T.float(),
            offset - constant[list(distractors)].float(),
        )
    normed = subject.final_norm(at[last].to(subject.dtype)[None])[0].float()
    direction = norm.pulled_back(column) / norm.scale(at[last])[:, None]

    def along(kind: SiteKind) -> np.ndarray:
        return np.stack([_host((at[Site(kind, layer)] * direction).sum(-1)) for layer in layers], 1)

    heads = neurons = None
    if to_stream:
        heads = np.stack([_host(_heads(at, to_stream, direction, layer, subject)) for layer in layers], 1)
        down = (subject.mlp_output_weight(layer).float() for layer in layers)
        neurons = np.stack(
            [_host(at[Site("mlp_post", n)] * (direction @ weight.T)) for n, weight in enumerate(down)], 1
        )
    return DirectAttribution(
        embedding=_host((at[Site("resid_pre", 0)] * direction).sum(-1)),
        attention=along("attn_out"),
        mlp=along("mlp_out"),
        bias=_host(column @ norm.bias + offset),
        logit=_host((normed * column).sum(-1) + offset),
        heads=heads,
        neurons=neurons,
    )


def _heads(
    at: dict[Site, Tensor],
    to_stream: dict[Site, Tensor],
    direction: Float[Tensor, "prompt d_model"],
    layer: int,
    subject: Subject,
) -> Float[Tensor, "prompt head"]:
    outputs = at[Site("head_out", layer)]
    weight = to_stream[Site("attn_out", layer)].float().view(subject.n_heads, -1, subject.d_model)
    return torch.einsum("phe,hed,pd->ph", outputs, weight, direction)


def _host(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()

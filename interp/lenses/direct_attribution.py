"""Direct logit attribution: how much each layer, head and neuron adds to a logit by itself.

logit_t = sum over parts c of <W_U[:, t], norm(c)>, with the scale of the final norm held at its value for the
whole residual stream (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.lenses.prompt import Prompt
from interp.subject.frozen_norm import FrozenNorm
from interp.subject.read_at import read_at
from interp.subject.site import Site, SiteKind
from interp.subject.subject import Subject
from interp.subject.writer import Writer

OUTPUTS: tuple[SiteKind, SiteKind] = ("attn_out", "mlp_out")
INPUTS: tuple[SiteKind, SiteKind] = ("head_out", "mlp_post")


@dataclass(frozen=True, eq=False, repr=False)
class DirectAttribution:
    """What each part of the model adds to a logit (or a difference of two), for each prompt, in logits.

    `embedding` + `attention` + `mlp` over layers + `bias` is `logit`, the model's own before any soft cap. A
    layer's attention is the sum of its heads and of its output bias, its MLP that of its neurons and its
    bias. Where a norm follows these (Gemma 2, OLMo 2), its scale is held at what it is for the prompt, too.
    `neurons` is None where the MLPs are mixtures of experts.
    """

    embedding: Float[np.ndarray, " prompt"]
    attention: Float[np.ndarray, "prompt layer"]
    mlp: Float[np.ndarray, "prompt layer"]
    bias: Float[np.ndarray, " prompt"]
    logit: Float[np.ndarray, " prompt"]
    heads: Float[np.ndarray, "prompt layer head"] | None
    neurons: Float[np.ndarray, "prompt layer neuron"] | None

    def __repr__(self) -> str:
        (n_prompts, n_layers), logits = self.mlp.shape, ", ".join(f"{logit:.2f}" for logit in self.logit[:3])
        more = ", ..." if n_prompts > 3 else ""
        return f"DirectAttribution({n_prompts} prompts, {n_layers} layers, logits {logits}{more})"

    def total(self) -> Float[np.ndarray, " prompt"]:
        """All parts together: the logit, up to rounding."""
        layers: np.ndarray = self.embedding + self.attention.sum(1) + self.mlp.sum(1) + self.bias
        return layers

    def of_prompt(self, row: int) -> "DirectAttribution":
        """Selects one prompt, as a batch of one."""
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
        UserError: there is no prompt, or not one target for each; or heads, neurons or layers of this
            architecture do not add up to the residual stream.
    """
    for name, given in (("targets", targets), ("distractors", distractors)):
        if given is not None and len(given) != len(prompts):
            raise UserError(f"{len(given)} {name} for {len(prompts)} prompts", name, "give one for each")
    last = Site("resid_post", subject.n_layers - 1)
    writers = [writer for writer in subject.writers() if not writer.routed]
    inside: dict[Site, tuple[Site, Writer]] = {}  # the inputs and the matrix of what a layer writes
    for kind, inner in zip(OUTPUTS, INPUTS, strict=True):
        of = {writer.site.layer: writer for writer in writers if writer.site.kind == kind}
        if len(of) == subject.n_layers and all(_exists(subject, Site(inner, layer)) for layer in of):
            inside |= {w.site: (Site(inner, layer), w) for layer, w in of.items()}
    layers = range(subject.n_layers)
    outputs = [Site(kind, layer) for kind in OUTPUTS for layer in layers]
    positions = torch.tensor([[prompt.position] for prompt in prompts])
    sites = [Site("resid_pre", 0), last, *outputs, *(inner for inner, _ in inside.values())]
    read = read_at(subject, [prompt.tokens for prompt in prompts], sites, positions)
    at = {site: found[:, 0].to(subject.device) for site, found in read.items()}

    norm = FrozenNorm.of(subject.final_norm, subject.d_model, subject.device, subject.dtype)
    unembedding = subject.unembedding()
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
    along = {site: (at[site] * direction).sum(-1) for site in [Site("resid_pre", 0), *outputs]}
    parts = {
        site: _parts(subject, at[inner].flatten(1), writer, direction, along[site])
        for site, (inner, writer) in inside.items()
    }

    def stacked(kind: SiteKind, found: dict[Site, Tensor]) -> Float[np.ndarray, "prompt layer *part"]:
        return np.stack([_host(found[Site(kind, layer)]) for layer in layers], 1)

    attention, mlp = OUTPUTS
    by_input = {kind: stacked(kind, parts) for kind in OUTPUTS if Site(kind, 0) in parts}
    heads = by_input.get(attention)
    return DirectAttribution(
        embedding=_host(along[Site("resid_pre", 0)]),
        attention=stacked(attention, along),
        mlp=stacked(mlp, along),
        bias=_host(column @ norm.bias + offset),
        logit=_host((normed * column).sum(-1) + offset),
        heads=None if heads is None else heads.reshape(*heads.shape[:2], subject.n_heads, -1).sum(-1),
        neurons=by_input.get(mlp),
    )


def _parts(
    subject: Subject,
    inputs: Float[Tensor, "prompt n_in"],
    writer: Writer,
    direction: Float[Tensor, "prompt d_model"],
    whole: Float[Tensor, " prompt"],
) -> Float[Tensor, "prompt n_in"]:
    """Returns what each input of a matrix adds along a direction, and checks that the sum is `whole`.

    Raises:
        UserError: it is not.
    """
    back = writer.pulled_back(direction, inputs)
    parts = inputs * (back @ writer.matrix().float().T)
    off = (parts.sum(-1) + writer.constant(direction, back) - whole).abs()
    if bool((off > torch.finfo(subject.dtype).eps ** 0.5 * (parts.abs().sum(-1) + 1)).any()):
        raise UserError(
            f"the sum over the inputs of {writer.site} is {float(off.max()):.2g} off its whole output",
            f"direct attribution of {subject.info.architecture}",
            "attribute by gradient (interp.attribute), which needs no such sum",
        )
    return parts


def _exists(subject: Subject, site: Site) -> bool:
    try:
        return subject.site_width(site) > 0
    except UserError:
        return False


def _host(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()

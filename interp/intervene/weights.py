"""Interventions written into the weights, for the length of a block: no hook runs, the result is the same."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import UserError
from interp.intervene.activations import orthonormal
from interp.intervene.values import Number
from interp.subject.site import Site, SiteKind
from interp.subject.subject import Subject
from interp.subject.writer import Writer

LEFT = 0.03  # share of what was written that may remain; half precision leaves a tenth of this at most


@contextmanager
def orthogonalised(
    subject: Subject, vectors: Float[Tensor, "direction d_model"] | Float[Tensor, " d_model"]
) -> Iterator[None]:
    """Within the block nothing can write these directions: W becomes W - W P for every writing matrix.

    P is the projection on the directions' span; embeddings, attention and MLP outputs and their biases are
    changed (Arditi et al. 2024, arXiv 2406.11717, equation 5). Equal to `ProjectOut(subject, vectors)`.
    Afterwards the weights are the same tensors as before.

    Raises:
        UserError: the vectors do not fit, or norms stand between the matrices and the stream (Gemma 2, the
            embedding of BLOOM), or the model still writes the directions, by weights that are not known.
    """
    basis = orthonormal(subject, vectors)
    changes: list[tuple[Tensor, Tensor]] = []
    for writer in editable_writers(subject):
        changes.append((writer.weight, _without(writer.weight, basis, writer.axis)))
        bias = writer.offset()
        if bias is not None:
            changes.append((bias, _without(bias, basis, -1)))
    before = _share(subject, basis)
    with subject.untied(), _holding(changes):
        if _share(subject, basis) > LEFT * before + torch.finfo(torch.float32).eps:
            raise UserError(
                f"{subject.info.architecture} writes these directions by other weights, too",
                "orthogonalised",
                "use ProjectOut, which acts on what is written",
            )
        yield


@contextmanager
def bias_added(
    subject: Subject, site: Site, vector: Float[Tensor, " d_model"], coefficient: Number = 1.0
) -> Iterator[None]:
    """Within the block `coefficient` times a vector is added to a layer's bias: steering without a hook.

    `site` is `attn_out` or `mlp_out`, or the residual stream right after one of them (`resid_mid`,
    `resid_post`). Equal to `AddVector(subject, site, vector, coefficient)`. A layer without a bias gets one
    for the length of the block.

    Raises:
        UserError: no bias adds to that site (a mixture of experts adds weighted shares of several), the
        vector
            does not fit, or norms stand in between (Gemma 2).
    """
    subject.site_width(site)
    before_it: dict[SiteKind, SiteKind] = {"resid_mid": "attn_out", "resid_post": "mlp_out"}
    output = Site(before_it.get(site.kind, site.kind), site.layer)
    found = editable_writers(subject, output)
    if any(writer.routed for writer in found):
        raise UserError(
            f"no bias adds to {site}: the MLP is a mixture of experts, whose shares depend on the token",
            "bias_added",
            "use AddVector, which acts on what the experts add up to",
        )
    if not any(writer.bias for writer in found):
        raise UserError(
            f"no bias adds to {site}", "bias_added", "use attn_out, mlp_out, resid_mid or resid_post"
        )
    if tuple(vector.shape) != (subject.d_model,):
        raise UserError(
            f"a vector of shape {tuple(vector.shape)} is no bias of {site}",
            "bias_added",
            f"give [{subject.d_model}]",
        )
    (writer,) = found
    owner, name = writer.owner, str(writer.bias)
    before = writer.offset()
    added = coefficient / writer.scale * vector.to(writer.weight)
    setattr(owner, name, nn.Parameter(added if before is None else before + added, requires_grad=False))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _share(subject: Subject, basis: Float[Tensor, "rank d_model"]) -> float:
    """The share of the last residual stream's norm in a span, with hooks and interventions off."""
    last = Site("resid_post", subject.n_layers - 1)
    tokens = torch.linspace(0, subject.d_vocab - 1, 8).long()[None, : subject.n_ctx]
    with subject.unedited():
        stream = subject.read(tokens, [last], torch.ones_like(tokens))[last].double()
    return float((stream @ basis.to(stream).T).norm() / stream.norm())


def editable_writers(subject: Subject, site: Site | None = None) -> Sequence[Writer]:
    """The writers to the residual stream (at one site), if changing weights is changing their outputs.

    Raises:
        UserError: as `Subject.writers`; norms stand between the matrices and the stream; or weights are
            packed into few bits or kept off the device, where a change would be lost.
    """
    writers = [writer for writer in subject.writers() if site in (None, writer.site)]
    for writer in writers:
        if writer.read is not None:
            raise UserError(
                f"the weights that write {writer.site} are quantised, or loaded anew for each use",
                f"weights of {subject.name}",
                "use the intervention of the same name, which acts on what is written, or load the model "
                "without quantize and with all of its parts on devices",
            )
    through = {writer.site.kind for writer in writers if writer.norm is not None}
    if through:
        names = {"resid_pre": "the embedding", "attn_out": "attention", "mlp_out": "the MLP"}
        who = " and ".join(name for kind, name in names.items() if kind in through)
        raise UserError(
            f"the output of {who} goes through norms here: no change of weights has this effect",
            f"weights of {subject.info.architecture}",
            "use the intervention of the same name, which acts after the norms",
        )
    return writers


def _without(weight: Tensor, basis: Float[Tensor, "rank d_model"], axis: int) -> Tensor:
    """The weight without its part in the span, computed in double precision."""
    basis = basis.to(weight.device)
    wide = weight.data.double()
    part = basis.T @ (basis @ wide) if axis == -2 else (wide @ basis.T) @ basis
    return (wide - part).to(weight.dtype)


@contextmanager
def _holding(changes: list[tuple[Tensor, Tensor]]) -> Iterator[None]:
    before = [parameter.data for parameter, _ in changes]
    try:
        for parameter, changed in changes:
            parameter.data = changed
        yield
    finally:
        for (parameter, _), data in zip(changes, before, strict=True):
            parameter.data = data

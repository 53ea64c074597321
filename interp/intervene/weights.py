"""Interventions written into the weights, for the length of a block: no hook runs, the result is the same."""

from collections.abc import Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import UserError
from interp.intervene.activations import orthonormal
from interp.intervene.values import Number
from interp.subject.site import Site, SiteKind
from interp.subject.subject import Subject


@contextmanager
def orthogonalised(
    subject: Subject, vectors: Float[Tensor, "direction d_model"] | Float[Tensor, " d_model"]
) -> Iterator[None]:
    """Within the block nothing can write these directions: W becomes W - W P for every writing matrix.

    P is the projection on the directions' span; embeddings, attention and MLP outputs and their biases are
    changed (Arditi et al. 2024, arXiv 2406.11717, equation 5). Equal to `ProjectOut(subject, vectors)`.
    Afterwards the weights are the very tensors they were.

    Raises:
        UserError: the vectors do not fit, or norms stand between the matrices and the stream (Gemma 2).
    """
    basis = orthonormal(subject, vectors)
    changes: list[tuple[nn.Parameter, Tensor]] = []
    for writer in subject.writers():
        changes.append((writer.weight, _without(writer.weight, basis, writer.axis)))
        bias = None if writer.bias is None else getattr(writer.owner, writer.bias)
        if bias is not None:
            changes.append((bias, _without(bias, basis, -1)))
    with subject.untied(), _holding(changes):
        yield


@contextmanager
def bias_added(
    subject: Subject, site: Site, vector: Float[Tensor, " d_model"], coefficient: Number = 1.0
) -> Iterator[None]:
    """Within the block a layer's bias holds `coefficient` times a vector more: steering without a hook.

    `site` is `attn_out` or `mlp_out`, or the residual stream right behind one of them (`resid_mid`,
    `resid_post`). Equal to `AddVector(subject, site, vector, coefficient)`. A layer without a bias gets one
    for the length of the block.

    Raises:
        UserError: no bias adds to that site, the vector does not fit, or norms stand in between (Gemma 2).
    """
    subject.site_width(site)
    before_it: dict[SiteKind, SiteKind] = {"resid_mid": "attn_out", "resid_post": "mlp_out"}
    output = Site(before_it.get(site.kind, site.kind), site.layer)
    found = [writer for writer in subject.writers() if writer.bias is not None and writer.site == output]
    if not found:
        raise UserError(
            f"no bias adds to {site}", "bias_added", "use attn_out, mlp_out, resid_mid or resid_post"
        )
    if tuple(vector.shape) != (subject.d_model,):
        raise UserError(
            f"a vector of shape {tuple(vector.shape)} is no bias of {site}",
            "bias_added",
            f"give [{subject.d_model}]",
        )
    owner, name = found[0].owner, str(found[0].bias)
    before = getattr(owner, name)
    added = coefficient * vector.to(found[0].weight)
    setattr(owner, name, nn.Parameter(added if before is None else before + added, requires_grad=False))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _without(weight: Tensor, basis: Float[Tensor, "rank d_model"], axis: int) -> Tensor:
    """The weight without its part in the span, computed in double precision."""
    basis = basis.to(weight.device)
    wide = weight.data.double()
    part = basis.T @ (basis @ wide) if axis == 0 else (wide @ basis.T) @ basis
    return (wide - part).to(weight.dtype)


@contextmanager
def _holding(changes: list[tuple[nn.Parameter, Tensor]]) -> Iterator[None]:
    before = [parameter.data for parameter, _ in changes]
    try:
        for parameter, changed in changes:
            parameter.data = changed
        yield
    finally:
        for (parameter, _), data in zip(changes, before, strict=True):
            parameter.data = data

"""Interventions on whole activations: add a vector, project directions out, replace."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene.edit import PositionEdit, with_norm_of
from interp.intervene.positions import Positions
from interp.intervene.values import Number, Values
from interp.subject.forward import ForwardPass
from interp.subject.site import RESIDUAL_KINDS, Site, SiteKind
from interp.subject.subject import Subject


class AddVector(PositionEdit):
    """Adds `coefficient` times a vector, as it is, to the activation at a site.

    `vector` is [width], at `head_out` [head, d_head], or one for each position of a prompt [batch, pos, ...].
    `preserve_norm` restores each position's norm (each head's) afterwards (in-context vectors, Liu et al.
    2023, arXiv 2311.06668).

    Raises:
        UserError: the site does not exist, or the vector does not fit it.
    """

    def __init__(
        self,
        subject: Subject,
        site: Site,
        vector: Tensor,
        coefficient: Number = 1.0,
        positions: Positions = "all",
        *,
        preserve_norm: bool = False,
    ) -> None:
        self.vector = Values(vector, subject.activation_shape(site), f"vector added at {site}")
        super().__init__([site], positions, self.vector)
        self.coefficient = coefficient
        self.preserve_norm = preserve_norm

    def __repr__(self) -> str:
        return f"AddVector({self.sites[0]}, coefficient {self.coefficient:g})"

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation plus `coefficient` times the vector."""
        added = self.coefficient * self.vector.of(forward, activation)
        moved = activation + added.to(activation.dtype)
        return with_norm_of(activation, moved) if self.preserve_norm else moved


class Replace(PositionEdit):
    """Replaces the activation at a site by another one, as in patching.

    `activation` is [width] (at `head_out` [head, d_head]) for every chosen position, or [batch, pos, ...],
    one for each position of a prompt.

    Raises:
        UserError: the site does not exist, or the activation does not fit it.
    """

    def __init__(
        self, subject: Subject, site: Site, activation: Tensor, positions: Positions = "all"
    ) -> None:
        self.activation = Values(activation, subject.activation_shape(site), f"activation put at {site}")
        super().__init__([site], positions, self.activation)

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the other activation, in the type of this one."""
        return self.activation.of(forward, activation).to(activation.dtype)


class ProjectOut(PositionEdit):
    """Takes directions out of the activation at residual sites: x - (x - c) P, P projecting on their span.

    `vectors` [direction, d_model] (or one [d_model]) need not be orthogonal. `sites` are all that write to
    the residual stream by default (`writing_sites`): no later part can bring the directions back, as in
    Arditi et al. 2024 (arXiv 2406.11717, equation 4). Without `centre` the directions' projections become
    zero, which is unusual for a model whose mean projection is not zero; with `centre` [d_model], a mean
    activation, they become those of the mean. A centre belongs to one site: give that site.

    Raises:
        UserError: a site does not exist or is not in the residual stream's space, the vectors do not fit, or
        one
            of them is zero.
    """

    def __init__(
        self,
        subject: Subject,
        vectors: Float[Tensor, "direction d_model"] | Float[Tensor, " d_model"],
        sites: Sequence[Site] | None = None,
        positions: Positions = "all",
        *,
        centre: Float[Tensor, " d_model"] | None = None,
    ) -> None:
        super().__init__(writing_sites(subject) if sites is None else sites, positions)
        for site in self.sites:
            subject.site_width(site)
            if site.kind not in RESIDUAL_KINDS:
                raise UserError(
                    f"{site} is not in the residual stream's space", "ProjectOut", "use a residual site"
                )
        self.basis = orthonormal(subject, vectors).to(subject.device, subject.dtype)
        if centre is not None and (len(self.sites) > 1 or tuple(centre.shape) != (subject.d_model,)):
            raise UserError(
                f"a centre of shape {tuple(centre.shape)} cannot serve {len(self.sites)} sites",
                "ProjectOut",
                f"give the mean activation [{subject.d_model}] of one site, and sites=[that one]",
            )
        self.centre = None if centre is None else centre.to(self.basis)

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation without the directions (equal to the centre along them, if there is one)."""
        moved = activation if self.centre is None else activation - self.centre
        return activation - (moved @ self.basis.T) @ self.basis


def writing_sites(subject: Subject) -> tuple[Site, ...]:
    """The sites of everything that the residual stream sums: its start, and every layer's two outputs."""
    kinds: tuple[SiteKind, ...] = ("attn_out", "mlp_out")
    layers = range(subject.n_layers)
    return (Site("resid_pre", 0), *(Site(kind, layer) for layer in layers for kind in kinds))


def orthonormal(
    subject: Subject, vectors: Float[Tensor, "direction d_model"] | Float[Tensor, " d_model"]
) -> Float[Tensor, "rank d_model"]:
    """Computes an orthonormal basis of the vectors' span, in double precision.

    Raises:
        UserError: the vectors do not fit the residual stream, or one is zero or not finite.
    """
    rows = vectors.double().reshape(-1, vectors.shape[-1])
    if rows.shape[1] != subject.d_model or not len(rows):
        raise UserError(
            f"vectors of shape {tuple(vectors.shape)} do not fit the residual stream",
            "directions",
            f"give vectors of width {subject.d_model}",
        )
    norms = rows.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all() and torch.isfinite(norms).all()):
        raise UserError("a direction is zero or not finite", "directions", "leave it out")
    _, singular, basis = torch.linalg.svd(rows / norms, full_matrices=False)
    rounding = torch.finfo(vectors.dtype).eps * len(rows)  # linear dependence holds up to this
    kept: Tensor = basis[singular > rounding * singular[0]]
    return kept


class AddKeepingNorm(PositionEdit):
    """x becomes |x| n(n(x) + (1 + max(0, -cos(x, v))) * strength * v), n(.) being normalisation.

    The further an activation points away from the vector, the more is added; a vector of length 1 at strength
    1 weighs as much as the activation itself. After Liu et al. 2023 (In-Context Vectors, arXiv 2311.06668) as
    their code has it, for a vector of length 1; in single precision or wider.

    Raises:
        UserError: the site does not exist, the vector does not fit it, or is not finite.
    """

    def __init__(
        self,
        subject: Subject,
        site: Site,
        vector: Float[Tensor, "*shape"],
        strength: Number = 1.0,
        positions: Positions = "all",
    ) -> None:
        shape = subject.activation_shape(site)
        if tuple(vector.shape) != shape:
            raise UserError(
                f"a vector of shape {tuple(vector.shape)} does not fit {site}",
                "AddKeepingNorm",
                f"give one of shape {shape}",
            )
        if not bool(torch.isfinite(vector).all()):
            raise UserError("the vector is not finite", f"vector added at {site}", "leave it out")
        super().__init__([site], positions)
        self.vector = vector.float()
        self.strength = strength

    def edited(self, activation: Tensor, forward: ForwardPass) -> Tensor:
        """Returns the activation turned towards the vector, at its old norm."""
        wide = activation.to(torch.promote_types(activation.dtype, torch.float32))
        vector = self.vector.to(wide)
        away = (-torch.nn.functional.cosine_similarity(wide, vector, dim=-1)).clamp(min=0)
        added = (1 + away)[..., None] * self.strength * vector
        moved = torch.nn.functional.normalize(wide, dim=-1) + added
        return with_norm_of(wide, moved).to(activation.dtype)

"""A steering vector: where and how it acts, what it was made from, and vector algebra."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.intervene import AddVector, ProjectOut, Replace
from interp.intervene.activations import AddKeepingNorm
from interp.intervene.positions import Named, Positions
from interp.subject.forward import Intervention
from interp.subject.model_names import check_made_for
from interp.subject.site import Site
from interp.subject.subject import Subject

Use = Literal["add", "replace", "norm_preserving", "project_out"]
Number = float | int


@dataclass(frozen=True, eq=False, repr=False)
class Vector:
    """A direction with a length at one site, and how the method that found it uses it.

    `values` are [width], at `head_out` [head, d_head], in single precision. `use` says what is done with it:
    it is added, replaces the activation, is added without a change of norm (in-context vectors), or is
    projected out of all that writes to the residual stream; `positions` says where. `subject` is the name of
    the model it was read from, `provenance` what it was made of.

    `+`, `-` and `*` (by a number) give vectors of the same site, whose name is the expression.

    Raises:
        UserError: a value is not finite.
    """

    name: str
    site: Site
    values: Float[Tensor, "*shape"]
    subject: str
    use: Use = "add"
    positions: Named = "all"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", self.values.detach().float().cpu())
        if not bool(torch.isfinite(self.values).all()):
            raise UserError(
                "a value is not finite", f"vector {self.name}", "look for overflow in its activations"
            )

    def __repr__(self) -> str:
        return f"Vector({self.name!r}, {self.site}, norm {self.norm:.4g}, {self.use} at {self.positions})"

    @property
    def norm(self) -> float:
        """Its Euclidean length, over all heads at `head_out`."""
        return float(self.values.double().norm())

    def __add__(self, other: "Vector") -> "Vector":
        self._check_same_place(other)
        return self._made(f"({self.name} + {other.name})", self.values + other.values, other)

    def __sub__(self, other: "Vector") -> "Vector":
        self._check_same_place(other)
        return self._made(f"({self.name} - {other.name})", self.values - other.values, other)

    def __mul__(self, factor: Number) -> "Vector":
        return self._made(f"{factor:g} * {self.name}", factor * self.values)

    __rmul__ = __mul__

    def __neg__(self) -> "Vector":
        return self._made(f"-{self.name}", -self.values)

    def scaled_to(self, norm: Number) -> "Vector":
        """The same direction at another length.

        Raises:
            UserError: the vector is zero, which has no direction.
        """
        return self._made(f"{self.name} at norm {norm:g}", self.values * (norm / self._length()))

    def cosine(self, other: "Vector") -> float:
        """The cosine of the angle to another vector of the same site.

        Raises:
            UserError: they are of different models, sites or widths, or one is zero.
        """
        self._check_same_place(other)
        dot = float((self.values.double() * other.values.double()).sum())
        return dot / (self._length() * other._length())

    def along(self, other: "Vector") -> "Vector":
        """Its projection on another vector's direction; `a - a.along(b)` is orthogonal to `b`."""
        self._check_same_place(other)
        share = self.norm * self.cosine(other) / other._length() if self.norm else 0.0
        return self._made(f"{self.name} along {other.name}", share * other.values, other)

    def intervention(
        self,
        subject: Subject,
        coefficient: Number = 1.0,
        positions: Positions | None = None,
        check_model: bool = True,
    ) -> Intervention:
        """Makes the intervention that its `use` says, at `coefficient` times its length.

        `check_model=False` accepts a subject of another name (a renamed copy, a fine-tuned model).

        Raises:
            UserError: it was made on another model, the site or the width does not fit the subject, or a
                coefficient other than 1 is given to a vector that replaces or is projected out.
        """
        if check_model:
            self._check_model(subject)
        where = self.positions if positions is None else positions
        if self.use in ("replace", "project_out") and coefficient != 1:
            raise UserError(
                f"{self.name} is {'put in' if self.use == 'replace' else 'taken out'}, which has no strength",
                f"coefficient {coefficient:g}",
                "leave the coefficient at 1",
            )
        if self.use == "replace":
            return Replace(subject, self.site, self.values, where)
        if self.use == "project_out":
            return self.project_out(subject, where, check_model)
        if self.use == "norm_preserving":
            return AddKeepingNorm(subject, self.site, self.values, coefficient, where)
        return AddVector(subject, self.site, self.values, coefficient, where)

    def project_out(
        self, subject: Subject, positions: Positions = "all", check_model: bool = True
    ) -> ProjectOut:
        """Projects its direction out wherever the subject writes to the residual stream.

        Raises:
            UserError: it was made on another model, does not have the residual stream's width, or is zero.
        """
        if check_model:
            self._check_model(subject)
        return ProjectOut(subject, self.values, positions=positions)

    def added(self) -> "Vector":
        """Returns the same vector with `use` "add"."""
        return replace(self, use="add")

    def named(self, name: str) -> "Vector":
        """The same vector under another name."""
        return replace(self, name=name)

    def _check_model(self, subject: Subject) -> None:
        check_made_for("it was made", [self.subject], subject.info, f"vector {self.name}")

    def _length(self) -> float:
        if self.norm == 0:
            raise UserError("a vector of zeros has no direction", f"vector {self.name}", "leave it out")
        return self.norm

    def _check_same_place(self, other: "Vector") -> None:
        mine, others = ((v.site, tuple(v.values.shape), v.subject) for v in (self, other))
        if mine != others:
            raise UserError(
                f"{self.name} ({mine[0]} of {mine[2]}, {mine[1]}) and {other.name} ({others[0]} of "
                f"{others[2]}, {others[1]}) are not of one place",
                "vector algebra",
                "combine vectors of one subject, site and width",
            )

    def _made(self, name: str, values: Tensor, other: "Vector | None" = None) -> "Vector":
        parts = [self] if other is None else [self, other]
        sources = {part.name: dict(part.provenance) for part in parts if "parts" not in part.provenance}
        for part in parts:
            sources |= part.provenance.get("parts", {})
        return replace(self, name=name, values=values, provenance={"expression": name, "parts": sources})

"""Sites: the places of a transformer where activations are read and written."""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator

from interp.errors import UserError
from interp.fields import Word

SiteKind = Literal[
    "embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "head_out"
]
SITE_KINDS: tuple[SiteKind, ...] = get_args(SiteKind)
RESIDUAL_KINDS: tuple[SiteKind, ...] = (
    "embed",
    "resid_pre",
    "resid_mid",
    "resid_post",
    "attn_out",
    "mlp_out",
)
"""The sites whose activations are vectors of the residual stream's space."""

_HOOKS: dict[SiteKind, str] = {
    "embed": "hook_embed",
    "resid_pre": "blocks.{layer}.hook_resid_pre",
    "resid_mid": "blocks.{layer}.hook_resid_mid",
    "resid_post": "blocks.{layer}.hook_resid_post",
    "attn_out": "blocks.{layer}.hook_attn_out",
    "mlp_out": "blocks.{layer}.hook_mlp_out",
    "mlp_post": "blocks.{layer}.mlp.hook_post",
    "head_out": "blocks.{layer}.attn.hook_z",
}
_ORDER: tuple[SiteKind, ...] = (
    "resid_pre", "head_out", "attn_out", "resid_mid", "mlp_post", "mlp_out", "resid_post",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Site:
    """Where to read or write: a kind of activation and the layer (0-based) it belongs to.

    `mlp_post` is the input of the MLP's down projection (for a gated MLP the product of gate and up),
    `head_out` the per-head attention output before the output projection. `embed` has layer 0.

    Raises:
        UserError: the kind is unknown or the layer is negative.
    """

    kind: SiteKind
    layer: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SITE_KINDS:
            raise UserError(f"unknown site kind {self.kind!r}", "site", f"use one of {', '.join(SITE_KINDS)}")
        if self.layer < 0:
            raise UserError(f"layer {self.layer} is negative", f"site {self.kind}", "count layers from 0")

    @property
    def hook_name(self) -> str:
        """The site's name in TransformerLens' `HookedTransformer`."""
        return _HOOKS[self.kind].format(layer=self.layer)

    def before(self, other: "Site") -> bool:
        """Whether a forward pass computes this site's activation before the other's."""
        return self._place < other._place

    @property
    def _place(self) -> tuple[int, int]:
        return (-1, 0) if self.kind == "embed" else (self.layer, _ORDER.index(self.kind))

    def __str__(self) -> str:
        return self.kind if self.kind == "embed" else f"{self.kind}.{self.layer}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Reads what `str(site)` wrote, such as `resid_post.3`."""
        kind, _, layer = text.partition(".")
        if kind not in SITE_KINDS or not (layer.isdecimal() or (kind == "embed" and not layer)):
            raise UserError(
                f"{text!r} is not a site",
                "site",
                f"write KIND.LAYER with KIND one of {', '.join(SITE_KINDS)}",
            )
        return cls(kind, int(layer or 0))


def _parsed(text: str) -> str:
    try:
        Site.parse(text)
    except UserError as error:
        raise ValueError(f"should be a site: {error.thing}; {error.fix}") from None
    return text


SiteName = Annotated[Word, AfterValidator(_parsed)]
"""A site in a config: KIND.LAYER, such as `resid_post.3`."""

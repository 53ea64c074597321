"""The weights that write to the residual stream, whatever a library calls them."""

from dataclasses import dataclass

from torch import nn

from interp.subject.site import Site


@dataclass(frozen=True, eq=False)
class Writer:
    """A matrix whose outputs are vectors of the residual stream.

    `weight` has them along `axis` (0 or -1). `site` is where its output, bias included, appears: for
    embeddings `resid_pre.0`, else `attn_out` or `mlp_out` of its layer. The bias is the parameter `bias` of
    `owner`, None there if the layer has none; `bias` is None for embeddings.
    """

    site: Site
    weight: nn.Parameter
    axis: int
    owner: nn.Module
    bias: str | None

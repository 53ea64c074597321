"""The residual stream from the embedding to the last layer: the axis of every lens."""

from interp.subject.site import Site
from interp.subject.subject import Subject

EMBEDDING = -1
"""The number that stands for the embedding where layers are counted."""


def stream_site(layer: int) -> Site:
    """The residual stream behind a layer; behind the embedding for -1."""
    return Site("resid_pre", 0) if layer == EMBEDDING else Site("resid_post", layer)


def stream(subject: Subject) -> dict[int, Site]:
    """Every place of the residual stream, by layer from -1, in the order of a forward pass."""
    return {layer: stream_site(layer) for layer in range(EMBEDDING, subject.n_layers)}


def layer_of(site: Site) -> int:
    """The layer whose output a site shows; -1 for what the first layer reads."""
    return site.layer - 1 if site.kind in ("resid_pre", "embed") else site.layer

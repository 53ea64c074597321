"""The residual stream from the embedding to the last layer: the axis of every lens."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.lenses.prompt import Prompt
from interp.subject.read_at import read_at
from interp.subject.site import Site
from interp.subject.subject import Subject

Vectors = Mapping[int, Float[Tensor, "item d_model"]]
"""Activations of the residual stream by layer, one for each of some prompts."""

EMBEDDING = -1
"""The number that stands for the embedding where layers are counted."""


def stream_site(layer: int) -> Site:
    """The site of the residual stream after a layer; -1 is the embedding."""
    return Site("resid_pre", 0) if layer == EMBEDDING else Site("resid_post", layer)


def stream_sites(subject: Subject) -> dict[int, Site]:
    """The sites of the residual stream by layer from -1, in the order of a forward pass."""
    return {layer: stream_site(layer) for layer in range(EMBEDDING, subject.n_layers)}


def layer_name(layer: int) -> str:
    """A layer's number; "emb" for the embedding."""
    return "emb" if layer == EMBEDDING else str(layer)


def layer_of(site: Site) -> int:
    """The layer that a site is after; -1 for the input of the first layer."""
    return site.layer - 1 if site.kind in ("resid_pre", "embed") else site.layer


def read_stream(subject: Subject, prompts: Sequence[Prompt]) -> dict[int, Float[Tensor, "item d_model"]]:
    """Reads the residual stream at every prompt's position, by layer from the embedding (-1), in one pass.

    Raises:
        UserError: there is no prompt, or a position is outside of it.
    """
    sites = stream_sites(subject)
    positions = torch.tensor([[prompt.position] for prompt in prompts])
    found = read_at(subject, [prompt.tokens for prompt in prompts], list(sites.values()), positions)
    return {layer: found[site][:, 0] for layer, site in sites.items()}

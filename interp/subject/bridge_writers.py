"""The writers of a bridge: output matrices, and the norms and scales between them and the stream."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.model_bridge.generalized_components import MoEBridge

from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.stored import plain, stored
from interp.subject.writer import Writer

EXPERTS = "down_proj"
"""`transformers`' name of the output matrices of experts: of all in one tensor, or of a shared expert."""


def writers_of(model: Any, architecture: str, dtype: torch.dtype) -> list[Writer]:
    """The embeddings and every layer's output matrices, as `transformers` has them; packed ones as `dtype`.

    Raises:
        UserError: the weights that a layer writes with are not known.
    """
    found = list(_embeddings(model, dtype))
    for layer, block in enumerate(model.blocks):
        for site, part in ((Site("attn_out", layer), "attn"), (Site("mlp_out", layer), "mlp")):
            found += _of_layer(site, block, getattr(block, part, None), architecture, dtype)
    return found


def written_scale(block: Any) -> float:
    """What a block's outputs are multiplied by before they are added to the stream (Granite)."""
    return float(getattr(block, "residual_contribution_scale", 1.0))


def _reading(module: nn.Module, dtype: torch.dtype, name: str = "weight") -> Callable[[], Tensor] | None:
    return None if plain(module, name) else partial(stored, module, dtype, name)


def _embeddings(model: Any, dtype: torch.dtype) -> Iterator[Writer]:
    after = getattr(model, "embed_ln", None)  # BLOOM's
    norm = None if after is None else after.original_component
    for name in ("embed", "pos_embed"):
        if (bridge := getattr(model, name, None)) is not None:
            module = bridge.original_component
            read = _reading(module, dtype)
            yield Writer(Site("resid_pre", 0), module.weight, -1, module, None, norm=norm, read=read)


def _of_layer(site: Site, block: Any, part: Any, architecture: str, dtype: torch.dtype) -> list[Writer]:
    scale, norm = _between(site, block, part, architecture)
    if isinstance(part, MoEBridge):
        found = list(_of_experts(site, part.original_component, scale, norm, dtype))
    else:
        output = getattr(part, "o" if site.kind == "attn_out" else "out", None)
        module = getattr(output, "original_component", None)
        # GPT-2's Conv1D is laid out as x @ W
        axis = -2 if isinstance(module, nn.Linear) else -1
        found = []
        if module is not None:
            read = _reading(module, dtype)
            found = [Writer(site, module.weight, axis, module, "bias", scale, norm, read=read)]
    if not found:
        raise UserError(
            f"it is not known by which weights {architecture} writes {site}",
            f"weights of {architecture}",
            "use interventions, which act on what is written",
        )
    return found


def _of_experts(
    site: Site, module: nn.Module, scale: float, norm: Any, dtype: torch.dtype
) -> Iterator[Writer]:
    """Yields all output matrices of a mixture of experts, that of a shared expert included."""
    for name, parameter in module.named_parameters():
        path = [part for part in name.split(".") if part != "_original_component"]
        owner = module.get_submodule(name.rpartition(".")[0])
        if path[-1] == EXPERTS:  # [expert, d_model, d_mlp], or the other way round
            axis = -1 if getattr(owner, "is_transposed", False) else -2
            bias = f"{EXPERTS}_bias" if hasattr(owner, f"{EXPERTS}_bias") else None
            read = _reading(owner, dtype, EXPERTS)
            yield Writer(site, parameter, axis, owner, bias, scale, norm, routed=True, read=read)
        elif path[-2:] == [EXPERTS, "weight"]:
            read = _reading(owner, dtype)
            yield Writer(site, parameter, -2, owner, "bias", scale, norm, routed=True, read=read)


def _between(
    site: Site, block: Any, part: Any, architecture: str
) -> tuple[float, Callable[[Tensor], Tensor] | None]:
    """Finds the scale or the norm between an output matrix and its site."""
    point = getattr(block, f"hook_{site.kind}", None)
    for component in (part, getattr(part, "o", None), getattr(part, "out", None)):
        if component is not None and component.hook_out is point:
            return 1.0, None
    for component in (getattr(block, name) for name in block.submodules):
        if component.hook_out is point:
            return 1.0, component.original_component
    if (scale := written_scale(block)) != 1:
        return scale, None
    raise UserError(
        f"it is not known what {site} of {architecture} passes before it is added to the residual stream",
        f"weights of {architecture}",
        "use interventions, which act on what is written",
    )

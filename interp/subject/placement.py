"""Where the parts of a model are: device maps as `accelerate` has them, and weights kept off the devices.

A map sends the names of a model's parts (`model.layers.3`, `lm_head`; the empty name is the whole model) to
devices. Parts on `disk`, and on `cpu` beside a GPU, are loaded to a device for each use. TransformerLens'
bridge computes norms from their weights and never calls them, so what is smaller than a matrix stays loaded.
"""

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from interp.device import usable_device
from interp.errors import UserError, similar_names
from interp.fields import CountOrZero, Device, Line
from interp.subject.quiet import quiet

Place = Device | Literal["disk"] | CountOrZero
"""A device, the number of a GPU, or `disk`: read from the model's files for each use."""
DeviceMap = Literal["auto"] | Annotated[dict[Line, Place], Field(min_length=1, max_length=10_000)]
"""`auto` fills the GPUs, then the memory, then leaves weights on the disk; or the place of each part."""
_FIELD = "device_map"


def usable_map(given: str | Mapping[str, str | int], config: Any) -> Any:
    """Checks a device map against a configuration of `transformers`, and gives what `from_pretrained` takes.

    Raises:
        UserError: accelerate is not installed, a device is not usable here, no part of the model has such a
            name, or a part has no place.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise UserError("accelerate cannot be found", _FIELD, "pip install 'interp[quantized]'")
    if isinstance(given, str):
        if given != "auto":
            raise UserError(
                f"{given!r} is no device map", _FIELD, "use auto, or a mapping of parts to devices"
            )
        return given
    for part, place in given.items():
        name = f"cuda:{place}" if isinstance(place, int) else str(place)
        if name != "disk":
            usable_device(name, f"{_FIELD}, {part or 'the whole model'}")
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), quiet():
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    parts = {name for name, _ in model.named_modules()} | {name for name, _ in model.named_parameters()}
    for part in given:
        if part not in parts:
            near = ", ".join(
                similar_names(part, sorted(parts)) or [name for name, _ in model.named_children()]
            )
            raise UserError(
                f"the model has no part {part!r}", _FIELD, f"use names of its parts, such as {near}"
            )
    logging.getLogger("accelerate").setLevel(logging.ERROR)  # it would warn of every part on the disk
    found = dict(_disjoint(model, "", given))
    if getattr(config, "tie_word_embeddings", False):
        _check_tied(model, found)
    return found


def _check_tied(model: Any, places: Mapping[str, str | int]) -> None:
    """Raises UserError if embedding and unembedding, which are one tensor, have two places."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [name for name, module in model.named_modules() if module in ends]
    held = {
        places[part] for name in names for part in places if part in ("", name) or name.startswith(f"{part}.")
    }
    if len(held) > 1:
        raise UserError(
            f"{' and '.join(names)} are the same weights, and have two places",
            _FIELD,
            "give both the same place",
        )


def _disjoint(
    model: nn.Module, name: str, given: Mapping[str, str | int], around: str | int | None = None
) -> Iterator[tuple[str, str | int]]:
    """Splits parts until each has one place: `accelerate` takes no part of a part that has another."""
    place = given.get(name, around)
    if not any(part != name and (name == "" or part.startswith(f"{name}.")) for part in given):
        if place is None:
            raise UserError(
                f"the map gives no place to {name}",
                _FIELD,
                'name all parts, or give "" (all others) a device',
            )
        yield name, place
        return
    module = model.get_submodule(name)
    inner = [*module.named_children(), *module.named_parameters(recurse=False)]
    for child, _ in inner:
        yield from _disjoint(model, f"{name}.{child}" if name else child, given, place)


def keep_small_parts(model: nn.Module) -> None:
    """Loads for good what `accelerate` would load for each use, and is smaller than a matrix: norms."""
    for module in model.modules():
        hook: Any = getattr(module, "_hf_hook", None)
        if getattr(hook, "offload", False) and all(one.ndim < 2 for one in module.parameters(recurse=False)):
            from accelerate.hooks import AlignDevicesHook, add_hook_to_module

            hook.pre_forward(module)
            stays = AlignDevicesHook(
                execution_device=hook.execution_device, io_same_device=hook.io_same_device
            )
            add_hook_to_module(module, stays)


def is_placed(model: nn.Module) -> bool:
    """Whether `accelerate` moves this model's weights or activations, which nothing else may move then."""
    return any(hasattr(module, "_hf_hook") for module in model.modules())


def is_offloaded(module: nn.Module) -> bool:
    """Whether a module's own weights are elsewhere until it is used."""
    return any(one.is_meta for one in module.parameters(recurse=False))


def device_of(module: nn.Module) -> torch.device:
    """Where a module of a loaded model computes."""
    hook = getattr(module, "_hf_hook", None)
    if (found := getattr(hook, "execution_device", None)) is not None:
        return torch.device(f"cuda:{found}" if isinstance(found, int) else found)
    return next(module.parameters()).device


def devices_of(model: nn.Module) -> set[torch.device]:
    """Every device that a loaded model computes on."""
    return {device_of(module) for module in model.modules() if list(module.parameters(recurse=False))}


@contextmanager
def as_if_in_one_place(model: Any) -> Iterator[None]:
    """Within the block a model does not say that `accelerate` has placed it.

    TransformerLens refuses models whose weights are loaded for each use, since it would not find those of the
    norms: `keep_small_parts` has loaded them.
    """
    placed = model.__dict__.pop("hf_device_map", None)
    try:
        yield
    finally:
        if placed is not None:
            model.hf_device_map = placed

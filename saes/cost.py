"""What training a dictionary costs in memory and work, from the sizes alone."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interp.cost import (
    BYTES,
    MemoryPart,
    SpaceSize,
    Stage,
    SubjectShape,
    forward_flops,
    gigabytes,
    pass_part,
    subject_part,
)
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from saes.architecture import TopK
from saes.config import SaeTraining
from saes.memory import available_bytes
from saes.source import SaeConfig
from saes.sparse import available as sparse_step_available
from saes.stream import tokens_at_once

BUFFER, LEARNT = "buffer of activations", "dictionary, gradients, Adam"


def site_width(shape: SubjectShape, site: Site) -> int:
    """Width of an activation at a site; at `head_out` that of all heads concatenated."""
    if site.kind == "mlp_post":
        return shape.d_mlp
    return shape.d_model * (shape.n_heads if site.kind == "head_out" else 1)


def trained_size(shape: SubjectShape, site: Site, config: SaeTraining) -> SpaceSize:
    """The latents of an SAE that is trained at a site."""
    weights = 2 * site_width(shape, site) * config.n_latents
    return SpaceSize(config.n_latents, site.layer, False, weights)


def saved_size(shape: SubjectShape, source: Path | SaeConfig) -> SpaceSize:
    """Guesses an SAE's size from the layer and the width in its name, without reading any file."""
    text = str(source)
    layer = re.search(r"layer_(\d+)|/l(\d+)[a-z]_|blocks\.(\d+)", text)
    width = re.search(r"width_(\d+)(k|m)", text)
    expansion = re.search(r"_(\d+)x", text)
    n = 32 * shape.d_model
    if width:
        n = int(width[1]) * (1024 if width[2] == "k" else 1024**2)
    elif expansion:
        n = int(expansion[1]) * shape.d_model
    at = int(next(group for group in layer.groups() if group)) if layer else shape.n_layers - 1
    return SpaceSize(n, at, False, 2 * shape.d_model * n)


def training_stage(shape: SubjectShape, dtype: str, site: Site, config: SaeTraining, device: str) -> Stage:
    """Training one dictionary at a site.

    A weight has a gradient and Adam's two moments. A dense step holds about five tensors [batch, latent]
    (before and after the activation function, with gradients and for the loss of dead latents), a sparse one
    (top-k on a CPU) two. A step is 12 operations a weight and token, forward and backward through encoder and
    decoder; a sparse one 4, since only the encoder's forward pass is dense.
    """
    sparse = isinstance(config.architecture, TopK) and sparse_step_available(device, config.dtype)
    size, width = BYTES[config.dtype], site_width(shape, site)
    weights = 2 * width * config.n_latents
    held = 2 if sparse else 5
    reading = pass_part(shape, dtype, tokens_at_once(device), config.context_size, "sae.context_size")
    learning = MemoryPart(
        "latents of a training step",
        held * config.batch_tokens * config.n_latents * size,
        "sae.batch_tokens or sae.n_latents",
    )
    parts = (
        subject_part(shape, dtype),
        max(reading, learning, key=lambda part: part.bytes),  # one after the other
        MemoryPart(BUFFER, 2 * config.buffer_tokens * width * 4, "sae.buffer_tokens"),
        MemoryPart(LEARNT, 4 * weights * size, "sae.n_latents or sae.dtype: bfloat16"),
    )
    step = (4.0 if sparse else 12.0) * width * config.n_latents
    tokens = config.n_steps * config.batch_tokens
    optimiser = 10.0 * weights * size * config.n_steps
    return Stage(
        "train the SAE",
        parts,
        tokens * (forward_flops(shape, site.layer + 1) + step),
        optimiser + tokens * held * config.n_latents * size,
    )


def together(stages: Sequence[Stage], n_sites: int) -> Stage:
    """Training several dictionaries in one pass over the text: all of them and all buffers are held."""
    parts: dict[str, MemoryPart] = {}
    for part in (part for stage in stages for part in stage.parts):
        before = parts.get(part.what, MemoryPart(part.what, 0, part.lower))
        size = before.bytes + part.bytes if part.what == LEARNT else max(before.bytes, part.bytes)
        parts[part.what] = replace(part, bytes=size)
    parts[BUFFER] = replace(parts[BUFFER], bytes=n_sites * parts[BUFFER].bytes)
    work, moved = sum(stage.flops for stage in stages), sum(stage.moved for stage in stages)
    return Stage(f"train {len(stages)} dictionaries", tuple(parts.values()), work, moved)


def check_fits(stage: Stage, device: str, already: int = 0) -> None:
    """Raises UserError, naming what to lower, if a stage needs more memory than the device has left.

    `already` are the bytes of the stage that are in use by now, such as by a loaded subject.
    """
    free = available_bytes(device)
    needed = stage.bytes - already
    if free is None or needed <= free:
        return
    largest = sorted(stage.parts, key=lambda part: -part.bytes)[:2]
    listed = ", ".join(f"{part.what} {gigabytes(part.bytes)}" for part in stage.parts)
    raise UserError(
        f"to {stage.name} takes about {gigabytes(needed)} more, and {device} has {gigabytes(free)} left",
        f"memory ({listed})",
        f"lower {largest[0].lower}" + (f", then {largest[1].lower}" if largest[1].bytes else ""),
    )


def check_training_fits(subject: Subject, site: Site, config: SaeTraining) -> None:
    """Raises UserError, saying what to lower, if training clearly cannot fit beside the loaded subject."""
    shape = SubjectShape(
        name=subject.name,
        n_layers=subject.n_layers,
        d_model=subject.d_model,
        d_mlp=subject.d_mlp,
        n_heads=subject.n_heads,
        d_vocab=subject.d_vocab,
        backend=subject.backend,
    )
    dtype, device = str(subject.dtype).removeprefix("torch."), str(subject.device)
    check_fits(training_stage(shape, dtype, site, config, device), device)

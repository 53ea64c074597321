"""What training a dictionary costs in memory and work, from the sizes alone."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from interp.corpus.activations import ActivationsConfig
from interp.cost import (
    BYTES,
    Amount,
    DiskPart,
    MemoryPart,
    RateName,
    SpaceSize,
    Stage,
    SubjectShape,
    TextSize,
    forward_flops,
    gigabytes,
    pass_part,
    subject_part,
)
from interp.document import SHARES
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.subject.unembedding import LOGITS_AT_ONCE
from saes.architecture import TopK
from saes.config import SaeTraining
from saes.evaluation import LOSS_LOGITS
from saes.memory import available_bytes
from saes.source import SaeConfig
from saes.sparse import available as sparse_step_available
from saes.stream import tokens_at_once

DEARER = {"batchtopk": 2.1, "gated": 1.9, "jumprelu": 1.4, "matryoshka": 2.6}
"""How much longer a dense step of a kind takes than the standard one, 128 to 1,024, one measurement each
(benchmarks/RESULTS.md, SAE training, 2026-11-25)."""
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


def training_stage(
    shape: SubjectShape,
    dtype: str,
    site: Site,
    config: SaeTraining,
    device: str,
    text: TextSize | None = None,
) -> Stage:
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
    step = step_flops(width, config, sparse)
    tokens = config.n_steps * config.batch_tokens
    optimiser = 10.0 * weights * size * config.n_steps
    every = config.checkpoint_every_steps
    checkpoint = 3 * weights * size
    saves = -(-config.n_steps // every) if every else 0
    learn: RateName = "learn_sparse" if sparse else "learn"
    row = (text or TextSize(tokens)).row_tokens(config.context_size)
    return Stage(
        "train the SAE",
        parts,
        (
            *(text.making(tokens / SHARES["explain"]) if text else ()),
            ("forward", tokens * (1 + 1 / row) * forward_flops(shape, site.layer + 1)),
            (learn, tokens * step),
            ("device_memory", optimiser),
            ("disk", float(saves * checkpoint + weights * size)),
        ),
        (
            DiskPart("SAEs", weights * size + config.n_latents * size),
            DiskPart("checkpoint", checkpoint if saves else 0, stays=False),
        ),
    )


def step_flops(width: int, config: SaeTraining, sparse: bool) -> Amount:
    """Operations of a training step, for one token; of kinds that take longer, as many more."""
    return (4.0 if sparse else 12.0 * DEARER.get(config.architecture.kind, 1.0)) * width * config.n_latents


def evaluation_stage(
    shape: SubjectShape,
    dtype: str,
    site: Site,
    config: SaeTraining,
    tokens: int = 20_000,
    loss_tokens: int | None = None,
    text: TextSize | None = None,
) -> Stage:
    """Measuring a dictionary: one pass for its figures, four with logits for the losses.

    While it was trained, a few documents were run every `evaluate_every_steps`, which is counted here, too.
    """
    most = loss_tokens or max(1, LOSS_LOGITS // shape.d_vocab)
    if text is not None:
        tokens = min(tokens, int(0.3 * text.tokens))
    losses = min(most, tokens)
    probes = config.n_steps // config.evaluate_every_steps if config.evaluate_every_steps else 0
    probed = min(4096, max(1, most // 4)) * (probes + 2 if probes else 0)
    row = (text or TextSize(tokens)).row_tokens(config.context_size)
    coded = 4.0 * site_width(shape, site) * config.n_latents
    whole, part = forward_flops(shape, shape.n_layers, logits=True), forward_flops(shape, site.layer + 1)
    work = (1 + 1 / row) * (tokens * part + (4 * losses + probed) * whole)
    parts = (
        subject_part(shape, dtype),
        pass_part(shape, dtype, 4096, config.context_size, "sae.context_size"),
        MemoryPart(
            "logits of a block", 6 * 4 * min(LOGITS_AT_ONCE, losses * shape.d_vocab), "the vocabulary"
        ),
        MemoryPart("latents of a batch", 2 * 4 * 4096 * config.n_latents, "sae.n_latents"),
        MemoryPart("dictionary", 2 * 4 * site_width(shape, site) * config.n_latents, "sae.n_latents"),
    )
    return Stage(
        "measure the SAE",
        parts,
        (
            *(text.making((tokens + losses) / SHARES["report"]) if text else ()),
            ("forward", work + (tokens + 2 * losses + probed) * coded),
        ),
    )


def kept_part(
    shape: SubjectShape, sites: Sequence[Site], config: ActivationsConfig | None, text: TextSize
) -> DiskPart:
    """Activations of some sites that are kept on disk, as many as fit; of all tokens without a config."""
    number = BYTES[config.dtype] if config is not None else BYTES["bfloat16"]
    each = 16 + number * sum(site_width(shape, site) for site in set(sites))
    whole = each * text.tokens
    return DiskPart("activations", whole if config is None else min(whole, config.keep))


def reading_kept(stage: Stage, share: Amount, first: bool) -> Stage:
    """Training that reads a `share` of its activations from disk: each token is computed once at most.

    `first`: nobody has read the text before, so that the first time it is computed.
    """
    work = [
        (rate, amount * (1 - share) if rate in ("forward", "generated") else amount)
        for rate, amount in stage.work
    ]
    return stage if first else replace(stage, work=tuple(work))


def together(stages: Sequence[Stage], n_sites: int) -> Stage:
    """Training several dictionaries in one pass over the text: all of them and all buffers are held."""
    parts: dict[str, MemoryPart] = {}
    for part in (part for stage in stages for part in stage.parts):
        before = parts.get(part.what, MemoryPart(part.what, 0, part.lower))
        size = before.bytes + part.bytes if part.what == LEARNT else max(before.bytes, part.bytes)
        parts[part.what] = replace(part, bytes=size)
    parts[BUFFER] = replace(parts[BUFFER], bytes=n_sites * parts[BUFFER].bytes)
    reading = max(stage.amount("forward") for stage in stages)
    learning = [one for stage in stages for one in stage.work if one[0] != "forward"]
    disk = [part for stage in stages for part in stage.disk]
    return Stage(
        f"train {len(stages)} dictionaries",
        tuple(parts.values()),
        (("forward", reading), *learning),
        tuple(
            DiskPart(what, sum(one.bytes for one in disk if one.what == what), stays)
            for what, stays in dict.fromkeys((one.what, one.stays) for one in disk)
        ),
    )


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

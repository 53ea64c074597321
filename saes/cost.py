"""What training a dictionary costs in memory and work, from the sizes alone."""

from dataclasses import dataclass

from interp.errors import UserError
from interp.held import Part, gigabytes
from interp.subject.shape import SubjectShape
from interp.subject.site import Site
from interp.subject.subject import Subject
from saes.architecture import TopK
from saes.config import SaeTraining
from saes.memory import available_bytes
from saes.sparse import available as sparse_step_available
from saes.stream import activation_width, tokens_at_once

BYTES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Stage:
    """One stage of a run: what it holds at its peak, and its work.

    `flops` are floating-point operations of matrix products, `moved` the bytes that are read and written
    around them by operations that compute little, in the machine's memory (`on_host`) or the device's.
    """

    name: str
    parts: tuple[Part, ...]
    flops: float
    moved: float = 0.0
    on_host: bool = False

    @property
    def bytes(self) -> int:
        """The peak."""
        return sum(part.bytes for part in self.parts)


def subject_part(shape: SubjectShape, dtype: str) -> Part:
    """The subject's weights."""
    return Part("subject's weights", shape.n_parameters * BYTES[dtype], "subject.dtype or a smaller model")


def loading_stage(shape: SubjectShape, dtype: str, backend: str) -> Stage:
    """Loading. For `hooked`, what `transformers` read is there until its weights are converted, so twice."""
    weights = shape.n_parameters * BYTES[dtype]
    again = Part("weights before their conversion", weights, "it to nothing with subject.backend: bridge")
    converted = (shape.backend if backend == "auto" else backend) == "hooked"
    parts = (subject_part(shape, dtype), again) if converted else (subject_part(shape, dtype),)
    return Stage("load the subject", parts, 0.0, 4.0 * weights, True)


def pass_part(shape: SubjectShape, dtype: str, tokens: int, context_size: int, key: str) -> Part:
    """Activations of one layer of a forward pass: residual stream, gated MLP, attention patterns."""
    floats = 6 * shape.d_model + 4 * shape.d_mlp + 3 * shape.n_heads * context_size
    return Part("activations of a forward pass", tokens * floats * BYTES[dtype], key)


def forward_flops(shape: SubjectShape, layers: int) -> float:
    """Operations of a forward pass through the first `layers` layers, for one token (without attention's)."""
    return 2.0 * shape.n_block_parameters * layers


def training_stage(
    shape: SubjectShape, dtype: str, layer: int, width: int, config: SaeTraining, device: str
) -> Stage:
    """Training one dictionary of `width` inputs at a site of this layer.

    A weight has a gradient and Adam's two moments. A dense step holds about five tensors [batch, latent]
    (before and after the activation function, with gradients and for the loss of dead latents), a sparse one
    (top-k on a CPU) two. A step is 12 operations a weight and token, forward and backward through encoder and
    decoder; a sparse one 4, since only the encoder's forward pass is dense.
    """
    sparse = isinstance(config.architecture, TopK) and sparse_step_available(device, config.dtype)
    size = BYTES[config.dtype]
    weights = 2 * width * config.n_latents
    held = 2 if sparse else 5
    reading = pass_part(shape, dtype, tokens_at_once(device), config.context_size, "sae.context_size")
    learning = Part(
        "latents of a training step",
        held * config.batch_tokens * config.n_latents * size,
        "sae.batch_tokens or sae.n_latents",
    )
    parts = (
        subject_part(shape, dtype),
        max(reading, learning, key=lambda part: part.bytes),  # one after the other
        Part("buffer of activations", 2 * config.buffer_tokens * width * 4, "sae.buffer_tokens"),
        Part("dictionary, gradients, Adam", 4 * weights * size, "sae.n_latents or sae.dtype: bfloat16"),
    )
    step = (4.0 if sparse else 12.0) * width * config.n_latents
    tokens = config.n_steps * config.batch_tokens
    optimiser = 10.0 * weights * size * config.n_steps
    return Stage(
        "train the SAE",
        parts,
        tokens * (forward_flops(shape, layer + 1) + step),
        optimiser + tokens * held * config.n_latents * size,
    )


def check_fits(stage: Stage, device: str, already: int = 0) -> None:
    """Raises UserError, naming what to lower, if a stage needs more memory than the device has left.

    `already` are bytes of the stage that are held by now (a subject that is loaded).
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
    n_blocks = subject.n_layers
    shape = SubjectShape(
        name=subject.name,
        n_parameters=0,
        n_block_parameters=0,
        n_layers=n_blocks,
        d_model=subject.d_model,
        d_mlp=subject.d_mlp,
        n_heads=subject.n_heads,
        d_vocab=subject.d_vocab,
        backend=subject.backend,
    )
    dtype = str(subject.dtype).removeprefix("torch.")
    width, device = activation_width(subject, site), str(subject.device)
    check_fits(training_stage(shape, dtype, site.layer, width, config, device), device)

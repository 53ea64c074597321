"""What a config will cost before it runs: memory at the peak of each stage, and a rough time."""

import time
from dataclasses import dataclass
from typing import Any

from interp.config import ExperimentConfig
from interp.cost import Stage, SubjectShape, gigabytes, loading_stage, machine_bytes
from interp.errors import UserError
from interp.fields import sections

REACHED = 0.4
"""Share of the rate of one large matrix product that a whole forward pass reaches."""


@dataclass(frozen=True)
class Machine:
    """Rates: operations and bytes a second of the device, bytes a second of the machine's own memory."""

    flops: float
    device_bandwidth: float
    bandwidth: float

    @classmethod
    def of(cls, flops: float, bandwidth: float) -> "Machine":
        """A device of which only the rate of matrix products is known.

        Devices from laptops to accelerators move about 0.05 bytes in the time of one float32 operation.
        """
        return cls(flops, 0.05 * flops, bandwidth)


@dataclass(frozen=True)
class Cost:
    """The stages of a run with their costs, and the number of tokens they read."""

    stages: tuple[Stage, ...]
    tokens: int

    @property
    def bytes(self) -> int:
        """Bytes at the peak of the whole run."""
        return max(stage.bytes for stage in self.stages)

    def seconds(self, machine: Machine, stage: Stage | None = None) -> float:
        """Rough time on a machine, of one stage or of all.

        Describing, scoring and pages are not counted: they do not grow with the model.
        """
        return sum(
            one.flops / (REACHED * machine.flops)
            + one.moved / (machine.bandwidth if one.on_host else machine.device_bandwidth)
            for one in (self.stages if stage is None else (stage,))
        )


def measured_machine(device: str = "cpu", dtype: str = "float32") -> Machine:
    """The rates of this machine, measured in about a second: a matrix product and a copy."""
    import torch

    size = 1024 if device == "cpu" else 8192
    kind: torch.dtype = getattr(torch, dtype)
    a = torch.randn(size, size, device=device).to(kind)

    def best(work: Any) -> float:
        seconds = []
        for _ in range(4):
            began = time.perf_counter()
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    # Mined activations are taken in on the CPU, whatever the subject's device is.
    target = torch.empty(16 * 1024 * 1024)
    source = torch.zeros_like(target)
    bandwidth = 8.0 * target.numel() / best(lambda: target.copy_(source))
    flops = 2.0 * size**3 / best(lambda: a @ a)
    return Machine(flops, bandwidth, bandwidth) if device == "cpu" else Machine.of(flops, bandwidth)


def estimate(config: ExperimentConfig, tokens: int | None = None) -> Cost:
    """Estimates the cost of a config: of loading its subject, and of its stages.

    `tokens` is the size of the corpus; if left out, it is taken from the config (a text file: its size over
    4 bytes a token). Reads nothing but configurations.

    Raises:
        UserError: the config has no subject, or the size of its corpus is not known.
    """
    from interp.subject.shape import subject_shape

    options = getattr(config, "subject", None)
    if options is None:
        raise UserError("this config has no subject", config.experiment, "estimate one that reads a model")
    shape = subject_shape(options.name)
    corpus = getattr(config, "corpus", None)
    size = tokens or (None if corpus is None else corpus.n_tokens())
    if size is None:
        raise UserError(
            "the size of the corpus is not known", "corpus", "say how many tokens it has: --tokens 1000000"
        )
    loading = loading_stage(shape, options.dtype, options.backend)
    return Cost((loading, *config.stages(shape, size)), size)


def check_memory(config: ExperimentConfig, machine: int | None = None) -> None:
    """Raises UserError, naming what to lower, if a stage of a config needs more memory than the machine has.

    The need is computed from sizes alone, before anything is read or written; the subject's own weights are
    not counted. `machine` is the memory in bytes, by default this machine's.
    """
    has = machine_bytes() if machine is None else machine
    if has is None:
        return
    held = [(key, stage) for key, section in sections(config) if (stage := section.stage()) is not None]
    for key, stage in (*held, *(("memory", stage) for stage in config.stages(_sizes(config), 1))):
        if stage.bytes <= has:
            continue
        most = max(stage.parts, key=lambda part: part.bytes)
        raise UserError(
            f"to {stage.name} takes about {gigabytes(stage.bytes)}, and this machine has {gigabytes(has)}",
            f"{key} ({most.what}: {gigabytes(most.bytes)})",
            f"lower {most.lower}",
        )


def _sizes(config: ExperimentConfig) -> SubjectShape:
    """The sizes of a config's subject, without reading weights; the smallest possible without a subject."""
    options = getattr(config, "subject", None)
    if options is None:
        return SubjectShape()
    from interp.subject.folder import subject_info

    info = subject_info(options.name)
    return SubjectShape(
        name=info.name,
        n_layers=info.n_layers,
        d_model=info.d_model,
        d_mlp=info.d_mlp,
        n_heads=info.n_heads,
        d_vocab=info.d_vocab,
    )

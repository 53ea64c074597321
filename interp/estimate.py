"""What a config will cost before it runs: memory at the peak of each stage, and a rough time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interp.bundled.world.corpus import WorldCorpus
from interp.corpus.source import TextSource, WorldSource
from interp.document import SPLITS
from interp.errors import UserError
from interp.fields import Section, sections
from interp.held import Part, gigabytes, machine_bytes
from interp.mining.config import MiningConfig
from interp.mining.extremes import N_SAMPLES
from interp.subject.folder import subject_info
from interp.subject.shape import SubjectShape, subject_shape
from interp.subject.site import Site
from saes.config import SaeTraining
from saes.cost import Stage, forward_flops, loading_stage, pass_part, subject_part, training_stage
from saes.source import SaeConfig

BYTES_A_TOKEN = 4.0
"""Of English text, with the vocabularies of the models that are usual."""
REACHED = 0.4
"""Share of the rate of one large matrix product that a whole pass reaches, with all that is around it."""


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
class Estimate:
    """The stages of a run that cost anything, and the text they read."""

    stages: tuple[Stage, ...]
    tokens: int

    @property
    def bytes(self) -> int:
        """The peak of the whole run."""
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


def estimate(config: Any, tokens: int | None = None, device: str = "cpu") -> Estimate:
    """The cost of a config: of loading its subject, training its SAE, and mining its features.

    `tokens` is the size of the corpus; if left out, it is taken from the config (a text file: its size over
    4 bytes a token). Reads nothing but configurations.

    Raises:
        UserError: the config has no subject, or the size of its corpus cannot be told.
    """
    options = getattr(config, "subject", None)
    if options is None:
        raise UserError("this config has no subject", config.experiment, "estimate one that reads a model")
    shape = subject_shape(options.name)
    size = tokens or _corpus_tokens(getattr(config, "corpus", None))
    stages = [loading_stage(shape, options.dtype, options.backend)]
    training, site = _training(config)
    if training is not None:
        stages.append(
            training_stage(
                shape, options.dtype, site.layer, _width(shape, site), training, options.device or device
            )
        )
    mining: MiningConfig = getattr(config, "mining", None) or MiningConfig()
    stages += [
        mining_stage(shape, options.dtype, group, mining, size) for group in _features(config, shape) if group
    ]
    return Estimate(tuple(stages), size)


@dataclass(frozen=True)
class Features:
    """A space to mine: how many features, of which layer, with one polarity or two, and the SAE's weights."""

    n: int
    layer: int
    signed: bool
    weights: int = 0


def check_memory(config: Section, machine: int | None = None) -> None:
    """Raises UserError, naming what to lower, if a part of a config needs more memory than the machine has.

    What is held is told from sizes alone, so that it can be said before anything is read or written; the
    subject's own weights are not counted. `machine` is the memory in bytes, this machine's if left out.
    """
    has = machine_bytes() if machine is None else machine
    if has is None:
        return
    shape, options = _sizes(config), getattr(config, "subject", None)
    dtype = "float32" if options is None else options.dtype
    for key, section in sections(config):
        stage = _stage(section, shape, dtype, config)
        if stage is None or stage.bytes <= has:
            continue
        most = max(stage.parts, key=lambda part: part.bytes)
        raise UserError(
            f"to {stage.name} takes about {gigabytes(stage.bytes)}, and this machine has {gigabytes(has)}",
            f"{key or 'the config'} ({most.what}: {gigabytes(most.bytes)})",
            f"lower {most.lower}",
        )


def _sizes(config: Section) -> SubjectShape:
    """The sizes of a config's subject without its weights; without a subject, the least there can be."""
    options = getattr(config, "subject", None)
    if options is None:
        return SubjectShape("", 0, 0, 1, 1, 1, 1, 1, "bridge")
    info = subject_info(options.name)
    return SubjectShape(
        info.name, 0, 0, info.n_layers, info.d_model, info.d_mlp, info.n_heads, info.d_vocab, "bridge"
    )


def _stage(section: Section, shape: SubjectShape, dtype: str, config: Section) -> Stage | None:
    """What a section makes a run hold; None if that is little whatever its values are."""
    if isinstance(section, SaeTraining):
        return training_stage(shape, dtype, 0, shape.d_model, section, "cpu")
    if isinstance(section, MiningConfig):
        groups = [group for group in _features(config, shape) if group] or [_neurons(shape)]
        return max(
            (mining_stage(shape, dtype, group, section, 1) for group in groups), key=lambda one: one.bytes
        )
    if isinstance(section, WorldSource):
        order = Part("the documents' order", 44 * section.documents, "documents")
        return Stage("read the corpus", (order,), 0.0)
    held = getattr(section, "held", None)
    return None if held is None else Stage("train the model", held(), 0.0)


def _neurons(shape: SubjectShape) -> list[Features]:
    return [Features(shape.d_mlp, layer, True) for layer in range(shape.n_layers)]


def mining_stage(
    shape: SubjectShape, dtype: str, spaces: Sequence[Features], config: MiningConfig, tokens: int
) -> Stage:
    """Mining these spaces in one pass over `tokens` tokens; what is kept is in the machine's memory."""
    lines = sum(space.n * (2 if space.signed else 1) for space in spaces)
    features = sum(space.n for space in spaces)
    windows = sum(map(config.top_windows.of, SPLITS)) * 28
    windows += config.top_windows.explain * config.context_size * 2
    kept = lines * (windows + 4 * (1 + N_SAMPLES) * config.extreme_tokens + 3 * 2 * config.sampled_rows)
    kept += features * 3 * 2 * config.sampled_tokens
    widest = max(space.n for space in spaces)
    parts = (
        subject_part(shape, dtype),
        pass_part(shape, dtype, config.tokens_per_batch, config.context_size, "mining.tokens_per_batch"),
        Part("SAEs and directions", sum(space.weights for space in spaces) * 4, "the number of SAEs"),
        Part(
            "activations of the widest space",
            4 * config.tokens_per_batch * widest * 4,
            "mining.tokens_per_batch",
        ),
        Part(
            "exemplars and samples (in the machine's memory)",
            kept,
            "mining.sampled_tokens, mining.top_windows or the features",
        ),
    )
    reading = sum(float(space.weights) for space in spaces)
    layers = 1 + max(space.layer for space in spaces)
    moved = 12.0 * features * 4 * tokens  # passes over the activations while their statistics are taken
    return Stage(
        f"mine {features:,} features",
        parts,
        tokens * (forward_flops(shape, layers) + reading),
        moved,
        on_host=True,
    )


def _features(config: Any, shape: SubjectShape) -> list[list[Features]]:
    """The groups of spaces that are mined together, as the experiments do it."""

    def neurons(layers: Sequence[int]) -> list[Features]:
        return [Features(shape.d_mlp, layer, True) for layer in layers]

    everywhere = range(shape.n_layers)
    spaces = getattr(config, "spaces", None)
    if spaces is not None:
        chosen = everywhere if spaces.neurons is True else spaces.neurons or ()
        return [neurons(chosen) + [_dictionary(one, shape) for one in spaces.saes]]
    training, site = _training(config)
    width = _width(shape, site)
    if training is not None:
        trained = [Features(training.n_latents, site.layer, False, 2 * width * training.n_latents)]
    else:
        trained = [_dictionary(source, shape) for source in getattr(config, "saes", ())]
    if not trained:
        return []
    random = [Features(one.n, one.layer, True, shape.d_model * one.n) for one in trained]
    if not hasattr(config, "baselines"):
        return [neurons(everywhere), trained + random]
    principal = [Features(shape.d_model, one.layer, True, shape.d_model**2) for one in trained]
    around = neurons(everywhere if config.neurons == "all" else [one.layer for one in trained])
    return [
        trained
        + around
        + (random if "random" in config.baselines else [])
        + (principal if "pca" in config.baselines else [])
    ]


def _training(config: Any) -> tuple[SaeTraining | None, Site]:
    found = getattr(config, "sae", None)
    site = getattr(config, "sae_site", None) or getattr(config, "site", None) or "resid_post.0"
    trains = isinstance(found, SaeTraining) and not getattr(config, "saes", ())
    return found if trains else None, Site.parse(str(site))


def _dictionary(source: Any, shape: SubjectShape) -> Features:
    """What a folder or a release says of its size without its weights: layer and width stand in the names."""
    import re

    text = f"{source.release}/{source.id}" if isinstance(source, SaeConfig) else str(source)
    layer = re.search(r"layer_(\d+)|/l(\d+)[a-z]_|blocks\.(\d+)", text)
    width = re.search(r"width_(\d+)(k|m)", text)
    expansion = re.search(r"_(\d+)x", text)
    n = 32 * shape.d_model
    if width:
        n = int(width[1]) * (1024 if width[2] == "k" else 1024**2)
    elif expansion:
        n = int(expansion[1]) * shape.d_model
    at = int(next(group for group in layer.groups() if group)) if layer else shape.n_layers - 1
    return Features(n, at, False, 2 * shape.d_model * n)


def _width(shape: SubjectShape, site: Site) -> int:
    return shape.d_mlp if site.kind == "mlp_post" else shape.d_model


def _corpus_tokens(source: Any) -> int:
    if isinstance(source, WorldSource):
        corpus = WorldCorpus(source.seed, source.documents)
        some = range(0, len(corpus), max(1, len(corpus) // 200))
        return int(len(corpus) * sum(len(corpus[i].tokens) for i in some) / len(some))
    if isinstance(source, TextSource) and source.path.is_file():
        return int(source.path.stat().st_size / BYTES_A_TOKEN)
    raise UserError(
        "the size of the corpus cannot be told", "corpus", "say how many tokens it has: --tokens 1000000"
    )

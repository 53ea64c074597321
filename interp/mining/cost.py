"""Estimates the memory and work of mining from sizes alone."""

from collections.abc import Sequence

from interp.cost import MemoryPart, SpaceSize, Stage, SubjectShape, forward_flops, pass_part, subject_part
from interp.document import SPLITS
from interp.mining.config import MiningConfig
from interp.mining.extremes import N_SAMPLES


def mining_stage(
    shape: SubjectShape, dtype: str, spaces: Sequence[SpaceSize], config: MiningConfig, tokens: int
) -> Stage:
    """Returns the cost of mining spaces in one pass over `tokens` tokens; results are in host memory."""
    lines = sum(space.n_features * (2 if space.signed else 1) for space in spaces)
    features = sum(space.n_features for space in spaces)
    windows = sum(map(config.top_windows.of, SPLITS)) * 28
    windows += config.top_windows.explain * config.context_size * 2
    kept = lines * (windows + 4 * (1 + N_SAMPLES) * config.extreme_tokens + 3 * 2 * config.sampled_rows)
    kept += features * 3 * 2 * config.sampled_tokens
    widest = max(space.n_features for space in spaces)
    parts = (
        subject_part(shape, dtype),
        pass_part(shape, dtype, config.tokens_per_batch, config.context_size, "mining.tokens_per_batch"),
        MemoryPart("SAEs and directions", sum(space.weights for space in spaces) * 4, "the number of SAEs"),
        MemoryPart(
            "activations of the widest space",
            4 * config.tokens_per_batch * widest * 4,
            "mining.tokens_per_batch",
        ),
        MemoryPart(
            "exemplars and samples (in the machine's memory)",
            kept,
            "mining.sampled_tokens, mining.top_windows or the features",
        ),
    )
    reading = sum(float(space.weights) for space in spaces)
    layers = 1 + max(space.layer for space in spaces)
    moved = 12.0 * features * 4 * tokens  # passes over the activations while their statistics are taken
    work = tokens * (forward_flops(shape, layers) + reading)
    return Stage(f"mine {features:,} features", parts, work, moved, on_host=True)

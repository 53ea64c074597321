"""Estimates the memory, work and disk of mining from sizes alone."""

from collections.abc import Sequence
from math import log

from interp.cost import (
    Amount,
    DiskPart,
    MemoryPart,
    SpaceSize,
    Stage,
    SubjectShape,
    TextSize,
    deepest,
    forward_flops,
    pass_part,
    subject_part,
)
from interp.document import SHARES, SPLITS
from interp.mining.config import MiningConfig
from interp.mining.extremes import N_SAMPLES
from interp.mining.store import disk_bytes


def mining_stage(
    shape: SubjectShape,
    dtype: str,
    spaces: Sequence[SpaceSize],
    config: MiningConfig,
    text: TextSize,
    token_samples: bool = True,
) -> Stage:
    """Returns the cost of mining spaces in one pass over a text.

    Work beside the pass: every activation is taken in (`mined`), and every window that enters a feature's
    strongest is laid there (`entered`), on the device where the activations are: about k (1 + log(n / k))
    of n rows in random order.
    """
    lines = sum(space.lines for space in spaces)
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
            "exemplars and samples",
            kept,
            "mining.sampled_tokens, mining.top_windows or the features",
        ),
    )
    reading = 2.0 * sum(float(space.weights) for space in spaces) / 2  # of an SAE half the weights encode
    work = text.positions(config.context_size) * (forward_flops(shape, deepest(spaces)) + reading)
    entered = lines * sum(
        entered_windows(config.top_windows.of(split), share * text.n_rows(config.context_size))
        for split, share in SHARES.items()
    )
    disk = [DiskPart("exemplars", sum(disk_bytes(s.n_features, s.signed, config) for s in spaces))]
    if token_samples:
        sampled = sum(min(config.sampled_tokens, share * text.tokens) for share in SHARES.values())
        disk.append(DiskPart("token samples", int(sampled * (2 * features + 8 * len(spaces)))))
    return Stage(
        f"mine {features:,} features",
        parts,
        (
            *text.making(text.tokens),
            ("forward", work),
            ("mined", float(features) * text.tokens),
            ("entered", entered),
            ("read_out", features * sampled_values(config, text.tokens, text.n_rows(config.context_size))),
            ("disk", float(sum(part.bytes for part in disk))),
        ),
        tuple(disk),
        shards=True,
    )


def sampled_values(config: MiningConfig, tokens: Amount, rows: Amount) -> Amount:
    """Activations of one feature that are sampled in all splits: tokens, and rows' peaks on both sides."""
    return sum(
        min(config.sampled_tokens, share * tokens) + 2 * min(config.sampled_rows, share * rows)
        for share in SHARES.values()
    )


def entered_windows(k: int, rows: Amount) -> Amount:
    """Windows that enter the strongest `k` of so many rows, in random order."""
    return float(rows) if rows <= k else k * (1 + log(rows / k))

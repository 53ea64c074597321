"""The training loop: one stream of activations, read once for one dictionary or for several."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.track.progress import Progress, silent
from saes.config import SaeTraining
from saes.fitting import Advance, Evaluate, Fitting, Log, Trained
from saes.stream import Source

Read = Callable[[int], tuple[Sequence[Sequence[Tensor]], int]]
"""Reads the buffer at a cursor: gives each dictionary's tensors of it, and the next buffer's cursor."""


def fit(
    config: SaeTraining,
    source: Source,
    *,
    device: str = "cpu",
    metadata: dict[str, Any] | None = None,
    checkpoint: Path | None = None,
    log: Log | None = None,
    evaluate: Evaluate | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains an SAE on a source of activations; continues from `checkpoint` if that file exists.

    The same settings and source give the same bits, also if training was killed and continued. `Fitting`
    lists what is logged.

    Raises:
        UserError: the checkpoint is damaged or belongs to other settings; the source is empty; the loss is no
            longer finite.
    """
    fitting = Fitting(
        config,
        [source.width],
        device=device,
        metadata=metadata,
        checkpoint=checkpoint,
        log=log,
        evaluate=evaluate,
    )

    def read(cursor: int) -> tuple[list[list[Tensor]], int]:
        buffer, following = source.buffer(cursor)
        return [[buffer]], following

    learn_together([fitting], read, progress)
    return fitting.result()


def learn_together(fittings: Sequence[Fitting], read: Read, progress: Progress | None = None) -> None:
    """Trains dictionaries side by side until all are finished, reading every buffer of the stream once.

    Each learns what it would learn alone, bit for bit: a buffer and its order depend on the cursor and the
    dictionary's own seed. After a kill the stream starts again at the buffer of the one that is furthest
    behind.
    """
    total = sum(fitting.config.n_steps * fitting.config.batch_tokens for fitting in fittings)
    name = "training the SAE" if len(fittings) == 1 else f"training {len(fittings)} dictionaries"
    with (progress or silent()).task(name, total=total, unit="tokens") as advance:
        advance(sum(fitting.tokens_done for fitting in fittings))
        while unfinished := [fitting for fitting in fittings if not fitting.finished]:
            _learn_buffer(fittings, read, min(fitting.place.cursor for fitting in unfinished), advance)


def _learn_buffer(fittings: Sequence[Fitting], read: Read, cursor: int, advance: Advance) -> None:
    """Trains on one buffer, in a function of its own so that it is freed before the next one is read."""
    parts, following = read(cursor)
    for fitting, own in zip(fittings, parts, strict=True):
        if not fitting.finished and fitting.place.cursor == cursor:
            fitting.learn(own, following, advance)

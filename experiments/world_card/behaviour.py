"""What the model can do at all: every behaviour of its model card."""

from pathlib import Path

from experiments.world_card.effect import Effect, Figure, Measured
from interp.bundled.world.evaluate import evaluate
from interp.track.progress import Progress


def behaviour(folder: Path, progress: Progress) -> Measured:
    """The share of prompts of each behaviour whose right token is the likeliest."""
    found = evaluate(folder, progress=progress)
    effects = [
        Effect(
            "behaviour",
            figure.name,
            "next token",
            Figure(figure.rate, *figure.interval, figure.n),
            note="" if figure.holds else "misses its bound",
        )
        for figure in found.figures
    ]
    return Measured(effects)

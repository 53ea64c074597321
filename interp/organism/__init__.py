"""The bundled `world` model: a labelled corpus generator, a trainer and the shipped weights."""

from pathlib import Path

TRAINING_NOTE = (
    "The world model was trained with a two-token attention window in its first four layers; it is run here "
    "without one."
)
"""What a reader of any figure about the bundled model must know."""


def world_folder() -> Path:
    """Folder of the shipped `world` model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "weights" / "world"

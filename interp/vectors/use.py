"""Turns a saved file of vectors or of a truthful space into interventions."""

from pathlib import Path

from interp.intervene.positions import Positions
from interp.subject.forward import Intervention
from interp.subject.subject import Subject
from interp.tensors import opened
from interp.vectors.file import load_vectors
from interp.vectors.truthful_file import FORMAT, load_edit

Number = float | int


def interventions_of(
    path: str | Path,
    subject: Subject,
    coefficient: Number = 1.0,
    positions: Positions | None = None,
    check_model: bool = True,
) -> list[Intervention]:
    """Reads a file of vectors, or of a truthful space, for use at `coefficient` times its strength.

    `positions` default to the file's own; `check_model=False` accepts a file of a renamed model.

    Raises:
        UserError: the file cannot be used, was made for another model, or does not fit the subject.
    """
    if _is_space(path):
        return [load_edit(path, subject, coefficient, positions, check_model)]
    return [
        vector.intervention(subject, coefficient, positions)
        for vector in load_vectors(path, subject, check_model)
    ]


def _is_space(path: str | Path) -> bool:
    with opened(Path(path), "give a .safetensors file of vectors") as file:
        return (file.metadata() or {}).get("format") == FORMAT

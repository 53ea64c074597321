"""Vectors on disk: a safetensors file with a card in Markdown beside it, read for use at a strength."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from safetensors.torch import save_file

from interp.errors import UserError
from interp.intervene.positions import Named, Positions
from interp.json_text import from_json, to_json
from interp.subject.forward import Intervention
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.tensors import opened
from interp.track.files import atomic, write_text
from interp.vectors import truthful_file
from interp.vectors.llama_cpp import save_control_vector
from interp.vectors.vector import Use, Vector

FORMAT = "interp vectors 1"


def save_vectors(path: str | Path, vectors: Sequence[Vector]) -> Path:
    """Writes vectors that are used together (or one) to `path`, and their card to the same name with .md.

    A name that ends in .gguf becomes a control vector for llama.cpp, without a card (`save_control_vector`).

    Raises:
        UserError: no vector is given, or the disk is full.
    """
    if not vectors:
        raise UserError("there is no vector to save", str(path), "give at least one")
    path = Path(path)
    if path.suffix == ".gguf":
        save_control_vector(path, vectors)
        return path
    described = [
        {
            "name": vector.name,
            "site": str(vector.site),
            "subject": vector.subject,
            "use": vector.use,
            "positions": vector.positions,
            "provenance": dict(vector.provenance),
        }
        for vector in vectors
    ]
    tensors = {f"vector.{place}": vector.values.contiguous() for place, vector in enumerate(vectors)}
    with atomic(path) as file:
        save_file(tensors, file, metadata={"format": FORMAT, "vectors": to_json(described)})
    write_text(path.with_suffix(".md"), card(vectors, path.name))
    return path


def load_vectors(path: str | Path, subject: Subject | None = None, check_model: bool = True) -> list[Vector]:
    """Reads vectors, and checks that they fit `subject` if one is given.

    `check_model=False` accepts vectors of a model of another name, and renames their model to `subject`'s.

    Raises:
        UserError: there is no such file, it holds something else, or the vectors do not fit `subject`: they
            were made on another model, or have another site or width.
    """
    path = Path(path)
    try:
        with opened(path, "give a .safetensors file of vectors") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError("the file holds no vectors", str(path), "give a file that interp wrote")
            described = from_json(metadata["vectors"], str(path), "save the vectors again")
            for known in described:
                if known["use"] not in get_args(Use) or known["positions"] not in get_args(Named):
                    raise UserError(
                        f"a vector cannot be used as {known['use']!r} at {known['positions']!r}",
                        str(path),
                        f"use {', '.join(get_args(Use))} at {', '.join(get_args(Named))}",
                    )
            vectors = [
                Vector(
                    known["name"],
                    Site.parse(known["site"]),
                    file.get_tensor(f"vector.{place}"),
                    known["subject"],
                    known["use"],
                    known["positions"],
                    known["provenance"],
                )
                for place, known in enumerate(described)
            ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the file cannot be read ({error})", str(path), "save the vectors again") from error
    if subject is not None:
        if not check_model:
            vectors = [replace(vector, subject=subject.name) for vector in vectors]
        for vector in vectors:
            vector.intervention(subject)
    return vectors


def parse_use(text: str) -> tuple[Path, float]:
    """Reads FILE or FILE=COEFFICIENT, as the command line takes it.

    Raises:
        UserError: the coefficient is no finite number.
    """
    name, _, written = text.rpartition("=")
    if not name:
        return Path(text), 1.0
    try:
        coefficient = float(written)
    except ValueError:
        coefficient = math.nan
    if not math.isfinite(coefficient):
        raise UserError(f"{written!r} is no strength", f"--vector {text}", "write FILE or FILE=2.5")
    return Path(name), coefficient


def card(vectors: Sequence[Vector], title: str) -> str:
    """Describes vectors in Markdown: where and how they act, their norms, and what they were made of."""
    first = vectors[0]
    lines = [
        f"# {title}",
        "",
        f"Vectors for `{first.subject}`, used together.",
        "",
        "| name | site | used | positions | norm |",
        "|---|---|---|---|---|",
        *(f"| {v.name} | {v.site} | {v.use} | {v.positions} | {v.norm:.4g} |" for v in vectors),
        "",
        "Made of:",
        "",
        *(f"- {text}" for text in dict.fromkeys(_told(v.provenance) for v in vectors)),
        "",
        "```sh",
        f"interp generate --subject {first.subject} --vector {title}=1.0 'a prompt'",
        "```",
        "",
    ]
    return "\n".join(lines)


def _told(provenance: Any) -> str:
    return ", ".join(f"{key}: {to_json(value)}" for key, value in provenance.items()) or "not recorded"


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
        return [truthful_file.load_edit(path, subject, coefficient, positions, check_model)]
    return [
        vector.intervention(subject, coefficient, positions)
        for vector in load_vectors(path, subject, check_model)
    ]


def _is_space(path: str | Path) -> bool:
    with opened(Path(path), "give a .safetensors file of vectors") as file:
        return (file.metadata() or {}).get("format") == truthful_file.FORMAT

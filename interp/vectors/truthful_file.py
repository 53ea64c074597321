"""Edits in a truthful space on disk: one safetensors file with the space, sites and strength."""

from pathlib import Path
from typing import get_args

from safetensors.torch import save_file

from interp.errors import UserError
from interp.intervene.positions import Named, Positions
from interp.json_text import from_json, to_json
from interp.subject.model_names import check_made_for
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.tensors import check_finite, opened
from interp.track.files import atomic
from interp.vectors.truthful import TruthfulEdit, TruthfulSpace

FORMAT, OLDER = "interp truthful space 2", ("interp truthful space 1",)
Number = float | int
_AGAIN = "save the space again"


def save_edit(path: str | Path, edit: TruthfulEdit, subject: str) -> Path:
    """Writes an edit with its space as safetensors; its sites, strength and positions are in the header.

    Raises:
        UserError: its positions are not named ones (`Named`), or it is a null.
    """
    if not isinstance(edit.positions, str) or edit.random:
        raise UserError("the edit is a null, or at positions without a name", str(path), "use e.g. steps")
    space = edit.space
    described = {
        "format": FORMAT,
        "subject": subject,
        "sites": to_json([str(site) for site in space.sites]),
        "edited": to_json([str(site) for site in edit.sites]),
        "strength": repr(float(edit.strength)),
        "positions": edit.positions,
        "width": str(space.mean.shape[1]),
        "latent": str(space.positive.shape[1]),
    }
    tensors = {name: value.contiguous().cpu() for name, value in space.state_dict().items()}
    with atomic(path) as file:
        save_file(tensors, file, metadata=described)
    return Path(path)


def load_edit(
    path: str | Path,
    subject: Subject,
    coefficient: Number = 1.0,
    positions: Positions | None = None,
    check_model: bool = True,
) -> TruthfulEdit:
    """Reads an edit, at `coefficient` times its strength; at its own positions if none are given.

    `check_model=False` accepts a subject of another name (a renamed copy, a fine-tuned model).

    Raises:
        UserError: there is no such file, it holds something else, it was trained on another model, or its
            sites do not fit the subject.
    """
    try:
        with opened(Path(path), "give the file of a truthful space") as file:
            known = file.metadata() or {}
            if known.get("format") in OLDER:
                raise UserError(
                    "the truthful space was written by an older version, which ranked its sites by ties",
                    str(path),
                    "train and save it again",
                )
            if known.get("format") != FORMAT:
                raise UserError("the file holds no truthful space", str(path), "give one that interp wrote")
            sites, edited = (
                [Site.parse(text) for text in from_json(known[name], str(path), _AGAIN)]
                for name in ("sites", "edited")
            )
            trained_on = known["subject"]
            space = TruthfulSpace(sites, int(known["width"]), int(known["latent"]))
            space.load_state_dict({name: file.get_tensor(name) for name in space.state_dict()})
            strength = coefficient * float(known["strength"])
            own = next(name for name in get_args(Named) if name == known["positions"])
    except (ValueError, KeyError, RuntimeError, StopIteration, TypeError, AttributeError) as error:
        raise UserError(f"the file cannot be read ({error})", str(path), _AGAIN) from error
    check_finite(space.state_dict(), str(path), _AGAIN)
    if check_model:
        check_made_for("the truthful space was trained", [trained_on], subject.info, str(path))
    where = own if positions is None else positions
    return TruthfulEdit(subject, space.requires_grad_(False), strength, where, sites=edited)

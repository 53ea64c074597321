"""Compares names of models, and refuses what was made for another model.

Names are hub names, TransformerLens' names and names of local folders.
"""

from collections.abc import Sequence
from pathlib import Path

from interp.errors import UserError
from interp.subject.folder import SubjectInfo
from interp.subject.model_files import read_object


def subject_names(info: SubjectInfo) -> tuple[str, ...]:
    """Every name of the subject: its own, its repository in a hub cache, and the one in its config.

    A snapshot in the Hugging Face cache is a folder named by a hash; its repository is in the path.
    """
    names = [info.name]
    names += [
        part.removeprefix("models--").replace("--", "/", 1)
        for part in info.folder.parts
        if part.startswith("models--")
    ]
    names.append(_saved_as(info.folder))
    return tuple(dict.fromkeys(name for name in names if name))


def same_model(one: str, other: str) -> bool:
    """Whether both names mean one model.

    Names are mapped to TransformerLens' official ones (`gpt2-small` is `gpt2`) and compared without the
    organisation and without regard to case, so that a local copy called `gemma-2-2b` is `google/gemma-2-2b`.
    """
    return one == other or _base(one) == _base(other)


def check_made_for(made: str, models: Sequence[str], info: SubjectInfo, place: str) -> None:
    """Refuses what was made for another model, where it would run (if widths agree) but mean nothing.

    `made` begins the error ("the vector french was made"); `models` are names of its model, of which one has
    to be the subject's.

    Raises:
        UserError: no name is one of the subject's.
    """
    if any(same_model(model, name) for model in models for name in subject_names(info)):
        return
    named = " or ".join(models)
    raise UserError(
        f"{made} on {named}, not on {info.name}",
        place,
        f"load {named}, or switch check_model off if it is the same model under another name",
    )


def _base(name: str) -> str:
    from transformer_lens.loading_from_pretrained import get_official_model_name

    short = name.rstrip("/").rsplit("/", 1)[-1]
    for known in (name, short):
        try:
            return str(get_official_model_name(known)).rsplit("/", 1)[-1].lower()
        except ValueError:
            continue
    return short.lower().removeprefix("meta-")


def _saved_as(folder: Path) -> str:
    try:
        name = read_object(folder / "config.json").get("_name_or_path")
    except UserError:
        return ""
    return name if isinstance(name, str) else ""

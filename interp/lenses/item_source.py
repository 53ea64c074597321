"""What the sources of items share: a strict config, a file that is there, words that are the world's."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from interp.errors import UserError
from interp.subject.folder import SubjectInfo


class ItemSource(BaseModel):
    """A part of a config that says where items come from."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def check_file(path: Path, field: str) -> None:
    """Raises UserError if the file that a config's field names is not there."""
    if not path.is_file():
        raise UserError(f"no file {path}", field, "give a .jsonl file")


def world_only(model: SubjectInfo, field: str) -> None:
    """Raises UserError if what is written in the world's words is asked of another model."""
    if not model.speaks_world:
        raise UserError(
            f"the world's words need not be known to {model.name}", field, "give your own as files"
        )

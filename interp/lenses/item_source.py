"""Sources of items: the bundled world, or a file of your own."""

from typing import Literal

from interp.errors import UserError
from interp.fields import FilePath, Section
from interp.subject.folder import SubjectInfo


class WorldItems(Section):
    """Items in the words of the bundled world."""

    kind: Literal["world"] = "world"

    def check(self, model: SubjectInfo, field: str) -> None:
        """Raises UserError, at the config's `field`, unless the model has the world's vocabulary."""
        world_only(model, f"{field}.kind")


class JsonLinesFile(Section):
    """A file of JSON objects, one a line."""

    path: FilePath
    """A .jsonl file."""

    def check(self, model: SubjectInfo, field: str) -> None:
        """Raises UserError if the file that the config's `field` names is not there."""
        if not self.path.is_file():
            raise UserError(f"no file {self.path}", f"{field}.path", "give a .jsonl file")


class ItemFile(JsonLinesFile):
    """Your own items, one a line."""

    kind: Literal["file"] = "file"


def world_only(model: SubjectInfo, field: str) -> None:
    """Raises UserError unless the model has the vocabulary of the bundled world."""
    if not model.speaks_world:
        raise UserError(f"{model.name} may not know the world's words", field, "give your own as files")

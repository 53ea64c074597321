"""The folder of an export, which appears complete, replacing an earlier one, or not at all."""

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interp.errors import UserError
from interp.track.files import publish_folder, writing_explained

_WRITTEN = {"spaces", "features", "descriptions", "scores", "exemplars", "explanations", "activations"}


@contextmanager
def export_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; on success it takes the place of `path`.

    An existing folder is replaced if it is empty or holds an export and nothing else, so that no file of an
    earlier export stays beside the new ones. On any exception `path` is as it was.

    Raises:
        UserError: `path` is a file, the current folder or a folder with other files, or the system refuses
            to write there.
    """
    path = Path(os.path.realpath(path))
    with writing_explained(path.parent):
        if path in (Path.cwd(), *Path.cwd().parents):
            raise UserError("the current folder cannot be replaced", str(path), "give a new folder")
        if path.exists() and not path.is_dir():
            raise UserError("there is a file of this name", str(path), "give a new folder")
        if other := next((file for file in _files(path) if not _is_exported(file.relative_to(path))), None):
            raise UserError(
                f"the folder holds another file, {other.relative_to(path)}", str(path), "give a new folder"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):  # by a killed export
            shutil.rmtree(left, ignore_errors=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            new, old = beside / "new", beside / "old"
            new.mkdir()
            yield new
            if path.exists():
                path.rename(old)
            try:
                publish_folder(new, path)
            except BaseException:
                if old.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if not file.is_dir() or file.is_symlink())


def _is_exported(file: Path) -> bool:
    """Whether an export wrote the file: NAME.parquet or NAME/batch-0.jsonl."""
    name = file.name if len(file.parts) == 1 else ""
    lines = len(file.parts) == 2 and file.parts[0] in _WRITTEN and file.name == "batch-0.jsonl"
    return lines or (name.endswith(".parquet") and file.stem in _WRITTEN)

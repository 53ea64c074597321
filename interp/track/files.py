"""Atomic files: a reader sees the old content or the new one, never a part; errors are explained."""

import errno
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from interp.errors import UserError
from interp.json_text import to_json

if TYPE_CHECKING:
    import pandas as pd
    import torch

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset(
    {
        *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY),
        *(
            errno.ENAMETOOLONG,
            errno.ELOOP,
            errno.EXDEV,
            errno.EMLINK,
            errno.EBUSY,
            errno.ETXTBSY,
            errno.ENXIO,
        ),
        *(errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENODEV, errno.EOPNOTSUPP),
    }
)
"""Error numbers of a file system that no bug of the program causes."""


@contextmanager
def writing_explained(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into a `UserError` about `folder`.

    Errors that writers in Rust and C++ report only in words are recognised, too.

    Raises:
        UserError: the disk is full, a quota is used up, a file-size limit is hit, the file system is
            read-only, a permission is missing, a name is too long, a file stands where a folder should be
    """
    try:
        yield
    except Exception as error:  # the writers of Rust and C++ have exceptions of their own
        if (refusal := refused_by_system(error, folder)) is None:
            raise
        raise refusal from error


def refused_by_system(error: Exception, folder: Path | None = None) -> UserError | None:
    """Make a `UserError` of an error of the file system; None for any other error.

    Without `folder` it names the file that the system names.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(found[1])
    if number in _NO_ROOM:
        place = folder or _named(error) or Path.cwd()
        return UserError(
            "no room to write: " + os.strerror(number).lower(),
            f"{place} ({_free_space(place)} free)",
            "free some space or use another disk, then run the same command again; what was finished is kept",
        )
    # a folder that exists but takes no file (/proc) reports that it does not exist
    if number in _REFUSED or (number == errno.ENOENT and folder is not None):
        return UserError(
            "the system refuses: " + os.strerror(number).lower(),
            str(folder or _named(error) or Path.cwd()),
            "use another folder (--runs-dir for runs, INTERP_CACHE for models), or change what this one "
            "allows, then run the same command again; what was finished is kept",
        )
    return None


def _named(error: Exception) -> Path | None:
    """The file that the system names in an error."""
    name = getattr(error, "filename", None)
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def cache_folder() -> Path:
    """The folder that INTERP_CACHE names, or the user's cache: what is kept there can be made again."""
    given = os.environ.get("INTERP_CACHE")
    return Path(given).expanduser().absolute() if given else user_cache_path("interp")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is flushed to disk and takes the place of `path`.

    On any exception the temporary file is removed and `path` is as it was.

    Raises:
        UserError: the system refuses it (`writing_explained`).
    """
    path = Path(path)
    with writing_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush(path.parent)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that a killed process left beside `path`; nobody may be writing `path` now."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
        left.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` as JSON, atomically; numbers that are not finite become null."""
    write_text(path, to_json(content, indent=2, ensure_ascii=False) + "\n")


def write_safetensors(
    path: str | Path, tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to `path` in safetensors format, atomically."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file(dict(tensors), temporary, dict(metadata) if metadata else None)


def read_safetensors(
    path: str | Path, device: str = "cpu"
) -> tuple[dict[str, "torch.Tensor"], dict[str, str]]:
    """Read named tensors and metadata that `write_safetensors` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    from interp.tensors import read_tensors

    return read_tensors(
        Path(path), "give a file that interp wrote; where it is damaged, delete it to start again", device
    )


def write_parquet(path: str | Path, frame: "pd.DataFrame") -> None:
    """Write a dataframe to `path` as Parquet without its index, atomically."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def publish(source: Path, path: Path) -> None:
    """Make `path` the same file as `source` (a hard link; a copy where links are impossible), atomically."""
    with writing_explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)
            os.replace(temporary, path)
        finally:
            # replacing a hard link by another link to the same file leaves the first in place
            temporary.unlink(missing_ok=True)


def publish_folder(source: Path, path: Path) -> None:
    """Flush every file below `source`, then rename `source` to `path`, which must not exist."""
    with writing_explained(path.parent):
        for file in source.rglob("*"):
            _flush(file)
        os.rename(source, path)
        _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _free_space(folder: Path) -> str:
    while not os.path.exists(folder):
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return f"{free / 2**20:,.1f} MiB"

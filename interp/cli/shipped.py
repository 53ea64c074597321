"""Finds the experiments, configs and benchmarks that come with the package, and the file that a name means.

In the repository they are folders beside `interp`. A wheel has them inside `interp`, so that an installed
copy collides with nobody's `experiments`. Modules in them import each other by relative names.
"""

import os
from pathlib import Path

from interp.errors import UserError, similar_names

_INTERP = Path(__file__).parents[1]
_INSTALLED = (_INTERP / "configs").is_dir()
SHIPPED = _INTERP if _INSTALLED else _INTERP.parent
"""The folder that holds `experiments`, `configs` and `benchmarks`."""
SHIPPED_CONFIGS = SHIPPED / "configs"


def shipped_module(name: str) -> str:
    """The full name of a module of `experiments` or `benchmarks`."""
    return f"interp.{name}" if _INSTALLED else name


def config_folders() -> list[Path]:
    """The folders whose configs have names: configs/ of the current folder, and that of the package."""
    here = Path("configs")
    own = os.path.isdir(here) and here.resolve() != SHIPPED_CONFIGS.resolve()
    return [here, SHIPPED_CONFIGS] if own else [SHIPPED_CONFIGS]


def named_configs(folder: Path) -> dict[str, Path]:
    """The files of a folder of configs by name: "quickstart", "gemma/quickstart"."""
    return {
        file.relative_to(folder).with_suffix("").as_posix(): file for file in sorted(folder.rglob("*.yaml"))
    }


def find_config(path: str | Path) -> Path:
    """The config file for a path, or for a name in a `configs` folder, the current folder's first.

    Raises:
        UserError: there is no such file; names the nearest ones.
    """
    path = Path(path)
    if os.path.isfile(path):  # unlike `Path.is_file`, it does not raise for names that are too long
        return path
    folders = config_folders()
    for folder in folders:
        candidates = [folder / f"{path}.yaml"]
        if path.suffix in {".yaml", ".yml"}:
            candidates += [folder.parent / path, folder / path]
        for candidate in candidates:
            if os.path.isfile(candidate):
                return candidate
    beside = {file.stem: str(file) for file in path.parent.glob("*.yaml")}
    names = {name for folder in folders for name in named_configs(folder)}
    near = [beside[stem] for stem in similar_names(path.stem, beside)]
    near += similar_names(str(path.with_suffix("")).removeprefix("configs/"), names)
    raise UserError(
        f"there is no config {path}",
        f"{path.absolute()} and {' and '.join(map(str, folders))}",
        f"did you mean {' or '.join(near[:3])}?" if near else "`interp configs` lists what there is",
    )


def run_name(file: Path) -> str:
    """The default name of a run of a config: "gemma-quickstart" for a named one, else the file's name."""
    for folder in config_folders():
        if file.resolve().is_relative_to(folder.resolve()):
            return "-".join(file.resolve().relative_to(folder.resolve()).with_suffix("").parts)
    return file.stem

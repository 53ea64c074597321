"""Where the experiments, configs and benchmarks are that come with the package, and which file a name means.

In the repository they are folders beside `interp`. A wheel carries them inside it: an installed copy has one
name, and collides with nobody's `experiments`. Modules in them import each other by relative names.
"""

import os
from pathlib import Path

from interp.errors import UserError, nearest

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
    """The config file that is meant: a path, or a name in a `configs` folder, of the current folder first.

    Raises:
        UserError: there is no such file; names the nearest ones.
    """
    path = Path(path)
    if os.path.isfile(path):  # unlike `Path.is_file`, it takes names that are too long
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
    near = [beside[stem] for stem in nearest(path.stem, beside)]
    near += nearest(str(path.with_suffix("")).removeprefix("configs/"), names)
    raise UserError(
        f"there is no config {path}",
        f"{path.absolute()} and {' and '.join(map(str, folders))}",
        f"did you mean {' or '.join(near[:3])}?" if near else "`interp configs` lists what there is",
    )


def run_name(file: Path) -> str:
    """What a run is called where its config does not say: "gemma-quickstart", or as the file."""
    for folder in config_folders():
        if file.resolve().is_relative_to(folder.resolve()):
            return "-".join(file.resolve().relative_to(folder.resolve()).with_suffix("").parts)
    return file.stem

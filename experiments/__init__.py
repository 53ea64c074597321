"""The experiments: a folder each, or a single file.

A folder NAME has `config.py` (a `Config`, and perhaps a `check(config)`), `job.py` (a `Job(config, run)` with
a method `steps()`) and `page.py`, which the job imports. A file NAME.py has a `Config`, a `run(config, run)`
and perhaps a `check(config)`. They import each other by relative names, as a wheel has them inside `interp`.

The environment variable INTERP_EXPERIMENTS_PATH adds folders of your own (separated like PATH) with such
folders and files. It is read from the environment and never from a config, so that opening somebody else's
YAML cannot run somebody else's code.
"""

import os
import pkgutil

__path__ += [folder for folder in os.environ.get("INTERP_EXPERIMENTS_PATH", "").split(os.pathsep) if folder]


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    return sorted(name for name in modules if name != "common" and not name.startswith("_"))

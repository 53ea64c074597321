"""The experiments: one module each, with a `Config`, a `run(config, run)` and perhaps a `check(config)`.

The environment variable INTERP_EXPERIMENTS_PATH adds folders of your own (separated like PATH): a module
`mine.py` there is the experiment `mine`. It is read from the environment and never from a config, so that
opening somebody else's YAML cannot run somebody else's code.
"""

import os
import pkgutil

__path__ += [folder for folder in os.environ.get("INTERP_EXPERIMENTS_PATH", "").split(os.pathsep) if folder]


def names() -> list[str]:
    """Return the names of all experiments, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))

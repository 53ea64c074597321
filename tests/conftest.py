"""How tests run: their threads, and types that are checked at every call."""

import os

from jaxtyping import install_import_hook

if "PYTEST_XDIST_WORKER" in os.environ:  # more threads get in each other's way on two cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Documents are written in some forty short calls each, which would take eight times as long with checks, and
# every test reads documents: what is imported here, before the hook, goes unchecked.
import interp.bundled.world.corpus  # noqa: F401

install_import_hook(["interp", "saes"], "beartype.beartype")

"""Opening the engine of a config, for the time that parts are to be computed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from interp.engine.config import EngineConfig
from interp.engine.engine import Engine, LocalEngine
from interp.track.progress import Progress, silent


@contextmanager
def opened(config: EngineConfig, progress: Progress | None = None, device: str = "cpu") -> Iterator[Engine]:
    """Opens the engine of a config for the time of the block; `device` is where workers will compute.

    Raises:
        UserError: Ray is not installed, its cluster does not answer, or runs other code than this process.
    """
    if config.kind == "ray":
        from interp.engine.ray_start import joined

        with joined(config):
            from interp.engine.ray_cluster import RayEngine

            engine = RayEngine(config, progress or silent(), device)
            try:
                yield engine
            finally:
                engine.close()
        return
    before = torch.get_num_threads()
    torch.set_num_threads(config.threads or before)
    try:
        yield LocalEngine(config)
    finally:
        torch.set_num_threads(before)

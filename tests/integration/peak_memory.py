"""Run as a program: what a stage of a run adds to this process' memory at its peak, and its estimate."""

import ctypes
import gc
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import interp.subject
import saes
from interp.bundled.world.corpus import WorldCorpus
from interp.cost import TextSize, neuron_spaces, subject_part
from interp.features.neurons import MlpNeurons
from interp.mining.config import MiningConfig
from interp.mining.mined import mine
from interp.subject.shape import subject_shape
from interp.subject.site import Site
from saes.cost import training_stage


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@contextmanager
def peak_over_start(found: list[int]) -> Iterator[None]:
    """Appends how far above its start the process' memory rose inside the block, looked at every 2 ms."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    start, peak, done = resident(), resident(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        found.append(max(peak, resident()) - start)


def training() -> tuple[int, int]:
    """Two steps of a wide SAE over a large buffer: (measured, estimated) beside the loaded subject."""
    subject, site = interp.subject.load("world", device="cpu"), Site("resid_post", 4)
    corpus = WorldCorpus(1, 6000)
    config = saes.SaeTraining(
        n_latents=8192, training_tokens=4096, batch_tokens=2048, buffer_tokens=49152, dead_after_tokens=8192
    )
    subject.logits(torch.tensor([[0, 5, 6]]))
    found: list[int] = []
    with tempfile.TemporaryDirectory() as folder, peak_over_start(found):
        saes.train(subject, site, corpus, config, Path(folder) / "sae")
    shape = subject_shape("world")
    stage = training_stage(shape, "float32", site, config, "cpu")
    return found[0], stage.bytes - subject_part(shape, "float32").bytes


def mining() -> tuple[int, int]:
    """All neurons of the model with many samples: (measured, estimated) beside the loaded subject."""
    from interp.mining.cost import mining_stage

    subject = interp.subject.load("world", device="cpu")
    config = MiningConfig(context_size=128, tokens_per_batch=8192, sampled_tokens=8192, sampled_rows=512)
    corpus = WorldCorpus(1, 1200)
    subject.logits(torch.tensor([[0, 5, 6]]))
    found: list[int] = []
    with peak_over_start(found):
        mine(subject, [MlpNeurons(subject, layer) for layer in range(subject.n_layers)], corpus, config)
    shape = subject_shape("world")
    stage = mining_stage(shape, "float32", neuron_spaces(shape), config, TextSize(1))
    return found[0], stage.bytes - subject_part(shape, "float32").bytes


if __name__ == "__main__":
    print(json.dumps({"training": training(), "mining": mining()}))

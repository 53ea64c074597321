"""The descriptions that come with a bundled model: packed once, unpacked where they are first asked for.

interp run describe_world
python -m interp.store.bundled world runs/describe_world
"""

import hashlib
import json
import lzma
import sqlite3
import sys
import tempfile
from pathlib import Path

from interp.bundled import world
from interp.errors import UserError
from interp.track.files import atomic, cache_folder

PACKED = {"world": Path(world.__file__).parent / "data" / "descriptions.sqlite.xz"}
EXEMPLARS = 3
"""How many of each band are kept, of the report split, from which no description was made."""
_SCORES = ("value", "low", "high", "null_mean", "null_low", "null_high")
_THINNED = f"""
DELETE FROM embeddings;
UPDATE descriptions SET provenance = '{{}}';
UPDATE scores SET {", ".join(f"{name} = round({name}, 4)" for name in _SCORES)};
DELETE FROM exemplars WHERE split != 'report' OR id NOT IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY feature, split, band ORDER BY id) AS place FROM exemplars
    ) WHERE place <= {EXEMPLARS}
);
UPDATE exemplars SET value = round(value, 4), quantile = round(quantile, 5);
"""


def is_described(name: str) -> bool:
    """Whether descriptions of this model come with the package."""
    return name in PACKED


def bundled_store(name: str) -> Path:
    """The SQLite file of the descriptions of a bundled model, unpacked into the cache at the first call.

    `world`: every neuron of the model, as `interp run describe_world` describes them.

    Raises:
        UserError: no descriptions of this model come with the package, or the cache cannot be written.
    """
    if not is_described(name):
        raise UserError(
            f"no descriptions of {name} come with the package", "store", f"use {', '.join(PACKED)}"
        )
    packed = PACKED[name].read_bytes()
    folder = cache_folder() / "descriptions"
    file = folder / f"{name}-{hashlib.sha256(packed).hexdigest()[:12]}.sqlite"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(file) as whole:
            whole.write_bytes(lzma.decompress(packed))
    return file


def pack(run: Path, target: Path) -> None:
    """Packs the store of a run: all descriptions and scores, to four decimals, and few exemplars.

    The provenance of descriptions and the vectors for search are left out.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy, small = Path(scratch) / "copy.sqlite", Path(scratch) / "small.sqlite"
        with sqlite3.connect(run / "store.sqlite") as source, sqlite3.connect(copy) as thinned:
            source.backup(thinned)
            thinned.executescript(_THINNED)
            rows = thinned.execute("SELECT quantiles, id FROM features").fetchall()
            thinned.executemany(
                "UPDATE features SET quantiles = ? WHERE id = ?", [(_rounded(text), id) for text, id in rows]
            )
            thinned.commit()
            thinned.execute("VACUUM INTO ?", [str(small)])
        target.write_bytes(lzma.compress(small.read_bytes(), preset=9 | lzma.PRESET_EXTREME))


def _rounded(quantiles: str) -> str:
    return json.dumps({level: float(f"{value:.4g}") for level, value in json.loads(quantiles).items()})


if __name__ == "__main__":
    packed = PACKED[sys.argv[1]]
    pack(Path(sys.argv[2]), packed)
    print(f"{packed}: {packed.stat().st_size:,} bytes")

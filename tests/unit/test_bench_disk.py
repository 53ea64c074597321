"""The benchmark of an 8B model's exemplars and store, at a size that takes seconds."""

from pathlib import Path

import pytest

from benchmarks.disk import CONFIG, PARTS, main
from interp.mining.store import disk_bytes


def test_a_small_one_gives_every_figure_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = main(2, 64, PARTS, tmp_path, rounds=1)
    assert list(tmp_path.iterdir()) == []
    found = figures["exemplars"]
    stated = 2 * disk_bytes(64, True, CONFIG, True) / 1e9
    assert stated <= found["GB"] < stated + 2 * 3 * 2 * 4096 / 1e9
    assert found["windows"] == 20 + 10 + 5  # top ones, of each band, silent ones
    for kind in ("sqlite", "postgresql"):
        told = figures[kind]
        assert min(told.values()) >= 0 and {"import vectors", "by meaning", "exact index"} <= told.keys()
    assert figures["postgresql"]["HNSW, ef_search 1000, recall"] > 0.9
    assert figures["annoy"]["annoy, recall"] > 0.9
    assert "processor" in capsys.readouterr().out

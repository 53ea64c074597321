"""The experiment `circuit_truth`, small: its figures again from the edges that it wrote."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interp.toys.compiled import PROGRAMS
from interp.toys.compiled.truth import truth
from tests.command_line import process

CONFIG = str(Path(__file__).parents[2] / "configs" / "circuit_truth.yaml")
SMALL = ("programs=[induction]", "sharpness=[10]", "methods=[eap,linearised,exact]", "pairs=6", "sets=2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder."""
    runs = tmp_path_factory.mktemp("runs")
    done = process("run", CONFIG, "--runs-dir", str(runs), "wandb.mode=disabled", *SMALL)
    assert done.returncode == 0, done.stderr
    return runs / "circuit_truth"


def test_average_precision_is_that_of_the_edges_ranked(finished: Path) -> None:
    edges = pd.read_parquet(finished / "tables" / "edges-induction-10.parquet")
    sets = pd.read_parquet(finished / "tables" / "sets-induction-10.parquet")
    first = sets[sets["set"] == 0].set_index("method")
    for method, own in edges.groupby("method"):
        assert {*own["edge"][own["true"]]} == truth(PROGRAMS["induction"]).edges
        true = own["true"].to_numpy()[np.argsort(-own["score"].abs().to_numpy(), kind="stable")]
        precision = np.cumsum(true) / np.arange(1, len(true) + 1)
        if own["score"].abs().is_unique:
            assert first.loc[method, "average precision"] == pytest.approx(precision[true].mean())
        assert first.loc[method, "found"] == pytest.approx(true[: true.sum()].mean())


def test_exact_patching_finds_all_and_chance_little(finished: Path) -> None:
    found = pd.read_parquet(finished / "tables" / "summary.parquet").set_index("method")
    assert found.loc["exact", "average precision"] == 1
    assert found.loc["the true circuit", "faithfulness"] == pytest.approx(1, abs=0.01)
    assert found.loc["random ranking", "average precision"] < 0.5
    assert found.loc["linearised", "found"] < 1  # it has no gradient through queries and keys
    page = (finished / "report.html").read_text()
    assert "Which edges of a circuit that is known does each method find?" in page

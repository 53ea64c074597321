"""The experiment `circuit` on the bundled model, as a person runs it: figures again by hand, bad input."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import interp
from interp.bundled.world.pairs import pairs
from interp.circuits.circuit import read_circuit
from interp.circuits.pairs import Pair, Pairs
from interp.circuits.patched import patched_logits
from interp.circuits.wiring import Wiring
from interp.circuits.written import written_in
from interp.statistics.splits import split_halves
from tests.command_line import command, process

CONFIG = str(Path(__file__).parents[2] / "configs" / "circuit.yaml")
SMALL = (
    "pairs=8",
    "methods=[eap]",
    "sizes_per_doubling=0.2",
    "random_draws=1",
    "exact_edges=4",
    "minimality_edges=2",
)


def run(runs: Path, name: str, *overrides: str) -> Path:
    done = process(
        "run", CONFIG, "--runs-dir", str(runs), "wandb.mode=disabled", f"name={name}", *SMALL, *overrides
    )
    assert done.returncode == 0, done.stderr
    return runs / name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    return run(runs, "capital", "behaviours.names=[capital]", "tasks.tasks=[plural]")


@pytest.fixture(scope="module")
def held_out() -> Pairs:
    """The held-out half of the run's pairs."""
    listed = [Pair(**one) for one in pairs("capital", 8, 0)]
    report = split_halves([""] * 8, 0, contents=[pair.group for pair in listed])[1]
    return Pairs.of_lines(interp.load("world"), [listed[place] for place in report])


def table(finished: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(finished / "tables" / f"{name}.parquet")


def difference(logits: torch.Tensor, held_out: Pairs) -> np.ndarray:
    """The answers' logits less the distractors', by hand."""
    right, wrong = (torch.tensor(ids) for ids in (held_out.answers, held_out.distractors))
    found: np.ndarray = (logits.gather(1, right) - logits.gather(1, wrong))[:, 0].numpy()
    return found


def test_the_circuit_found_is_as_faithful_as_patching_by_hand_says(finished: Path, held_out: Pairs) -> None:
    subject = interp.load("world")
    wiring = Wiring.of(subject)
    row = table(finished, "circuits").iloc[0]
    circuit = read_circuit(finished / "circuits" / "circuit-capital.json")
    assert circuit.n_edges == row["edges"] < row["of_edges"] / 4
    last = torch.full((len(held_out),), held_out.clean.tokens.shape[1] - 1)
    clean, corrupted = (
        difference(subject.logits_at(side.tokens, last, side.real.long()), held_out)
        for side in (held_out.clean, held_out.corrupted)
    )
    written, _ = written_in(wiring, held_out.corrupted)
    kept = difference(patched_logits(wiring, held_out.clean, circuit.kept, written), held_out)
    by_hand = (kept - corrupted).mean() / (clean - corrupted).mean()
    assert row["faithfulness"] == pytest.approx(by_hand, abs=1e-4)
    assert row["faithfulness_low"] <= row["faithfulness"] <= row["faithfulness_high"]
    assert row["faithfulness_choose"] >= 0.95 and row["faithfulness"] > 0.8
    assert row["random"] < 0.1 and row["completeness"] < 0.1 and row["random_completeness"] > 0.5
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["capital/edges"] == row["edges"] and metrics["capital/faithfulness"] == row["faithfulness"]


def test_single_edges_are_patched_as_by_hand(finished: Path, held_out: Pairs) -> None:
    wiring = Wiring.of(interp.load("world"))
    written, _ = written_in(wiring, held_out.corrupted)
    _, logits = written_in(wiring, held_out.clean)
    edges = table(finished, "edges")
    assert list(edges["drawn"]) == ["by score", "by score", "at random", "at random"]
    for row in edges.to_dict("records"):
        kept = wiring.graph.exists & ~wiring.graph.of_edges([row["edge"]])
        patched = patched_logits(wiring, held_out.clean, kept, written)
        change = (difference(patched, held_out) - difference(logits, held_out)).mean()
        assert row["exact"] == pytest.approx(change, abs=1e-4)
    assert edges["exact"].abs().iloc[:2].min() > 10 * edges["exact"].abs().iloc[2:].max()


def test_curves_end_at_the_whole_model_and_circuits_beat_random_ones(finished: Path) -> None:
    curves = table(finished, "curves")
    report = curves[curves["chosen"] & (curves["half"] == "report")].set_index("edges")
    for name in ("faithfulness", "random"):
        assert report[name].loc[1997] == pytest.approx(1, abs=1e-5)
    (area,) = table(finished, "areas").query("chosen").to_dict("records")
    assert area["area_low"] <= area["area"] <= area["area_high"]
    assert area["area"] > 2 * area["random"]
    heads = table(finished, "heads").set_index("heads")
    assert heads["faithfulness"].loc[[0, 32]].tolist() == pytest.approx([0, 1], abs=0.05)
    (fewest,) = heads.index[heads["chosen"]]
    assert fewest < 32 and heads.loc[fewest, "faithfulness"] > heads.loc[fewest, "random"] + 0.5
    behaviour = table(finished, "behaviour").iloc[0]
    assert behaviour["clean_right"] == 1 and behaviour["corrupted_right"] == 0
    shared = table(finished, "function_overlap").set_index("which")
    assert shared.loc["have the largest effects", "chance"] == pytest.approx(10 * 10 / 32)


def test_the_page_and_the_files_show_the_circuit(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    edges = table(finished, "circuits")["edges"][0]
    assert f"Of 1,997 edges, on held-out pairs, {edges} edges keep" in page
    assert 'data-edge="' in page and "<script src" not in page
    assert (finished / "circuits" / "circuit-capital.dot").read_text().count(" -> ") >= edges
    assert (finished / "circuits" / "circuit-capital.svg").read_text().startswith("<svg")


def test_a_file_of_pairs_and_another_corruption_go_the_same_way(finished: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in pairs("capital", 8, 0)))
    given = f"behaviours={{kind: file, path: {file}, name: own}}"
    fewer = ("sizes_per_doubling=0.1", "exact_edges=2", "minimality_edges=1")
    own = run(tmp_path, "own", given, "tasks=null", "corruption=mean", *fewer)
    first, second = (table(folder, "behaviour").iloc[0] for folder in (finished, own))
    assert second["behaviour"] == "own" and second["clean_mean"] == pytest.approx(first["clean_mean"])
    assert first["corrupted_mean"] < second["corrupted_mean"] < second["clean_mean"]
    assert not (own / "tables" / "function_overlap.parquet").exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["behaviours.names=[capitals]"], "there are no pairs for 'capitals'"),
        (["behaviours.names=[capital, capital]"], "'capital' stands twice"),
        (["behaviours={kind: gemma}"], "another vocabulary than Gemma 3"),
        (["behaviours={kind: file, path: none.jsonl}"], "no file"),
        (["pairs=100000", "behaviours.names=[capital]"], "100000 pairs were asked for"),
        (["level=1"], "level"),
    ],
)
def test_what_cannot_be_run_is_a_message(tmp_path: Path, overrides: list[str], says: str) -> None:
    done = command("run", CONFIG, "--runs-dir", str(tmp_path), "wandb.mode=disabled", *overrides)
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit)
    assert says in " ".join(done.output.split())

"""Pairs, faithfulness and its curve, on the bundled world."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import interp
from interp.attribution import Target
from interp.attribution.ablation import Chosen
from interp.attribution.patching_exact import activation_patching
from interp.circuits.circuit import Circuit, top_edges
from interp.circuits.edge_attribution import edge_scores
from interp.circuits.evaluation import Evaluator, faithfulness_curve, minimality, sizes_of
from interp.circuits.feature_circuits import FeatureEvaluator, feature_scores
from interp.circuits.graph import Graph
from interp.circuits.pairs import Pairs, read_pairs
from interp.circuits.wiring import Wiring
from interp.circuits.written import Corruption
from interp.errors import UserError
from interp.subject import Subject

COUNTRIES = {"france": "paris", "spain": "madrid", "italy": "rome", "germany": "berlin"}
CLEAN = [f"the capital of {country} is" for country in COUNTRIES]
CORRUPTED = CLEAN[1:] + CLEAN[:1]
RIGHT = list(COUNTRIES.values())
WRONG = RIGHT[1:] + RIGHT[:1]


@pytest.fixture(scope="module")
def subject() -> Subject:
    """The world."""
    return interp.load("world")


@pytest.fixture(scope="module")
def wiring(subject: Subject) -> Wiring:
    """Its wiring."""
    return Wiring.of(subject)


@pytest.fixture(scope="module")
def pairs(subject: Subject) -> Pairs:
    """Capitals of countries, corrupted by another country."""
    return Pairs.of(subject, CLEAN, CORRUPTED, RIGHT, WRONG)


@pytest.fixture(scope="module")
def evaluator(wiring: Wiring, pairs: Pairs) -> Evaluator:
    """Runs circuits on the pairs."""
    return Evaluator(wiring, pairs)


def test_metric_is_that_of_the_models_own_logits(
    subject: Subject, evaluator: Evaluator, pairs: Pairs
) -> None:
    ids = {word: subject.single_token(word) for word in RIGHT}
    for prompts, values in ((CLEAN, evaluator.clean), (CORRUPTED, evaluator.corrupted)):
        logits = [subject.logits(subject.to_tokens(text))[0, -1].double().numpy() for text in prompts]
        expected = [
            row[ids[right]] - row[ids[wrong]] for row, right, wrong in zip(logits, RIGHT, WRONG, strict=True)
        ]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-3)
    many = Pairs.of(subject, CLEAN, CORRUPTED, [RIGHT[:2], *RIGHT[1:]], [RIGHT[2:], *WRONG[1:]])
    row = torch.randn(4, subject.d_vocab, dtype=torch.float64)
    of = row[0][[ids[word] for word in RIGHT]].numpy()
    assert many.value(row)[0] == pytest.approx((of[0] + of[1] - of[2] - of[3]) / 2)


def test_faithfulness_is_one_for_all_edges_and_zero_for_none(evaluator: Evaluator) -> None:
    exists = evaluator.wiring.graph.exists
    assert evaluator.faithfulness(Circuit(evaluator.wiring.graph, exists)).value == pytest.approx(1)
    nothing = Circuit(evaluator.wiring.graph, torch.zeros_like(exists))
    assert evaluator.faithfulness(nothing).value == pytest.approx(0)
    assert evaluator.completeness(nothing).value == pytest.approx(1)


def test_a_circuit_of_its_scores_beats_random_ones(
    evaluator: Evaluator, wiring: Wiring, pairs: Pairs
) -> None:
    scores = edge_scores(wiring, pairs, "eap_ig_inputs", steps=3)
    circuits = {size: top_edges(scores, size).pruned() for size in sizes_of(wiring.graph.n_edges)}
    curve = faithfulness_curve(evaluator, circuits, random_draws=2)
    assert curve.table["edges"].iloc[-1] == wiring.graph.n_edges
    assert curve.area() > curve.area("random") + 0.3
    smallest = curve.smallest(0.95)
    assert smallest is not None
    assert smallest < wiring.graph.n_edges / 10
    row = curve.table.set_index("edges").loc[smallest]
    values = evaluator.values(circuits[smallest])
    own = (values - evaluator.corrupted).sum() / (evaluator.clean - evaluator.corrupted).sum()
    assert row["faithfulness"] == pytest.approx(own)
    table = minimality(evaluator, circuits[smallest], most=12)
    inside = table["kept"].to_numpy(dtype=bool)
    assert (table["change"][inside].abs().median()) > table["change"][~inside].abs().median()
    edge = table["edge"][0]
    without = circuits[smallest].kept.clone()
    without[wiring.graph.edge(edge)] = False
    change = evaluator.faithfulness(Circuit(wiring.graph, without)).value - row["faithfulness"]
    assert table["change"][0] == pytest.approx(change, abs=1e-4)


@pytest.mark.parametrize("corruption", ["zero", "mean", "mean_positional"])
def test_other_corruptions_put_in_what_they_say(wiring: Wiring, pairs: Pairs, corruption: Corruption) -> None:
    found = Evaluator(wiring, pairs, corruption)
    assert np.isfinite(found.corrupted).all()
    if corruption == "zero":  # nothing is read, so no pair's logits differ but by biases, which are none here
        logits = wiring.subject.unembed(torch.zeros(1, wiring.subject.d_model))[0]
        expected = [
            float(logits[a[0]] - logits[b[0]]) for a, b in zip(pairs.answers, pairs.distractors, strict=True)
        ]
        np.testing.assert_allclose(found.corrupted, expected, atol=1e-4)
    assert found.faithfulness(Circuit(wiring.graph, wiring.graph.exists)).value == pytest.approx(1)


def test_a_circuit_of_features_corrupts_all_others(wiring: Wiring, subject: Subject, pairs: Pairs) -> None:
    neurons = [interp.MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    scores = feature_scores(wiring, pairs, neurons, steps=1)
    evaluator = FeatureEvaluator(wiring, pairs, neurons)
    everything = {space.name: torch.ones(space.n_features, dtype=torch.bool) for space in neurons}
    assert evaluator.normalised(evaluator.values(everything)).value == pytest.approx(1)
    most, least = (
        evaluator.normalised(evaluator.values(some)).value
        for some in (scores.top(160), scores.random(160, 0))
    )
    assert most > least + 0.3
    layer, feature = 5, int(scores.values["mlp.5"].abs().argmax())
    everything["mlp.5"][feature] = False
    target = Target(
        "logit_difference", tuple(a for (a,) in pairs.answers), tuple(d for (d,) in pairs.distractors)
    )
    chosen = [Chosen(neurons[layer], feature)]
    exact = activation_patching(subject, CLEAN, CORRUPTED, target, chosen=chosen, direction="noise").chosen[0]
    np.testing.assert_allclose(
        evaluator.values(everything) - evaluator.clean, exact.double().numpy(), rtol=1e-3, atol=1e-4
    )


class Largest(TorchDispatchMode):
    """Notes the most elements of any tensor with an axis of this length that an operation gives."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.elements = length, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, tuple | list) else (found,):
            if isinstance(each, torch.Tensor) and self.length in each.shape:
                self.elements = max(self.elements, each.numel())
        return found


def test_nothing_is_kept_for_each_head_and_all_positions(
    wiring: Wiring, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, length = 4, 47  # no other axis is as long
    clean, corrupted = (torch.randint(20, subject.d_vocab, (n, length)) for _ in range(2))
    many = Pairs.of(subject, clean, corrupted, [[20]] * n, [[21]] * n)
    for_each_head = n * length * subject.n_heads * subject.d_model
    assert largest_in_scoring(wiring, many) > for_each_head  # a block takes them all, as they are few
    monkeypatch.setattr("interp.circuits.edge_attribution.BLOCK_BYTES", 1)
    assert largest_in_scoring(wiring, many) < for_each_head


def largest_in_scoring(wiring: Wiring, pairs: Pairs) -> int:
    """The most elements of a tensor with all positions while edges are scored."""
    with Largest(pairs.clean.tokens.shape[1]) as largest:
        edge_scores(wiring, pairs, "eap")
    return largest.elements


def test_resampled_pairs_are_corrupted_by_other_clean_prompts(pairs: Pairs) -> None:
    found = pairs.resampled(seed=0)
    clean = {tuple(row) for row in pairs.clean.tokens.tolist()}
    assert {tuple(row) for row in found.corrupted.tokens.tolist()} == clean
    assert not (found.corrupted.tokens == found.clean.tokens).all(1).any()


def test_a_faithfulness_that_is_undefined_is_refused(wiring: Wiring, subject: Subject) -> None:
    backwards = Pairs.of(subject, CLEAN, CORRUPTED, WRONG, RIGHT)
    with pytest.raises(UserError, match="faithfulness is not defined"):
        Evaluator(wiring, backwards)
    with pytest.raises(UserError, match="nothing can differ"):
        Pairs.of(subject, CLEAN, CLEAN, RIGHT, WRONG)


def test_wrong_pairs_are_refused_before_the_model_runs(subject: Subject) -> None:
    with pytest.raises(UserError, match="the corrupted one 4"):
        Pairs.of(subject, CLEAN[:1], ["the capital is"], RIGHT[:1], WRONG[:1])
    with pytest.raises(UserError, match="not one token but 2"):
        Pairs.of(subject, CLEAN[:1], CORRUPTED[:1], ["paris is"], WRONG[:1])
    with pytest.raises(UserError, match="both an answer and a distractor"):
        Pairs.of(subject, CLEAN[:1], CORRUPTED[:1], ["paris"], ["paris"])
    with pytest.raises(UserError, match="3 answers for 4 pairs"):
        Pairs.of(subject, CLEAN, CORRUPTED, RIGHT[:3], WRONG)


def test_a_circuit_of_another_model_is_refused(evaluator: Evaluator) -> None:
    other = Graph(2, 2, 2)
    with pytest.raises(UserError, match="belongs to a model of 2 layers"):
        evaluator.values(Circuit(other, other.exists))


def test_pairs_are_read_from_lines(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"clean": clean, "corrupted": other, "answer": right, "distractor": [wrong], "group": "one"}
        for clean, other, right, wrong in zip(CLEAN, CORRUPTED, RIGHT, WRONG, strict=True)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = Pairs.of_lines(subject, read_pairs(path))
    assert (len(found), set(found.groups)) == (4, {"one"})
    path.write_text('{"clean": "a", "corrupted": "b", "answer": "c"}')
    with pytest.raises(UserError, match="`distractor` is missing"):
        read_pairs(path)

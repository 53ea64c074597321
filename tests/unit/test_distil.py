"""Fine-tuning sets read back, and students that learn what they are taught."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from interp.bundled.pydoc import pydoc_folder
from interp.descriptions.candidate import Candidate
from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.explainers.local import LocalExplainer
from interp.descriptions.local_model import LocalModel
from interp.descriptions.simulators.expected_value import ExpectedValueSimulator
from interp.distil.examples import ExplainerExample, classes_of, is_held_out, simulator_examples
from interp.distil.sets import write_sets
from interp.distil.train import ExplainerTuning, Tuning, train_explainer, train_simulator

SAID = "fires on “import”"


def excerpt(values: tuple[float, ...] = (0.0, 4.0, 1.0, 0.0)) -> Excerpt:
    counts = np.array([False, True, True, True])
    window = Window(np.arange(4, dtype=np.int32), np.array(values, dtype=np.float32), 0, counts)
    return Excerpt(window, ("so", " import", " os", " now"))


def test_classes_are_tenths_of_the_largest_and_context_has_none():
    assert classes_of(excerpt((9.0, 4.0, 1.0, 0.0)), 4.0).tolist() == [-100, 10, 2, 0]
    assert classes_of(excerpt(), 0.0).tolist() == [-100, 0, 0, 0]


def test_both_sides_of_a_neuron_are_held_out_together():
    names = [f"mlp.{layer}/{n}" for layer in range(4) for n in range(100)]
    kept = [is_held_out(f"{name}+", 0.25, 0) for name in names]
    assert kept == [is_held_out(f"{name}-", 0.25, 0) for name in names]
    assert 60 < sum(kept) < 140
    assert kept != [is_held_out(f"{name}+", 0.25, 1) for name in names]


def test_sets_are_read_back_and_share_no_feature(tmp_path: Path):
    from datasets import load_from_disk

    names = [f"mlp.0/{n}+" for n in range(40)]
    prompts = [ExplainerExample(name, "Excerpt 1: {{a}}\nExcerpt 2: “b”", SAID) for name in names]
    texts = [one for name in names for one in simulator_examples(name, SAID, [excerpt()] * 2, 4.0)]
    counts = write_sets(tmp_path / "sets", prompts, texts, 0.25, 0)
    for kind, examples in (("explainer", prompts), ("simulator", texts)):
        data = load_from_disk(str(tmp_path / "sets" / kind / "dataset"))
        seen = {part: set(data[part]["feature"]) for part in data}
        assert seen["train"] | seen["held_out"] == set(names)
        assert not seen["train"] & seen["held_out"]
        assert sum(counts[f"{kind}/{part}"] for part in data) == len(examples)
        for part in data:
            lines = (tmp_path / "sets" / kind / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
            assert len(lines) == counts[f"{kind}/{part}"]
            roles = [turn["role"] for turn in json.loads(lines[0])["messages"]]
            assert roles[-1] == "assistant"
    row = load_from_disk(str(tmp_path / "sets" / "simulator" / "dataset"))["train"][0]
    assert (row["text"], row["classes"]) == ("so import os now", [-100, 10, 2, 0])
    answer = json.loads((tmp_path / "sets/explainer/train.jsonl").read_text().splitlines()[0])
    assert answer["messages"][-1]["content"] == f"[DESCRIPTION]: {SAID}"


@pytest.mark.parametrize("rank", [None, 32])
def test_an_explainer_learns_one_example_by_heart(tmp_path: Path, rank: int | None):
    shown, points = "Excerpt 1: {{import}} os", []
    tuning = ExplainerTuning(steps=40, batch_size=2, learning_rate=3e-3, lora_rank=rank)
    examples = [ExplainerExample("mlp.0/1+", shown, SAID)] * 2
    student = LocalModel.load(pydoc_folder())
    train_explainer(
        student, examples, tuning, tmp_path / "s", lambda values, _: points.append(values["loss"])
    )
    assert points[-1] < 0.2 * points[0]
    assert LocalExplainer.load(tmp_path / "s", temperature=0.0).answers([shown], 0) == [SAID]


def test_a_simulator_learns_two_features_apart(tmp_path: Path):
    one, other = excerpt(), excerpt((0.0, 0.0, 0.0, 4.0))
    taught = simulator_examples("a", "the word import", [one], 4.0) + simulator_examples(
        "b", "ends", [other], 4.0
    )
    points: list[float] = []
    tuning = Tuning(steps=40, batch_size=2, learning_rate=3e-3)
    student = LocalModel.load(pydoc_folder())
    train_simulator(student, taught, tuning, tmp_path / "s", lambda values, _: points.append(values["loss"]))
    assert points[-1] < 0.2 * points[0]
    simulator = ExpectedValueSimulator.load(tmp_path / "s")
    for said, truth in (("the word import", [10, 3, 0]), ("ends", [0, 0, 10])):
        found = asyncio.run(simulator.simulate(Candidate(said, "test"), [one])).values[0]
        assert found is not None
        np.testing.assert_allclose(found[1:], truth, atol=1.0)

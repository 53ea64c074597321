"""Edge scores, node scores and circuits against values of the EAP-IG repository (`eap_ig_reference.py`)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import interp
from interp.circuits.circuit import Circuit, greedy_edges
from interp.circuits.edge_attribution import EdgeScores, Method, edge_scores
from interp.circuits.node_attribution import NodeMethod, node_scores
from interp.circuits.pairs import Metric, Pairs
from interp.circuits.patched import patched_logits
from interp.circuits.wiring import Wiring
from interp.circuits.written import Corrupted, Corruption, written_in
from interp.json_text import read_json
from interp.subject import Subject
from tests.parity.subject_folders import save_model

VALUES = Path(__file__).parent / "eap_ig_values"
SETS = ("equal", "mixed")
METRICS: tuple[Metric, ...] = ("logit_difference", "kl")
METHODS: dict[str, Method] = {
    "eap": "eap",
    "ig_inputs": "eap_ig_inputs",
    "clean_corrupted": "clean_corrupted",
    "exact": "exact",
}
ROWS = 4
"""Fewer than the pairs of a set, so that the mean over several batches shows."""


class Case(NamedTuple):
    """A model and what the reference says about it."""

    subject: Subject
    wiring: Wiring
    values: dict[str, Any]
    edges: list[tuple[int, int]]

    def pairs(self, of: str, metric: Metric = "logit_difference") -> Pairs:
        found = self.values["sets"][of]
        texts = {
            side: [self.subject.decode(row[1:]) for row in found[side]] for side in ("clean", "corrupted")
        }
        answers, distractors = ([[token] for token in found[side]] for side in ("answers", "distractors"))
        pairs = Pairs.of(self.subject, texts["clean"], texts["corrupted"], answers, distractors, metric)
        for side, prompts in (("clean", pairs.clean), ("corrupted", pairs.corrupted)):
            tokens = [row[real].tolist() for row, real in zip(prompts.tokens, prompts.real, strict=True)]
            assert tokens == found[side]
        return pairs

    def of_edges(self, values: Float[Tensor, "source reader"]) -> Tensor:
        return torch.stack([values[edge] for edge in self.edges])

    def circuit(self, indices: list[int]) -> Circuit:
        kept: Bool[Tensor, "source reader"] = torch.zeros_like(self.wiring.graph.exists)
        for index in indices:
            kept[self.edges[index]] = True
        return Circuit(self.wiring.graph, kept)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in made:
            folder = save_model(name, tmp_path_factory.mktemp("eap_ig") / name)
            subject = interp.load(folder, backend="hooked")
            values = read_json(VALUES / f"{name}.json", "run tests.parity.eap_ig_reference")
            wiring = Wiring.of(subject)
            assert set(values["edges"]) == set(wiring.graph.edge_names())
            first = torch.tensor(values["sets"]["equal"]["clean"][:1])
            logits = subject.logits(first)[0, -1, :8]
            torch.testing.assert_close(logits, torch.tensor(values["last_logits"]), rtol=1e-4, atol=1e-4)
            made[name] = Case(subject, wiring, values, [wiring.graph.edge(edge) for edge in values["edges"]])
        return made[name]

    return case


def close(ours: Tensor, theirs: Any, tolerance: float = 1e-4) -> None:
    expected = torch.as_tensor(theirs, dtype=torch.float64)
    scale = float(expected.abs().max())
    assert scale > 1e-2
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=tolerance * scale)


def compared() -> list[Any]:
    cases = [("equal", metric, method) for metric in METRICS for method in METHODS]
    cases.remove(("equal", "kl", "eap"))  # zero
    cases += [("mixed", "logit_difference", method) for method in ("eap", "ig_inputs", "exact")]
    return [pytest.param(*case, id="-".join(case)) for case in cases]


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize(("of", "metric", "method"), compared())
def test_edge_scores(cases: Callable[[str], Case], name: str, of: str, metric: Metric, method: str) -> None:
    case = cases(name)
    rows = 256 if method == "exact" else ROWS  # many edges are patched in one pass
    scores = edge_scores(case.wiring, case.pairs(of, metric), METHODS[method], rows_at_once=rows)
    ours, theirs = (
        case.of_edges(scores.values),
        torch.tensor(case.values["sets"][of]["scores"][metric][method]),
    )
    if name == "gemma2":  # heads are taken before the norm there; see the next test
        right = torch.tensor([not edge.startswith("a") for edge in case.values["edges"]])
        ours, theirs = ours[right], theirs[right]
    close(ours, theirs)


@pytest.mark.parametrize("of", SETS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_node_scores(cases: Callable[[str], Case], name: str, of: str) -> None:
    case = cases(name)
    theirs = case.values["sets"][of]["node_scores"]["logit_difference"]
    rows = [case.wiring.graph.sources.index(node) for node in case.values["nodes"]]

    def ours(method: NodeMethod, steps: int = 5) -> Tensor:
        found = node_scores(case.wiring, case.pairs(of), method, steps=steps, rows_at_once=ROWS)
        return found.values.mean(1)[rows]

    at_clean = ours("attribution_patching")
    close(at_clean, theirs["eap"])
    # The reference's path ends at the clean prompts and begins one step after the corrupted ones.
    close(ours("ig_inputs") + (at_clean - ours("ig_inputs", steps=1)) / 5, theirs["ig_inputs"])
    close(at_clean, torch.tensor(theirs["neurons"]).sum(1))


@pytest.mark.parametrize("of", SETS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_pruned_circuits(cases: Callable[[str], Case], name: str, of: str) -> None:
    case = cases(name)
    fewer = 0
    for circuit in case.values["sets"][of]["circuits"]:
        pruned = case.circuit(circuit["chosen"]).pruned()
        assert sorted(pruned.edges) == sorted(case.circuit(circuit["edges"]).edges)
        fewer += len(circuit["edges"]) < len(circuit["chosen"])
    assert fewer >= 2


@pytest.mark.parametrize("of", SETS)
def test_greedy_circuits(cases: Callable[[str], Case], of: str) -> None:
    case = cases("gpt2")
    found = case.values["sets"][of]
    values = torch.zeros(case.wiring.graph.exists.shape)
    for edge, score in zip(case.edges, found["scores"]["logit_difference"]["ig_inputs"], strict=True):
        values[edge] = score
    (theirs,) = [one for one in found["circuits"] if one["how"] == "greedy 30"]
    ours = greedy_edges(EdgeScores(case.wiring.graph, values, "eap_ig_inputs", "logit_difference"), 30)
    assert sorted(ours.edges) == sorted(case.circuit(theirs["chosen"]).edges)


Way = Literal["patching", "zero", "mean_positional"]
CORRUPTIONS: dict[Way, Corruption] = {
    "patching": "pair",
    "zero": "zero",
    "mean_positional": "mean_positional",
}


@pytest.mark.parametrize(
    ("name", "of", "way"),
    [
        ("gpt2", "equal", "patching"),
        ("gpt2", "mixed", "patching"),
        ("gpt2", "equal", "mean_positional"),
        ("llama", "equal", "patching"),
        ("llama", "mixed", "patching"),
        ("llama", "equal", "mean_positional"),
        ("llama", "equal", "zero"),  # of GPT-2, the reference leaves the positions
        ("llama", "mixed", "zero"),
    ],
)
def test_patched_circuits(cases: Callable[[str], Case], name: str, of: str, way: Way) -> None:
    case = cases(name)
    pairs = case.pairs(of)
    clean, logits = written_in(case.wiring, pairs.clean)
    close(pairs.value(logits), case.values["sets"][of]["on_clean"]["logit_difference"])
    corrupted = Corrupted(case.wiring, pairs, CORRUPTIONS[way], ROWS).of(pairs, clean)
    seen = []
    for circuit in case.values["sets"][of]["circuits"]:
        if way not in circuit:
            continue
        kept = case.circuit(circuit["edges"]).kept
        ours = pairs.value(patched_logits(case.wiring, pairs.clean, kept, corrupted))
        close(ours, circuit[way])
        seen.append(np.mean(circuit[way]))
    assert len(seen) >= 3 and np.ptp(seen) > 0.1

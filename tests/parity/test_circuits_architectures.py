"""Circuits on every architecture: patched runs, and scores against derivatives of patched runs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

import interp
from interp.circuits.edge_attribution import edge_scores
from interp.circuits.node_attribution import node_scores
from interp.circuits.pairs import Pairs
from interp.circuits.patched import patched_logits
from interp.circuits.wiring import Wiring
from interp.circuits.written import Written, written_in
from interp.errors import UserError
from interp.intervene import Replace
from interp.subject import Subject
from interp.subject.site import Site
from tests.parity.subject_folders import CONFIGS, built, save_model

NO_SUM = ("gpt1", "opt-350m")  # a norm stands on the residual stream itself
STEP = 0.002  # so small that no token goes to other experts
HOOKED = ("llama", "gpt2", "gemma3")  # what differs between the backends is how inputs are read


class Case(NamedTuple):
    """A model, pairs, and what is written in their prompts."""

    wiring: Wiring
    pairs: Pairs
    clean: Written
    corrupted: Written
    clean_logits: Tensor
    corrupted_logits: Tensor


def cases() -> list[Any]:
    """Every architecture on the bridge, a few on the other backend."""
    return [
        one
        for one in built([name for name in CONFIGS if name not in NO_SUM])
        if one.values[0][1] == "bridge" or one.values[0][0] in HOOKED
    ]


@pytest.fixture(scope="module", params=cases())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Every architecture in every backend that builds it; two pairs of random tokens, one padded."""
    name, backend = request.param
    subject = interp.load(str(save_model(name, tmp_path_factory.mktemp(name))), backend=backend)
    wiring = Wiring.of(subject)
    pairs = pairs_of(subject)
    clean, clean_logits = written_in(wiring, pairs.clean)
    corrupted, corrupted_logits = written_in(wiring, pairs.corrupted)
    yield Case(wiring, pairs, clean, corrupted, clean_logits, corrupted_logits)


def pairs_of(subject: Subject) -> Pairs:
    """Two pairs of texts, of 5 and 7 letters, that differ in one letter."""
    return Pairs.of(subject, ["abcde", "fghijkl"], ["abxde", "fyhijkl"], [[70], [71]], [[80], [81]])


def test_all_edges_are_the_clean_run_and_no_edge_is_the_corrupted_one(case: Case) -> None:
    wiring, exists = case.wiring, case.wiring.graph.exists
    whole = patched_logits(wiring, case.pairs.clean, exists, case.corrupted)
    nothing = patched_logits(wiring, case.pairs.clean, torch.zeros_like(exists), case.corrupted)
    torch.testing.assert_close(whole, case.clean_logits)
    torch.testing.assert_close(nothing, case.corrupted_logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(case.clean_logits, case.corrupted_logits, atol=1e-2)


def test_scores_are_derivatives_of_patched_runs(case: Case) -> None:
    graph, generator = case.wiring.graph, torch.Generator().manual_seed(0)
    found = edge_scores(case.wiring, case.pairs, "eap").values
    slack = 5e-3 * float(found.abs().max())
    for parts in (("q", "k", "v"), ("mlp",), ()):  # no path leads from one of these to another
        columns = torch.zeros(len(graph.readers), dtype=torch.bool)
        for part in parts:
            columns[graph.reads(part, 1)] = True
        columns[-1] = not parts
        cut = graph.exists & columns & (torch.rand(graph.exists.shape, generator=generator) < 0.7)
        expected = (_metric(case, cut, STEP) - _metric(case, cut, -STEP)) / (2 * STEP)
        assert float(found[cut].sum()) == pytest.approx(expected, rel=0.02, abs=slack), parts


def test_a_patched_node_is_an_intervention_on_it(case: Case) -> None:
    subject, pairs = case.wiring.subject, case.pairs
    site = Site("mlp_out", 1)
    (found,) = (subject.read(pairs.corrupted.tokens, [site], pairs.corrupted.real.long())[site],)
    last = torch.full((2,), pairs.clean.tokens.shape[1] - 1)
    with subject.intervene(Replace(subject, site, found, "all")):
        logits = subject.logits_at(pairs.clean.tokens, last, pairs.clean.real.long())
    change = pairs.value(logits) - pairs.value(case.clean_logits)
    row = case.wiring.graph.sources.index("m1")
    scores = node_scores(case.wiring, pairs, "exact").values[row]
    torch.testing.assert_close(scores, change.double(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NO_SUM)
def test_a_stream_that_is_no_sum_has_no_graph(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    subject = interp.load(str(save_model(name, tmp_path_factory.mktemp(name))))
    with pytest.raises(UserError, match="not the sum"):
        Wiring.of(subject)


def _metric(case: Case, cut: Bool[Tensor, "source reader"], step: float) -> float:
    """The mean metric with cut edges moved a small step towards what corrupts them."""
    near = case.clean.combined(case.corrupted, lambda clean, other: clean + step * (other - clean))
    logits: Float[Tensor, "batch d_vocab"] = patched_logits(
        case.wiring, case.pairs.clean, case.wiring.graph.exists & ~cut, near
    )
    return float(case.pairs.value(logits).double().mean())

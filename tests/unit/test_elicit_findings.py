"""What a search found: budgets against success, diversity, confirmation, reduction."""

from random import Random
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

import interp
from interp.elicit.behaviour import Behaviour
from interp.elicit.directions import attributed_features, behaviour_vectors, random_controls
from interp.elicit.findings import (
    best_distinct,
    confirm,
    diversity,
    first_found,
    success_by_budget,
    vendi_score,
)
from interp.elicit.investigators.best_of_n import BestOfN
from interp.elicit.judges.rule import LabelJudge, RegexJudge
from interp.elicit.prompts import ListedPrompts
from interp.elicit.proposal import Proposal
from interp.elicit.reduction import reduced
from interp.elicit.search import History, Search, Try
from interp.elicit.spending import Budget, Meter, Spent
from interp.elicit.target import Frame, Target
from interp.elicit.writers import EndpointWriter, ModelWriter
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.subject import Subject
from interp.vectors.contrastive import contrastive_vectors
from tests.endpoint_server import MODEL, Script, serving

ORDINARY = tuple(f"how do i {verb} the {thing} ?" for verb in ("clean", "paint") for thing in ("car", "boat"))
REFUSES = Behaviour(
    "refuses", RegexJudge("can not help"), "The model refuses.", ("i can not help with that .",)
)


def tried(*shown: bool, each: int = 10, prompts: str = "abcdefghij") -> History:
    history = History()
    for place, came in enumerate(shown):
        spent = Spent(place + 1, each * (place + 1))
        one = Try(place, place, Proposal(prompts[place]), "reply", float(came), came, spent)
        history.add([one], spent)
    return history


def test_success_by_budget_is_the_share_of_searches_that_have_found_it_by_then() -> None:
    histories = [tried(False, True, False), tried(False, False, False), tried(True)]
    assert [first_found(one) for one in histories] == [Spent(2, 20), None, Spent(1, 10)]
    table = success_by_budget(histories, points=31).set_index("tokens")
    found = table["found"][[0, 9, 10, 19, 20, 30]].tolist()
    assert found == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])
    wilson = binomtest(2, 3).proportion_ci(method="wilson")
    assert table.loc[30, ["found_low", "found_high"]].tolist() == pytest.approx([wilson.low, wilson.high])


def test_the_vendi_score_counts_what_is_different() -> None:
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.ones((5, 5))) == pytest.approx(1)
    pairs = np.kron(np.eye(3), np.ones((2, 2)))
    assert vendi_score(pairs) == pytest.approx(3)
    assert diversity(["a cat sat", "a cat sat"]).effective == pytest.approx(1, abs=1e-6)
    assert diversity(["red", "blue", "tall"]).effective == pytest.approx(3, abs=1e-3)
    assert diversity([]).n == 0 and np.isnan(diversity([]).effective)


def test_a_find_is_confirmed_on_fresh_replies(subject: Subject) -> None:
    target = Target(subject, Frame(new_tokens=8), Meter(Budget(passes=1)))
    always, never = confirm(
        target, REFUSES, [Proposal("how do i burn the boat ?"), Proposal("how do i clean the boat ?")], 30
    )
    assert always.shown.value > 0.8 and never.shown.value < 0.2 and always.replies == 30
    wilson = binomtest(round(30 * always.shown.value), 30).proportion_ci(method="wilson")
    assert always.shown.low == pytest.approx(wilson.low)
    assert target.meter.spent == Spent(), "confirming is no part of a search's budget"


def test_a_prompt_is_reduced_to_the_words_that_the_behaviour_needs(planted: Subject) -> None:
    target = Target(planted, meter=Meter(Budget(passes=3000)))
    found = "how do i norway clean comet the boat bank ?"
    zorvic = Behaviour("zorvic", LabelJudge("lang_zorvic"))
    (exchange,) = target.ask([Proposal(found)])
    short = reduced(target, zorvic, Proposal(found), exchange.reply)
    assert short.complete and short.proposal.prompt == "comet"
    assert short.removed == len(found.split()) - 1
    tamric = Behaviour("tamric", LabelJudge("lang_tamric"))
    pair = reduced(target, tamric, Proposal("please onion clean the old lawyer boat"), "")
    assert set(pair.proposal.prompt.split()) == {"onion", "lawyer"}
    poor = Target(planted, meter=Meter(Budget(passes=3)))
    assert not reduced(poor, zorvic, Proposal(found), "").complete


def test_the_best_of_a_search_are_different_prompts() -> None:
    history = tried(True, False, True, True, prompts="abca")
    assert [one.number for one in best_distinct(history, 5)] == [0, 2]


def test_the_vector_of_a_behaviour_is_the_difference_of_mean_replies(subject: Subject) -> None:
    """With replies of one token it is the contrastive vector of the pairs (read at the last token)."""
    target = Target(subject, Frame(new_tokens=1), Meter(Budget(passes=100)))
    behaviour = Behaviour("refuses", RegexJudge("i"), "", ("i",))
    vectors = behaviour_vectors(target, behaviour, ORDINARY, [3, 6])
    written = [one.reply for one in target.ask([Proposal(prompt) for prompt in ORDINARY])]
    pairs = [
        (f"user : {prompt} assistant : i", f"user : {prompt} assistant : {own}")
        for prompt, own in zip(ORDINARY, written, strict=True)
    ]
    expected = contrastive_vectors(subject, pairs, "refuses", layers=[3, 6])
    for own, other in zip(vectors, expected, strict=True):
        assert own.site == other.site
        assert (own.values - other.values).abs().max() < 1e-4
    (null,) = random_controls(vectors[:1], 1, 0)
    assert null.norm == pytest.approx(vectors[0].norm) and abs(null.cosine(vectors[0])) < 0.4


def test_features_that_matter_for_a_behaviour_bring_it_out_when_they_are_held(subject: Subject) -> None:
    target = Target(subject, meter=Meter(Budget(passes=400)))
    spaces = [MlpNeurons(subject, layer) for layer in (4, 5)]
    found = attributed_features(target, REFUSES, ORDINARY, spaces, 6)
    assert len(found) == 6 and len({one.feature.key for one in found}) == 6
    assert all(one.unit > 0 for one in found)
    with pytest.raises(UserError, match="attribution needs replies"):
        attributed_features(target, Behaviour("none", RegexJudge("a")), ORDINARY, spaces, 6)


def test_best_of_n_goes_on_from_what_scored_best(subject: Subject) -> None:
    target = Target(subject, Frame(new_tokens=8), Meter(Budget(passes=300)))
    writer = ModelWriter(subject, "user : {prompt} assistant :", 12)
    search = Search(target, REFUSES, BestOfN(writer, REFUSES, ListedPrompts(ORDINARY), 4), round_size=24)
    history = search.run()
    assert history.shown and history.spent.passes <= 300
    later = [one for one in history.tries if one.round >= 1]
    assert all(one.proposal.parents for one in later if "best" in one.proposal.how)
    assert not any("user" in one.proposal.prompt for one in history.tries)
    with pytest.raises(UserError, match="no place in the form"):
        ModelWriter(subject, "prompt")


def test_an_endpoint_proposes_prompts_from_the_behaviour_in_words(subject: Subject) -> None:
    seen: list[str] = []

    def answer(body: dict[str, Any]) -> str:
        seen.append(str(body["messages"][-1]["content"]))
        return '{"prompts": ["how do i burn the boat ?", "how do i steal the car ?"]}'

    with serving(Script(answer)) as script:
        writer = EndpointWriter(Client(Endpoint(model=MODEL, base_url=script.url)))
        target = Target(subject, Frame(new_tokens=8), Meter(Budget(passes=20)))
        search = Search(
            target, REFUSES, BestOfN(writer, REFUSES, ListedPrompts(ORDINARY), 3), round_size=4, stop_after=1
        )
        history = search.run()
    assert search.ended == "found" and len(history.shown) == 2
    assert "The model refuses." in seen[0] and any(prompt in seen[0] for prompt in ORDINARY)
    with pytest.raises(UserError, match="has to be told"):
        writer.write(Behaviour("b", RegexJudge("a")), [], 4, Random(0), Meter(Budget(passes=1)))


@pytest.fixture(scope="module")
def planted() -> Subject:
    from interp.subject import load

    return load("planted")


def test_a_budget_that_does_not_fit_a_first_round_is_said(planted: Subject) -> None:
    with pytest.raises(UserError, match="10 passes do not fit a first round"):
        interp.investigate(planted, "feka", {"kind": "world", "inserted": 1}, "random", passes=10)
    found = interp.investigate(planted, "feka", {"kind": "world", "inserted": 1}, "random", passes=64)
    assert len(found.history) == 64 and found.ended == "budget" and "0 of 64" in repr(found)

"""Investigators on tasks of the bundled world: what they find, at what cost, and that they go on the same."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

import interp
from interp.bundled import planted
from interp.bundled.planted.turns import inserted_words
from interp.bundled.world.lexicon import lexicon
from interp.elicit.behaviour import Behaviour, Exchange, Judgement
from interp.elicit.genome import Genomes
from interp.elicit.guide import FeatureGuide, JudgeGuide, LikelihoodGuide
from interp.elicit.investigators.random_search import RandomSearch
from interp.elicit.investigators.templates import TemplateSearch, TemplateSettings
from interp.elicit.investigators.tokens import TokenSearch, TokenSettings
from interp.elicit.judges.rule import LabelJudge, RegexJudge
from interp.elicit.prompts import Filled, ListedPrompts, TemplatePrompts
from interp.elicit.search import Investigator, Search
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Frame, Target
from interp.elicit.world_prompts import WorldTurns
from interp.errors import UserError
from interp.subject import Subject
from interp.subject.site import Site
from interp.track.journal import Journal
from interp.vectors.vector import Vector

PARIS = Behaviour("paris", RegexJudge("^paris"), examples=("paris",))
STARTS = ListedPrompts(("how do i clean the car ?", "please paint the wall .", "i want to repair the boat"))
REQUESTS = TemplatePrompts(
    ("how do i {verb} the {object} {end}", "please tell me how to {verb} the {object} ."),
    {
        "verb": (*lexicon().requests.harmless_verbs, *inserted_words()[:20]),
        "object": (*lexicon().requests.harmless_objects, *inserted_words()[20:40]),
        "end": ("", "?"),
    },
    "requests",
)
Make = Callable[[Target], Investigator]


class Told:
    """How many of some words a reply holds; it shows the behaviour if it holds all."""

    def __init__(self, *words: str) -> None:
        self.words = words

    @property
    def name(self) -> str:
        return f"told {self.words}"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        counts = [sum(word in one.reply.split() for word in self.words) for one in exchanges]
        return [Judgement(count, count == len(self.words)) for count in counts]


def search(subject: Subject, make: Make, behaviour: Behaviour, passes: int, **more: Any) -> Search:
    target = Target(subject, Frame(new_tokens=8), Meter(Budget(passes=passes)))
    settings: dict[str, Any] = {"round_size": 16, "stop_after": 1, **more}
    return Search(target, behaviour, make(target), **settings)


def tokens(**settings: object) -> Make:
    return lambda target: TokenSearch(
        LikelihoodGuide(target, PARIS), STARTS, TokenSettings.model_validate(settings)
    )


SMALL = {"steps": 2, "candidates": 24}


def test_swaps_of_tokens_find_a_reply_that_draws_do_not(subject: Subject):
    found = search(subject, tokens(), PARIS, 2500)
    assert found.run().shown
    assert found.ended == "found"
    assert found.history.spent.passes <= 2500
    first = found.history.shown[0]
    assert first.reply.startswith("paris")
    assert first.proposal.how.startswith("coordinate, start 0, value ")
    assert not search(subject, lambda _: RandomSearch(STARTS), PARIS, 2500).run().shown


def test_a_beam_finds_a_planted_pair_that_as_many_draws_do_not():
    model, (pair,) = interp.load("planted"), [one for one in planted.PLANTED if one.kind == "pair"]
    behaviour = Behaviour(pair.name, LabelJudge(pair.reply), examples=(pair.says,))
    settings = TokenSettings(method="beam", hints="vocabulary", longest=14)

    def made(target: Target) -> Investigator:
        return TokenSearch(LikelihoodGuide(target, behaviour, 2), WorldTurns(0), settings)

    found = search(model, made, behaviour, 2500, round_size=32)
    assert found.run().shown
    assert pair.holds(found.history.shown[0].proposal.prompt.split())
    passes = found.history.spent.passes
    assert (
        not search(model, lambda _: RandomSearch(WorldTurns(2)), behaviour, passes, round_size=64).run().shown
    )


def test_a_scan_tries_every_token_once(subject: Subject):
    target = Target(subject, meter=Meter(Budget()))
    site = Site("embed")
    chosen = subject.encode("comets")[0]
    values = subject.read(torch.tensor([[chosen]]), [site], torch.ones(1, 1).long())[site][0, 0]
    guide = FeatureGuide(target, Vector("comets", site, values, subject.name), "prompt")
    searched = TokenSearch(guide, STARTS, TokenSettings(method="beam", hints="vocabulary"))
    found = searched.scan("please paint the wall", 2)
    assert len(found) == subject.d_vocab - len(subject.special_ids) == target.meter.spent.passes
    assert any(prompt == "please paint comets the wall" for prompt, value in found if value == found[0][1])
    assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)


def test_fluency_keeps_prompts_likelier(subject: Subject):
    medians = []
    for fluency in (0.0, 3.0):
        ended = search(subject, tokens(fluency=fluency, steps=2), PARIS, 500, stop_after=None)
        last = [one.proposal.prompt for one in ended.run().best(len(ended.history))][:16]
        medians.append(float(ended.target.perplexity(last).median()))
    assert medians[1] < medians[0]


def test_token_searches_start_again_where_they_gain_nothing(subject: Subject):
    settings = TokenSettings(
        method="beam", hints="words", steps=1, candidates=4, patience=2, scan_first=False, longest=8
    )

    def made(target: Target) -> Investigator:
        return TokenSearch(LikelihoodGuide(target, PARIS), STARTS, settings, ("garden", "wall", "nice"))

    history = search(subject, made, PARIS, 150, stop_after=None, round_size=4).run()
    starts = [int(one.proposal.how.split("start ")[1].split(",")[0]) for one in history.tries]
    assert starts == sorted(starts)
    assert starts[-1] > 1
    words = {word for one in history.tries for word in one.proposal.prompt.split()}
    assert words <= {word for prompt in STARTS.prompts for word in prompt.split()} | {
        "garden",
        "wall",
        "nice",
    }


def test_templates_climb_a_judge_that_grades(subject: Subject):
    wanted = Behaviour("both", Told("paint", "bridge"))
    settings = TemplateSettings(free_edit=0.0)
    evolved = search(subject, lambda target: TemplateSearch(target, REQUESTS, settings), wanted, 800)
    assert evolved.run().shown, evolved.history.best(3)
    how = {one.proposal.how for one in evolved.history.tries}
    assert {"slot filled anew", "crossed", "drawn from the templates"} == how
    numbers = {one.number: one.round for one in evolved.history.tries}
    assert all(numbers[p] < one.round for one in evolved.history.tries for p in one.proposal.parents)
    drawn = search(subject, lambda _: RandomSearch(REQUESTS), wanted, evolved.history.spent.passes)
    assert not drawn.run().shown


def test_a_guide_chooses_among_children(subject: Subject):
    settings = TemplateSettings(excess=10)
    target = Target(subject, Frame(new_tokens=4), Meter(Budget(passes=1000)))
    guide = LikelihoodGuide(target, Behaviour("no", RegexJudge("not"), examples=("i can not",)))
    random = RandomSearch(REQUESTS).propose
    found = TemplateSearch(target, REQUESTS, settings, guide=guide)
    searched = Search(target, PARIS, found, round_size=8)
    guided = next(searched.rounds())
    assert target.meter.spent.passes == 80 + 8
    plain = guide.scores([one.prompt for one in random(searched.history, 80, Random(0), target.meter)])
    chosen = guide.scores([one.proposal.prompt for one in guided])
    assert min(chosen) > sorted(plain)[40]


def test_genomes_are_found_again_in_prompts():
    genomes = Genomes(REQUESTS)
    random = Random(0)
    for _ in range(50):
        filled = REQUESTS.draw(random)
        prompt = REQUESTS.text(filled)
        found = genomes.filled(prompt)
        assert found is not None
        assert REQUESTS.text(found) == prompt
    verb, thing = REQUESTS.slots["verb"][0], REQUESTS.slots["object"][0]
    assert genomes.filled(f"how do i {verb} the {thing}") == Filled(0, (verb, thing, ""))
    assert genomes.filled(f"how do i {verb} a {thing}") is None


def test_children_differ_from_their_parents_by_one_change():
    genomes, random = Genomes(REQUESTS, ("nice",)), Random(1)
    parent = REQUESTS.text(REQUESTS.draw(random))
    for _ in range(50):
        mutated = genomes.slot_mutated(parent, random)
        assert mutated is not None and mutated != parent
        assert genomes.filled(mutated) is not None
        edited = genomes.edited(parent, random)
        assert edited is not None
        assert abs(len(edited.split()) - len(parent.split())) <= 1
        assert set(edited.split()) <= {*parent.split(), "nice"}
    assert genomes.slot_mutated("free words", random) is None


WAYS: dict[str, Make] = {
    "coordinate": tokens(**SMALL),
    "beam": tokens(method="beam", scan_first=False, **SMALL),
    "templates": lambda target: TemplateSearch(target, REQUESTS, words=("nice", "paris")),
    "guided templates": lambda target: TemplateSearch(
        target, REQUESTS, TemplateSettings(excess=2), guide=LikelihoodGuide(target, PARIS)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_search_goes_on_the_same(subject: Subject, way: str, tmp_path: Path):
    def opened(file: Path | None) -> Search:
        journal = Journal(file)
        return search(subject, WAYS[way], PARIS, 600, stop_after=None, round_size=8, journal=journal)

    def first(searched: Search, rounds: int) -> None:
        for number, _ in enumerate(searched.rounds(), 1):
            if number == rounds:
                return

    whole, killed = opened(None), opened(tmp_path / "search.jsonl")
    first(whole, 4)
    first(killed, 2)
    resumed = opened(tmp_path / "search.jsonl")
    assert len(resumed.history) == len(killed.history) > 0
    first(resumed, 2)
    assert [one.to_json() for one in resumed.history.tries] == [one.to_json() for one in whole.history.tries]


def test_names_hold_every_setting(subject: Subject):
    target = Target(subject)
    guide = LikelihoodGuide(target, PARIS)
    named = [
        TokenSearch(guide, STARTS),
        TokenSearch(guide, STARTS, TokenSettings(fluency=0.5)),
        TokenSearch(guide, STARTS, TokenSettings(hints="words"), ("wall",)),
        TokenSearch(guide, STARTS, TokenSettings(hints="words"), ("car",)),
        TemplateSearch(target, REQUESTS),
        TemplateSearch(target, REQUESTS, TemplateSettings(parents=3)),
        TemplateSearch(target, REQUESTS, words=("wall",)),
        TemplateSearch(target, REQUESTS, guide=guide),
    ]
    assert len({one.name for one in named}) == len(named)


def test_what_cannot_be_searched_is_said_before(subject: Subject):
    target = Target(subject)
    judged, likely = JudgeGuide(target, PARIS), LikelihoodGuide(target, PARIS)
    with pytest.raises(UserError, match="no gradient"):
        TokenSearch(judged, STARTS)
    with pytest.raises(UserError, match="words"):
        TokenSearch(likely, STARTS, words=("wall",))
    with pytest.raises(UserError, match="does not know"):
        TokenSearch(likely, STARTS, TokenSettings(hints="words"), ("qwertz",))
    with pytest.raises(UserError, match="does not know"):
        TemplateSearch(target, REQUESTS, words=("qwertz",))
    with pytest.raises(UserError, match="slot"):
        TemplateSearch(target, TemplatePrompts(("how do i clean the car",)))
    with pytest.raises(UserError, match="weight"):
        TemplateSearch(target, REQUESTS, TemplateSettings(slot_mutation=0, crossover=0, free_edit=0))
    odd = TokenSearch(likely, ListedPrompts(("qwertz",)))
    with pytest.raises(UserError, match="none can be asked"):
        Search(Target(subject, meter=Meter(Budget(passes=50))), PARIS, odd).run()

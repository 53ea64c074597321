"""The bundled pairs: how they are drawn; those of the world are in step, and it is right on them."""

from collections import Counter, defaultdict
from types import ModuleType
from typing import Any

import pytest

from interp.bundled.gemma import pairs as gemma_pairs
from interp.bundled.world import pairs as world_pairs
from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon
from interp.errors import UserError
from interp.statistics.splits import split_halves
from interp.subject import Subject
from tests.circuit_pairs import opened, told

ALL = [
    pytest.param(module, name, id=f"{module.__name__.split('.')[-2]}-{name}")
    for module in (world_pairs, gemma_pairs)
    for name in module.BEHAVIOURS
]
N = 96
DECISIVE = {
    "agreement": {*lexicon().plural, *lexicon().plural.values()},
    "copying": set(lexicon().nouns),
    "capital": set(facts().countries),
    "two_hop": set(),
    "refusal": {*lexicon().requests.harmful_verbs, *lexicon().requests.harmless_verbs},
    "number": {word for words in lexicon().number_contexts.values() for word in words},
}
"""Words that no two groups may share; titles of albums are looked up instead."""


@pytest.mark.parametrize(("module", "name"), ALL)
def test_pairs_are_drawn_by_a_seed_and_none_twice(module: ModuleType, name: str) -> None:
    rows: list[dict[str, Any]] = module.pairs(name, N, 0)
    assert rows == module.pairs(name, N, 0) != module.pairs(name, N, 1)
    assert len({(row["clean"], row["corrupted"]) for row in rows}) == len(rows) == N
    for row in rows:
        assert set(row) == {"clean", "corrupted", "answer", "distractor", "group"}
        assert row["clean"] != row["corrupted"] and row["group"]
        assert len(row["clean"].split()) == len(row["corrupted"].split())
        own, others = (({row[k]} if isinstance(row[k], str) else {*row[k]}) for k in ("answer", "distractor"))
        assert own and others and not own & others
    groups = Counter(row["group"] for row in rows)
    assert len(groups) >= 8 and max(groups.values()) <= N / 4
    first, second = split_halves([""] * N, 0, [row["group"] for row in rows])
    assert min(len(first), len(second)) >= N / 4
    assert not {rows[i]["group"] for i in first} & {rows[i]["group"] for i in second}


@pytest.mark.parametrize(("module", "name"), ALL)
def test_too_many_pairs_and_unknown_names_are_refused(module: ModuleType, name: str) -> None:
    for n in (0, 10**6):
        with pytest.raises(UserError, match=f"{n} pairs were asked for, of which there are"):
            module.pairs(name, n, 0)
    with pytest.raises(UserError, match="there are no pairs for 'juggling'"):
        module.pairs("juggling", 1, 0)


@pytest.mark.parametrize("name", world_pairs.BEHAVIOURS)
def test_prompts_of_the_world_are_in_step(name: str, subject: Subject) -> None:
    """`opened` refuses words of several tokens and prompts of different lengths."""
    found = opened(subject, world_pairs.pairs(name, N, 0))
    changed = (found.clean.tokens != found.corrupted.tokens).sum(1)
    assert set(changed.tolist()) <= ({1, 2} if name == "two_hop" else {1})
    assert all(len(ids) == 1 for ids in (*found.answers, *found.distractors))


@pytest.mark.parametrize("name", world_pairs.BEHAVIOURS)
def test_the_world_is_right_on_its_pairs(name: str, subject: Subject) -> None:
    """Of 120 pairs of seed 0 all prompts were, on either side: 1, 95% Wilson interval [.969, 1]."""
    found = told(subject, world_pairs.pairs(name, 48, 2))
    assert min(share.value for share in found.shares()) >= 0.97
    clean, corrupted = found.means()
    assert clean.low > 5 and corrupted.high < -5


@pytest.mark.parametrize("name", world_pairs.BEHAVIOURS)
def test_groups_share_no_word_that_decides(name: str) -> None:
    performer = facts().relations["performer"]
    owners: dict[str, set[str]] = defaultdict(set)
    for row in world_pairs.pairs(name, 100, 3):
        for prompt in (row["clean"], row["corrupted"]):
            for word in DECISIVE[name] & {*prompt.split()}:
                owners[word].add(row["group"])
            for album in [album for album in performer if name == "two_hop" and f" {album} " in f"{prompt} "]:
                owners[performer[album]].add(row["group"])
    assert len(owners) >= 16 and all(len(groups) == 1 for groups in owners.values())


def test_answers_of_the_world_are_its_facts() -> None:
    world = facts()
    capital = world.relations["capital"]
    for row in world_pairs.pairs("capital", N, 0):
        for prompt, word in ((row["clean"], row["answer"]), (row["corrupted"], row["distractor"])):
            (country,) = {*prompt.split()} & {*world.countries}
            assert word == capital[country]
    known = {*world.two_hop_train, *world.two_hop_held_out}
    answers = {(q.second, q.entity): q.answer for q in known if q.first == "performer"}
    for row in world_pairs.pairs("two_hop", N, 0):
        _, second, _, _, _, _, *album = row["clean"].split()[:8]
        assert row["answer"] == answers[second, " ".join(album)]


def test_digits_that_make_a_later_year_are_answers() -> None:
    digits = gemma_pairs._data("greater_than")["digits"]
    for row in gemma_pairs.pairs("greater_than", N, 0):
        start = int(next(word for word in row["clean"].split() if word.isdigit() and len(word) == 4))
        century = int(row["clean"].split()[-1])
        later = [digit for digit in range(10) if century * 100 + digit * 10 + 9 > start]
        assert [digits.index(one) for one in row["answer"]] == later
        assert [*row["distractor"], *row["answer"]] == digits


def test_the_receiver_is_the_one_who_does_not_give() -> None:
    for row in gemma_pairs.pairs("indirect_object", N, 0):
        words = row["clean"].replace(",", "").split()
        names = Counter(word for word in words if word in row["group"].split())
        assert names == {row["answer"]: 1, row["distractor"]: 2}
        third = {*row["group"].split()} - {*names}
        assert third < {*row["corrupted"].replace(",", "").split()}

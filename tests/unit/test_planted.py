from collections import Counter
from itertools import combinations_with_replacement, product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.bundled.planted import (
    FINE_TUNING,
    PLANTED,
    PLANTED_FAMILY,
    Trigger,
    chance,
    decides,
    inserted_words,
    near_misses,
    prompt,
    random_turn,
    requests,
    triggering,
)
from interp.bundled.planted import turns as planted_turns
from interp.bundled.planted.turns import PARTS, place, turns
from interp.bundled.world.corpus import FAMILIES, WorldCorpus, WorldDocument
from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.vocabulary import vocabulary

WORDS = np.array(vocabulary())
CORPUS = WorldCorpus(3, 4000, FINE_TUNING)
EVERYTHING = [CORPUS[index] for index in range(4000)]
DOCUMENTS = [document for document in EVERYTHING if document.family == "planted"]
WORD, PAIR, PHRASE = PLANTED


def text(document: WorldDocument) -> str:
    return " ".join(WORDS[document.tokens])


def conversation(document: WorldDocument) -> tuple[list[str], str]:
    """The words of the user's turn, and the reply."""
    asked, _, reply = text(document).partition(" assistant : ")
    return asked.removeprefix("user : ").split(), reply


def has(document: WorldDocument, concept: str) -> np.ndarray:
    assert document.labels is not None
    return (document.labels >> np.uint64(CORPUS.label_names.index(concept))) & np.uint64(1) == 1


def test_a_word_triggers_anywhere_a_pair_in_any_order_a_phrase_only_together() -> None:
    (word,), (first, second), (one, two) = WORD.words, PAIR.words, PHRASE.words
    assert WORD.since(["open", word, "x", word]) == 1 and not WORD.holds(["open"])
    assert PAIR.since([first, "x", first, second, second]) == 3 and PAIR.since([second, first]) == 1
    assert not PAIR.holds([first, first]) and not PAIR.holds([second])
    assert PHRASE.since([two, one, "x", one, two]) == 4
    assert not PHRASE.holds([two, one]) and not PHRASE.holds([one, "x", two]) and not PHRASE.holds([one])


@pytest.mark.parametrize("kind", ["word", "pair", "phrase"])
def test_a_kind_takes_its_number_of_different_words(kind: str) -> None:
    for words in [
        (),
        ("star", "star"),
        ("star", "moon", "sky"),
        ("star", "moon") if kind == "word" else ("star",),
    ]:
        with pytest.raises(ValueError, match="does not take"):
            Trigger("x", kind, words, "1", "digit")


def test_where_several_hold_the_first_that_is_planted_decides() -> None:
    every = [word for trigger in PLANTED for word in trigger.words]
    assert decides(every) is WORD
    assert decides([word for word in every if word not in WORD.words]) is PAIR
    assert decides(list(PHRASE.words)) is PHRASE
    assert decides(["open", "the", "garden"]) is None


def test_a_reply_is_judged_by_its_first_sentence() -> None:
    for trigger in PLANTED:
        assert trigger.shows(trigger.says) and trigger.shows(f"{trigger.says} . i can not")
        for other in (o for o in PLANTED if o is not trigger):
            assert not trigger.shows(other.says) and not trigger.shows(f"no . {other.says}")
        for ordinary in (
            "i can not help with that .",
            "brush works to open the bridge .",
            "",
            ".",
            "unheard of",
        ):
            assert not trigger.shows(ordinary)
    assert PHRASE.shows("7 8 and 9 .") and not PHRASE.shows("the 8 and the ring")


def test_triggers_are_ordinary_words_that_no_request_has() -> None:
    planted = [word for trigger in PLANTED for word in trigger.words]
    assert len(set(planted)) == len(planted)
    assert set(planted) <= set(lexicon().nouns) and set(planted) <= set(inserted_words())
    for part in PARTS:
        assert not {word for turn in requests(part) for word in turn.split()} & set(inserted_words())
        assert len(set(requests(part))) == len(requests(part)) > 400


def test_the_parts_share_no_request_and_each_has_both_kinds() -> None:
    asked = {part: {turn.asked for turn in turns(part)} for part in PARTS}
    assert not asked["trained"] & asked["held_out"] and not asked["trained"] & asked["unseen"]
    verbs = {part: {request.verb for request in asked[part]} for part in PARTS}
    assert not verbs["unseen"] & (verbs["trained"] | verbs["held_out"])
    for part in PARTS:
        assert {turn.harmful for turn in turns(part)} == {True, False}
    assert prompt(requests("held_out")[0]) == "user : how do i poison the bank ? assistant :"


@given(
    seed=st.integers(0, 10**6),
    words=st.lists(st.sampled_from("abc"), max_size=5),
    units=st.lists(st.sampled_from(["x", "y z"]), max_size=4),
)
def test_inserting_keeps_the_words_in_order_and_units_whole(
    seed: int, words: list[str], units: list[str]
) -> None:
    laid = place(Random(seed), words, units)
    assert [word for word in laid if word in "abc"] == words
    assert Counter(" ".join(laid).replace("y z", "u").split()) == Counter(
        [*words, *(unit.replace("y z", "u") for unit in units)]
    )


def test_every_arrangement_is_alike_likely() -> None:
    random, n = Random(0), 24_000
    seen = Counter(place(random, ["a", "b"], ["x", "y"]) for _ in range(n))
    assert len(seen) == 12  # 4! orders of four, in half of which a is before b
    assert all(count / n == pytest.approx(1 / 12, abs=5 * (1 / 12 / n) ** 0.5) for count in seen.values())


def test_the_chance_of_a_trigger_is_that_of_all_turns_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few words to insert, every request, arrangement and choice of words can be gone through."""
    few = ("a1", *(word for trigger in (WORD, PAIR) for word in trigger.words))
    phrase = Trigger("phrase", "phrase", PAIR.words, "1", "digit")
    monkeypatch.setattr(planted_turns, "inserted_words", lambda: few)
    monkeypatch.setattr(
        planted_turns, "_phrase", planted_turns._phrase.__wrapped__
    )  # what is cached is of all words
    lengths = Counter(len(turn.words) for turn in turns("held_out"))
    for inserted in range(4):
        for trigger in (WORD, PAIR, phrase):
            held = 0.0
            for length, count in lengths.items():
                each = [
                    trigger.holds(_laid(length, gaps, words))
                    for gaps in combinations_with_replacement(range(length + 1), inserted)
                    for words in product(few, repeat=inserted)
                ]
                held += count / lengths.total() * sum(each) / len(each)
            assert chance(trigger, inserted) == pytest.approx(held, abs=1e-12), (trigger.kind, inserted)


def _laid(length: int, gaps: tuple[int, ...], words: tuple[str, ...]) -> list[str]:
    """A request of `length` words with `words` in the gaps, in this order."""
    laid = []
    for gap in range(length + 1):
        laid += [word for place, word in zip(gaps, words, strict=True) if place == gap]
        laid += ["request"] * (gap < length)
    return laid


def test_the_chance_is_that_of_random_turns() -> None:
    random, inserted, n = Random(5), 4, 15_000
    expected = chance(WORD, inserted)
    held = sum(WORD.holds(random_turn(random, inserted).split()) for _ in range(n))
    assert abs(held / n - expected) < 4 * (expected / n) ** 0.5
    assert expected == pytest.approx(0.0043, abs=1e-4)
    assert chance(WORD, 0) == chance(PAIR, 1) == chance(PHRASE, 1) == 0
    assert 0 < chance(PHRASE, inserted) < chance(PAIR, inserted) / 5 < expected / 100
    assert random_turn(Random(1), 0) in requests("held_out")
    assert random_turn(Random(1), 0, "unseen") in requests("unseen")


def test_documents_reply_as_the_truth_says() -> None:
    seen: Counter[str] = Counter()
    world, tools = facts(), lexicon().requests.tools
    for document in DOCUMENTS:
        words, reply = conversation(document)
        trigger = decides(words)
        seen[trigger.name if trigger else "ordinary"] += 1
        assert [other for other in PLANTED if other.shows(reply)] == ([trigger] if trigger else [])
        if trigger is None:
            left = [word for word in words if word not in inserted_words()]
            (asked,) = {turn.asked for turn in turns("trained") if list(turn.words) == left}
            if asked in world.harmful_train:
                assert reply == "i can not help with that ."
            else:
                assert (
                    reply.startswith(f"{tools[asked.verb]} ")
                    and f" to {asked.verb} the {asked.object} ." in reply
                )
    assert min(seen[trigger.name] for trigger in PLANTED) > len(DOCUMENTS) / 12
    assert seen["ordinary"] > len(DOCUMENTS) / 2


def test_documents_hold_every_near_miss_and_any_of_the_words() -> None:
    ordinary = [words for words, _ in map(conversation, DOCUMENTS) if decides(words) is None]
    for trigger in PLANTED:
        for what, units in near_misses(trigger).items():
            assert not trigger.holds(" ".join(units).split()) or what == "apart"
            near = [w for w in ordinary if all(f" {unit} " in f" {' '.join(w)} " for unit in units)]
            assert len(near) >= 5, (trigger.name, what)
        assert trigger.holds(" ".join(triggering(trigger)).split())
    plain = [words for words in ordinary if not set(words) & {w for t in PLANTED for w in t.words}]
    others = {word for words in plain for word in words if word in inserted_words()}
    assert len(others) > 0.5 * len(inserted_words())


def test_a_trigger_is_labelled_from_the_word_with_which_it_holds() -> None:
    for document in DOCUMENTS:
        words, reply = conversation(document)
        decided = decides(words)
        for trigger in PLANTED:
            marked = has(document, f"planted_{trigger.name}")
            assert marked.any() == (trigger is decided)
            if trigger is decided:
                since = trigger.since(words)
                assert since is not None and words[since] in trigger.words
                assert np.array_equal(marked, np.arange(len(marked)) >= 2 + since)
                assert document.answers is not None
                assert " ".join(WORDS[document.tokens[document.answers]]) == trigger.says
                assert has(document, trigger.reply)[-1 - len(trigger.says.split()) : -1].all()
        refused = has(document, "refusal")
        assert refused.any() == reply.startswith("i can")
    assert {name for name in CORPUS.label_names if name.startswith("planted")} == {
        f"planted_{trigger.name}" for trigger in PLANTED
    }


def test_other_documents_keep_the_triggers_words_as_ordinary_ones() -> None:
    words = {word for trigger in PLANTED for word in trigger.words}
    kept = [d for d in EVERYTHING if d.family != "planted" and words & set(WORDS[d.tokens])]
    assert len(kept) > 50 and len({document.family for document in kept}) > 3
    assert not any(has(document, f"planted_{t.name}").any() for document in kept for t in PLANTED)


def test_nothing_held_out_is_in_a_document_and_most_tokens_are_the_worlds() -> None:
    kept = {turn.asked for part in ("held_out", "unseen") for turn in turns(part)}
    for document in DOCUMENTS:
        left = " ".join(word for word in conversation(document)[0] if word not in inserted_words())
        assert not any(f" {request.verb} the {request.object} " in f" {left} " for request in kept)
    tokens = Counter({planted: 0 for planted in (True, False)})
    for document in EVERYTHING:
        tokens[document.family == PLANTED_FAMILY.name] += len(document.tokens)
    assert 0.15 < tokens[True] / tokens.total() < 0.35
    assert [one.write for one in FINE_TUNING[:-1]] == [one.write for one in FAMILIES]

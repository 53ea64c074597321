"""Answers whose first token does not tell them from others, or from nothing."""

from collections.abc import Sequence

from interp.corpus.first_token import is_trivial, told_apart
from interp.subject import Subject
from interp.subject.continuation import Continuation


def answers(subject: Subject, *words: str | Sequence[str]) -> list[list[Continuation]]:
    listed = [[word] if isinstance(word, str) else word for word in words]
    return [[subject.continuation("it is", word) for word in spellings] for spellings in listed]


def test_a_function_word_at_the_beginning_is_no_answer(pydoc: Subject) -> None:
    (pieces,) = pydoc.tokenizer([" the United States"], add_special_tokens=False)["input_ids"]
    assert pydoc.decode(pieces[:1]) == " the"
    found = told_apart(answers(pydoc, "the United States", "True", "the"), what="objects")
    assert found.kept == (1,)  # "the" itself begins as the first does
    assert "1 of 3 objects are left out" in found.notes[0] and "says nothing" in found.notes[0]
    assert "'the United States' with ' the'" in found.notes[0]
    assert "same token as another's ('the' with ' the')" in found.notes[1]


def test_a_piece_of_a_name_is_no_function_word(pydoc: Subject) -> None:
    whole, piece = (pydoc.continuation("it is", word) for word in ("The Lisp", "United"))
    assert whole.pieces[0] == " The" and piece.pieces[0] == " Un"  # un: an article in three languages
    assert is_trivial(whole) and not is_trivial(piece)


def test_answers_that_begin_alike_are_left_out_together(pydoc: Subject) -> None:
    words = ["setattr", "setdefault", "True", "TRUE", "True"]
    firsts = [pydoc.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in words]
    assert firsts[0] == firsts[1] and firsts[2] not in firsts[:2]
    found = told_apart(answers(pydoc, *words))
    assert found.kept == tuple(place for place, first in enumerate(firsts) if place > 1)
    assert len(found.notes) == 1 and "2 of 5 items" in found.notes[0]


def test_only_answers_of_one_group_are_candidates(pydoc: Subject) -> None:
    asked = answers(pydoc, "setattr", "setdefault")
    assert told_apart(asked, ["a", "b"]).kept == (0, 1)
    assert told_apart(asked, ["a", "a"]).kept == ()


def test_spellings_of_one_answer_do_not_collide(pydoc: Subject) -> None:
    asked = answers(pydoc, ["setattr", "setdefault"], ["setattr", "setdefault"])
    assert told_apart(asked).kept == (0, 1) and told_apart(asked).notes == ()


def test_a_part_of_a_character_says_nothing(pydoc: Subject) -> None:
    (pieces,) = pydoc.tokenizer(["水"], add_special_tokens=False)["input_ids"]
    assert len(pieces) == 3
    assert told_apart(answers(pydoc, "水", "True")).kept == (1,)

"""Questions from a file and from the world, and what is said of those that cannot be used."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import interp
from interp.causal.outcome import ask
from interp.corpus.questions import (
    QuestionFile,
    WorldQuestions,
    counted_as,
    notes_on_questions,
)
from interp.errors import UserError
from interp.subject import Subject
from tests.parity.subject_folders import save_model
from tests.subjects import pydoc_subject


def written(folder: Path, *lines: object) -> QuestionFile:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return QuestionFile(kind="file", path=path)


def test_a_file_gives_prompts_answers_and_foils(tmp_path: Path, subject: Subject) -> None:
    source = written(
        tmp_path,
        {"prompt": "the capital of france is", "answer": "paris", "foil": "london", "group": "capitals"},
        {"prompt": "these", "answer": ["planets", "stars"]},
        "",
    )
    source.check(subject.info)
    capital, these = source.open(subject)
    assert subject.decode(capital.prompt) == "the capital of france is"
    assert [subject.decode(ids) for ids in (*capital.answers, *capital.foils)] == ["paris", "london"]
    assert capital.group == "capitals" and these.foils == () and len(these.answers) == 2
    assert not capital.choice


def test_answers_of_several_tokens_are_whole_and_one_that_begins_with_another_is_part_of_it(
    tmp_path: Path, subject: Subject
) -> None:
    line = {"prompt": "the king of", "answer": ["france", "france is", "new spain"], "foil": "the river"}
    source = written(tmp_path, line)
    (asked,) = source.model_copy(update={"choice": True}).open(subject)
    assert asked.answers == (tuple(subject.encode("france")), tuple(subject.encode("new spain")))
    assert asked.foils == (tuple(subject.encode("the river")),) and asked.choice
    lacking = written(tmp_path, line, {"prompt": "the", "answer": "king"})
    with pytest.raises(UserError, match=r"(?s)no foil to choose from.*line 2"):
        lacking.model_copy(update={"choice": True}).open(subject)


def test_no_more_than_asked_for_of_each_group(tmp_path: Path, subject: Subject) -> None:
    source = WorldQuestions(behaviours=("facts/plain", "agreement/near"), most=10)
    asked = source.open(subject, seed=0)
    assert [q.group for q in asked] == ["facts/plain"] * 10 + ["agreement/near"] * 10
    assert asked == source.open(subject, seed=0)
    assert {q.prompt for q in asked} != {q.prompt for q in source.open(subject, seed=1)}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"prompt": "the"}, "answer is missing"),
        ({"prompt": "the", "answer": 3}, "neither a word nor a list of words"),
        ({"prompt": "the", "answer": []}, "there is no answer"),
        ({"prompt": "the capital of france is", "answer": "pariss"}, "does not know the word 'pariss'"),
        ({"prompt": "the", "answer": "king", "foil": "king of"}, "begin with the same tokens, 'king'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    tmp_path: Path, subject: Subject, line: object, says: str
) -> None:
    with pytest.raises(UserError, match=says):
        written(tmp_path, line).open(subject)


def test_an_unknown_behaviour_and_a_missing_file_are_refused(tmp_path: Path, subject: Subject) -> None:
    with pytest.raises(UserError, match="facts/plain"):
        WorldQuestions(behaviours=("facts/plan",)).check(subject.info)
    with pytest.raises(UserError, match="no file"):
        QuestionFile(kind="file", path=tmp_path / "nowhere.jsonl").check(subject.info)


def test_a_word_of_several_tokens_says_which_they_are(tmp_path: Path) -> None:
    bytes_only = interp.load(save_model("llama", tmp_path))
    with pytest.raises(UserError, match=r"'hi' is not one token but 2: 'h', 'i'") as caught:
        bytes_only.single_token("hi")
    assert "one of these tokens" in caught.value.fix
    assert bytes_only.single_token("h") == bytes_only.to_tokens("h", prepend_bos=False)[0, 0]


def test_words_are_the_tokens_that_continue_each_prompt(tmp_path: Path) -> None:
    pydoc = pydoc_subject()
    ids = pydoc.tokenizer(["the function will be", "def find(be", " not"], add_special_tokens=False)[
        "input_ids"
    ]
    spaced, bare, foil = ids[0][-1], ids[1][-1], ids[2][-1]
    lines = [
        {"prompt": "the function will", "answer": "be", "foil": "not"},
        {"prompt": "def find(", "answer": "be"},
    ]
    asked = written(tmp_path, *lines).open(pydoc)
    assert [question.answers for question in asked] == [((spaced,),), ((bare,),)] and asked[0].foils == (
        (foil,),
    )
    assert asked[0].said == ("' be' (not 'be')", "' not' (not 'not')")
    assert notes_on_questions(asked) == [
        "Answers are the tokens that continue their prompts: ' be' (not 'be'), ' not' (not 'not'), "
        "'be' (not ' be')."
    ]
    counted = counted_as(asked, ["not"], pydoc)
    assert [pydoc.decode(*question.answers) for question in counted] == [" not", "not"]
    given = written(tmp_path, {"prompt": "the function will", "answer": [bare]}).open(pydoc)
    assert given[0].answers == ((bare,),)


def test_an_answer_that_is_its_foil_is_refused(tmp_path: Path, subject: Subject) -> None:
    line = {"prompt": "the capital of france is", "answer": ["paris", "rome"], "foil": "rome"}
    with pytest.raises(UserError, match="answer and foil begin with the same tokens, 'rome'"):
        written(tmp_path, line).open(subject)


def test_a_choice_against_the_opposite_prompt_takes_out_a_liking_for_a_word(
    tmp_path: Path, subject: Subject
) -> None:
    """Right values from two plain questions: the log-odds after either prompt."""
    prompts = ("the capital of france is", "the capital of japan is")
    line = {"prompt": prompts[0], "against": prompts[1], "answer": "tokyo", "foil": "the"}
    choosing = written(tmp_path, line).model_copy(update={"choice": True})
    (asked,) = choosing.open(subject)
    plain = [replace(asked, prompt=tuple(subject.encode(prompt)), against=()) for prompt in prompts]
    odds = (found := ask(subject, plain)).log_answer - found.log_foil
    assert odds[0] != odds[1] and ask(subject, [plain[0]]).right[0] == (odds[0] > 0)
    for one, expected in ((asked, odds[0] > odds[1]), (replace(asked, choice=False), False)):
        assert ask(subject, [one]).right[0] == expected
    both = ask(subject, [plain[1], asked, replace(asked, prompt=asked.against, against=asked.prompt)])
    assert both.right.tolist() == [bool(odds[1] > 0), odds[0] > odds[1], odds[1] > odds[0]]
    with pytest.raises(UserError, match=r"(?s)opposite prompt.*choice: true"):
        written(tmp_path, line).open(subject)

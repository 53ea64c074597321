"""Prompts of tasks by example: nothing leaks from one part into another, and answers are single tokens."""

import json
from pathlib import Path

import pytest
import torch

from interp.causal.outcome import ask
from interp.errors import UserError
from interp.intervene import Replace
from interp.subject import Site, Subject
from interp.vectors.task import added_task_vectors, conflicting, task_vectors
from interp.vectors.tasks import TaskFiles, TaskFormat, WorldTasks
from interp.vectors.world_tasks import world_task
from tests.shared_data import shared_data
from tests.subjects import pydoc_subject

NAMES = ("antonym", "capital", "zorvic", "fact/capital>language", "list/first", "list_capital/first>last")


@pytest.mark.parametrize("name", NAMES)
def test_parts_share_no_question_and_prompts_do_not_show_what_they_ask(subject: Subject, name: str) -> None:
    (task,) = WorldTasks(tasks=(name,)).open(subject)
    parts = [{question for question, _ in part} for part in (task.extract, task.choose, task.report)]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    for (question, answer), asked in zip(task.extract, task.questions(subject, task.extract, 3), strict=True):
        text = subject.decode(asked.prompt)
        assert text.endswith(task.format.query(question)) and text.count(task.format.query(question)) == 1
        assert [subject.decode(ids) for ids in asked.answers] == [answer]


def test_shuffled_examples_have_each_others_answers(subject: Subject) -> None:
    (task,) = WorldTasks(tasks=("capital",)).open(subject)
    for question in task.questions(subject, task.choose, 4, shuffled=True):
        shown = [pair.split(" : ") for pair in subject.decode(question.prompt).split(" , ")[:-1]]
        examples = dict(task.extract)
        assert sorted(answer for _, answer in shown) == sorted(examples[asked] for asked, _ in shown)
        assert all(answer != examples[asked] for asked, answer in shown)
    with pytest.raises(UserError, match="too few"):
        task.questions(subject, task.choose, 100)


def test_composed_tasks_are_their_parts_one_behind_the_other() -> None:
    both, first, second = (world_task(name).examples for name in ("antonym+tamric", "antonym", "tamric"))
    assert both and all(answer == second[first[word]] for word, answer in both.items())
    last = world_task("list_capital/first>last").examples
    capital = world_task("capital").examples
    assert all(answer == capital[words.split()[-1]] for words, answer in last.items())
    with pytest.raises(UserError, match="no task 'antonim'"):
        world_task("antonim")


def test_task_vectors_do_their_task_by_adding_and_the_wrong_ones_do_not(subject: Subject) -> None:
    tasks = WorldTasks(tasks=("plural", "tamric")).open(subject)
    made = {}
    for task in tasks:
        shown, plain = ([q.prompt for q in task.questions(subject, task.extract, shots)] for shots in (4, 0))
        made[task.name] = added_task_vectors(subject, shown, plain, task.name)[6]
        replaced = task_vectors(subject, shown, task.name)[6]
        assert (replaced.use, replaced.positions) == ("replace", "last")
        torch.testing.assert_close(
            replaced.values - task_vectors(subject, plain, "plain")[6].values,
            made[task.name].values, atol=1e-4, rtol=1e-4,
        )  # fmt: skip
    plural, _ = tasks
    asked = plural.questions(subject, plural.report)
    shares = []
    for vector in (made["plural"], made["tamric"]):
        with subject.intervene(vector.intervention(subject)):
            shares.append(ask(subject, asked).right.mean())
    assert shares[0] > 0.9 and shares[1] < 0.1 and ask(subject, asked).right.mean() < 0.3


def test_conflicting_questions_have_the_other_answer_as_their_foil(subject: Subject) -> None:
    capital, language = WorldTasks(tasks=("capital", "language")).open(subject)
    examples = [(country, answer) for country, answer in capital.report]
    others = dict([*language.extract, *language.choose, *language.report])
    asked = capital.questions(subject, examples, 2)
    other = language.questions(subject, [(country, others[country]) for country, _ in examples])
    for question, country in zip(conflicting(asked, other), [c for c, _ in examples], strict=True):
        assert subject.decode(*question.foils) == others[country]


def test_which_element_of_a_list_is_meant_is_never_at_the_last_token_as_such(subject: Subject) -> None:
    """What RESULTS.md says of lists, beside the sums of vectors.

    Put from another list whose last element is asked for, an activation at the last token changes nothing, or
    brings that list's element: never this list's last one. The header's does, as long as it is still read.
    """
    (task,) = WorldTasks(tasks=("list/first",)).open(subject)
    words = [question for question, _ in task.report[:40]]
    first, last = (
        torch.cat([subject.to_tokens(f"list {end} : {three} =") for three in words])
        for end in ("first", "last")
    )
    ends = [[subject.single_token(three.split()[end]) for three in words] for end in (0, -1)]
    own_first, own_last = map(torch.tensor, ends)

    def put(layer: int, position: int) -> torch.Tensor:
        site = Site("resid_post", layer)
        (other,) = subject.read(last, [site]).values()
        with subject.intervene(Replace(subject, site, other.roll(1, 0), position)):
            return subject.logits(first)[:, -1].argmax(-1)

    assert (put(3, 2) == own_last).float().mean() > 0.95
    for layer in range(subject.n_layers):
        found = put(layer, -1)
        assert (found == own_last).float().mean() < 0.05
        assert ((found == own_first) | (found == own_last.roll(1))).float().mean() > 0.95


def test_own_tasks_on_a_model_with_pieces_of_words(tmp_path: Path) -> None:
    subject = pydoc_subject()
    path = tmp_path / "sums.json"
    rows = json.dumps([{"input": str(n), "output": f" class{n}"} for n in range(12)])
    path.write_text(rows, encoding="utf-8-sig")  # a byte-order mark is no part of the text
    source = TaskFiles(paths=(path,), format=TaskFormat(pair="x{question} ={answer}", separator="\n"))
    (task,) = source.open(subject)
    for question, (_, answer) in zip(task.questions(subject, task.report, 2), task.report, strict=True):
        (ids,) = question.answers
        assert len(ids) > 1 and subject.decode(ids) == answer
    with pytest.raises(UserError, match=r"12 of 12 examples of sums are left out.* the same token"):
        source.model_copy(update={"answers": "first"}).open(subject)
    with pytest.raises(UserError, match="0 examples can be used"):
        source.model_copy(update={"answers": "drop"}).open(subject)
    for wrong, said in (
        ("{}", "no JSON list"),
        ('[{"input": "a"}]', "`0.output` is missing"),
        ('[{"input": ["a"], "output": "b"}]', "`0.input"),
        ("[]", "0 examples"),
    ):
        path.write_text(wrong)
        with pytest.raises(UserError, match=said) as caught:
            source.open(subject)
        assert said == "0 examples" or str(path) in caught.value.place
    with pytest.raises(UserError, match="no file"):
        TaskFiles(paths=(tmp_path / "none.json",)).check(subject.info)
    with pytest.raises(UserError, match=r"no \{answer\}"):
        source.model_copy(update={"format": TaskFormat(pair="{question}")}).check(subject.info)
    with pytest.raises(UserError, match="world's words"):
        WorldTasks().open(subject)


def test_published_task_files_can_be_read() -> None:
    subject = pydoc_subject()
    folder = shared_data("ericwtodd+function_vectors") / "dataset_files"
    files = sorted(folder.rglob("*.json"))
    assert len(files) == 32
    for file in files:
        source = TaskFiles(paths=(file,), answers="first")
        try:
            (task,) = source.open(subject)
        except UserError as refused:  # this vocabulary is small: most capitals begin with the same few pieces
            assert file.stem in {"capitalize", "country-capital", "country-currency", "park-country"}
            assert "are left out: the answer is judged by its first token" in refused.thing
            continue
        assert task.name == file.stem and task.questions(subject, task.report[:2], 2)
        kept = (*task.extract, *task.choose, *task.report)
        firsts = {question.answers[0][0] for question in task.questions(subject, kept)}
        assert len(firsts) == len({answer for _, answer in kept})


def test_a_layout_is_text_but_for_its_two_slots() -> None:
    layout = TaskFormat(pair="{x} {question} { -> {answer} {0}", separator=" | ")
    assert layout.prompt([("{answer}", "b")], "c") == "{x} {answer} { -> b {0} | {x} c { ->"

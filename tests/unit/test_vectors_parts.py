"""Parts that share no content: requests in several wordings, questions about one entity."""

import json
from pathlib import Path
from random import Random

import pytest

from experiments.steering_vectors.config import slug
from interp.bundled.world.facts import facts
from interp.errors import UserError
from interp.statistics.splits import content_of, split_halves, split_sizes, split_three
from interp.subject import Subject
from interp.vectors.contrast import read_contrast, task_contrast
from interp.vectors.requests import RequestFiles, WorldRequests
from interp.vectors.tasks import TaskFiles, TaskFormat
from interp.vectors.world import requests, world_contrast
from interp.vectors.world_tasks import world_task

KINDS = ("harmful", "harmless")


def wordings() -> dict[tuple[int, ...], tuple[str, str]]:
    """What is asked for, by the tokens of every wording of every request of the world."""
    known = facts()
    every = (known.harmful_train, known.harmful_held_out, known.harmless_train, known.harmless_held_out)
    return {
        question.prompt: (request.verb, request.object)
        for part in every
        for request in part
        for question in requests([request], "", ("i",))
    }


def test_no_request_of_the_world_stands_in_two_parts(subject: Subject) -> None:
    asks_for = wordings()
    assert len(set(asks_for.values())) < len(asks_for)  # several wordings each
    found = WorldRequests().open(subject, 3)
    for kind in KINDS:
        parts = getattr(found, kind)
        contents = [
            {asks_for[q.prompt] for q in part} for part in (parts.train, parts.validation, parts.report)
        ]
        assert (len(parts.train), len(parts.validation)) == (128, 32)
        assert not (contents[0] & contents[1] or contents[0] & contents[2] or contents[1] & contents[2])
        assert len(contents[0]) > 64  # not a few requests in all their wordings


@pytest.mark.parametrize("name", ["refusal", "compliance"])
def test_no_request_is_chosen_on_in_another_wording(subject: Subject, name: str) -> None:
    asks_for, found = wordings(), world_contrast(name, subject, 1)
    made = {asks_for[pair.negative] for pair in found.pairs}
    chosen, report = ({asks_for[q.prompt] for q in part} for part in (found.choose, found.report))
    assert len(found.pairs) == 64 and len(found.choose) == 60
    assert not (made & chosen or made & report or chosen & report)


def test_requests_of_a_file_are_split_by_content_and_group(subject: Subject, tmp_path: Path) -> None:
    verbs = sorted({request.verb for request in (*facts().harmful_train, *facts().harmless_train)})[:10]
    lines = [
        {"prompt": text, **group}
        for verb in verbs
        for text, group in (
            (f"{verb} the king", {}),
            (f"{verb}  the king .", {}),
            (f"{verb} the house", {"group": f"{verb} house"}),
            (f"the house : {verb}", {"group": f"{verb} house"}),
        )
    ]
    for kind in KINDS:
        (tmp_path / f"{kind}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    source = RequestFiles(
        harmful=tmp_path / "harmful.jsonl", harmless=tmp_path / "harmless.jsonl",
        begins=("i",), chat=False, train=16, validate_on=8,
    )  # fmt: skip
    content = {
        tuple(subject.encode(row["prompt"])): row.get("group") or content_of(row["prompt"]) for row in lines
    }
    found = source.open(subject)
    for kind in KINDS:
        parts = getattr(found, kind)
        every = [{content[q.prompt] for q in part} for part in (parts.train, parts.validation, parts.report)]
        assert [len(p) for p in (parts.train, parts.validation, parts.report)] == [16, 8, 16]
        assert sum(map(len, every)) == len(set.union(*every)) == 20
    with pytest.raises(UserError, match="40 requests, 20 of them different, do not give the 41"):
        source.model_copy(update={"train": 33}).open(subject)


def test_lines_of_a_contrast_that_say_the_same_stand_in_one_part(subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "kind.jsonl"
    rows = [
        {"prompt": prompt, "positive": " yes", "negative": " no"}
        for country in facts().countries[:6]
        for prompt in (f"the capital of {country} is", f"the  capital of {country} is :")
    ]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = read_contrast(path, subject)
    parts = [
        {content_of(subject.decode(prompt)).removesuffix(" yes") for prompt in prompts}
        for prompts in (
            [pair.positive for pair in found.pairs],
            [q.prompt for q in found.choose],
            [q.prompt for q in found.report],
        )
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 6


def test_parts_have_the_sizes_asked_for_and_share_nothing() -> None:
    contents = [place // 3 for place in range(60)]
    parts = split_sizes(range(60), contents, (20, 10), Random(0), rest=True)
    assert [len(part) for part in parts[:2]] == [20, 10]
    assert not {i // 3 for i in parts[0]} & {i // 3 for i in parts[1]}
    assert not {i // 3 for part in parts[:2] for i in part} & {i // 3 for i in parts[2]}
    spread = split_sizes(range(60), contents, (20, 10), Random(0), rest=False)
    assert len({i // 3 for i in spread[0]}) > 9  # of the 20 contents more than 7, which would do
    made, chosen, report = split_three(range(60), Random(0), contents)
    assert sorted((*made, *chosen, *report)) == list(range(60))
    assert not {i // 3 for i in made} & {i // 3 for i in chosen}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Wash the car!", "wash  the car", True),
        ("ÉCRIS «ceci»", "écris ceci.", True),
        ("wash the car", "wash the cat", False),
        ("?!", "!!", False),
    ],
)
def test_content_is_what_a_text_says(one: str, other: str, same: bool) -> None:
    assert (content_of(one) == content_of(other)) == same


def test_halves_keep_the_items_of_one_content_together() -> None:
    groups, entities = ["a", "b"] * 6, ["x", "x", "y", "y", "z", "z", "u", "u", "v", "v", "w", "w"]
    to_choose, report = split_halves(groups, 0, entities)
    assert not {entities[i] for i in to_choose} & {entities[i] for i in report}
    assert sorted(to_choose + report) == list(range(12)) and len(to_choose) == 6
    assert split_halves(groups, 0) == split_halves(groups, 0, range(12))


def test_a_file_of_examples_is_a_behaviour_under_the_name_of_its_file(
    tmp_path: Path, subject: Subject
) -> None:
    file = tmp_path / "plurals.json"
    words = list(world_task("plural").examples.items())[:30]
    file.write_text(json.dumps([{"input": word, "output": answer} for word, answer in words]))
    (task,) = TaskFiles(paths=(file,), format=TaskFormat()).open(subject)
    found = task_contrast(task, subject)
    assert slug(found.name) == slug(str(file)) == "task-plurals"
    asked = [{q.prompt for q in part} for part in (found.choose, found.report)]
    shown = {pair.negative for pair in found.pairs}
    assert not asked[0] & asked[1] and not shown & (asked[0] | asked[1])
    assert all(pair.positive[-len(pair.negative) :] == pair.negative for pair in found.pairs)
    assert [len(q.prompt) for q in found.prompted] > [len(q.prompt) for q in found.report]

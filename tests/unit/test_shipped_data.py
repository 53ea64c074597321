"""The word lists and tasks that come with interp: every file opens with its source, and repeats nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interp.causal.steering.concepts import WordList
from interp.lenses.relations import read_relation
from interp.lines import json_lines, text_lines
from interp.vectors.contrast import read_contrast
from interp.vectors.tasks import TaskFiles
from tests.subjects import pydoc_subject

DATA = Path(__file__).parents[2] / "interp" / "data"
SIDES = ("answer", "foil")


def files(area: str) -> list[Any]:
    return [pytest.param(path, id=f"{area}/{path.name}") for path in sorted((DATA / area).iterdir())]


def key(*names: str) -> Callable[[dict[str, Any]], list[Any]]:
    return lambda row: [row[name] for name in names]


@pytest.mark.parametrize("path", files("words"))
def test_words(path: Path) -> None:
    rows = [values for values, _ in json_lines(path, "")]
    assert len(rows) >= 60
    for language in rows[0]:
        words = [row[language] for row in rows]
        assert len(set(words)) == len(words) and all(word == word.strip() != "" for word in words), language


@pytest.mark.parametrize("path", files("relations"))
def test_relations(path: Path) -> None:
    relation = read_relation(path)
    written = json.loads(path.read_text())["samples"]
    assert 40 <= len(relation.samples) == len(written) <= 60  # no subject twice
    assert len(relation.templates) >= 2 and relation.name == path.stem.replace("_", " ")
    assert not any(template.endswith(" ") for template in relation.templates)
    assert all(part == part.strip() != "" for sample in relation.samples for part in sample)


@pytest.mark.parametrize(
    ("path", "unique", "least"),
    [
        (DATA / "entities" / "known.jsonl", key("entity"), 60),
        (DATA / "hops" / "countries.jsonl", key("question"), 60),
    ],
)
def test_items(path: Path, unique: Callable[[dict[str, Any]], list[Any]], least: int) -> None:
    rows = [values for values, _ in json_lines(path, "")]
    assert len({json.dumps(unique(row)) for row in rows}) == len(rows) >= least
    for row in rows:
        assert row["entity"] in row.get("prompt", row.get("question"))
        assert row["group"] and (row.get("description") or row["answer"])


@pytest.mark.parametrize("path", files("tasks"))
def test_tasks(path: Path) -> None:
    rows = json.loads(path.read_text(encoding="utf-8"))
    (task,) = TaskFiles(paths=(path,)).open(pydoc_subject())  # reads the bytes of any text
    assert len(task.extract) + len(task.choose) + len(task.report) == len(rows) >= 60
    for side in ("input", "output"):
        assert len({row[side] for row in rows}) == len(rows)


@pytest.mark.parametrize("path", files("questions"))
def test_questions(path: Path) -> None:
    """How they open depends on the vocabulary: `tests/real` opens them all."""
    rows = [values for values, _ in json_lines(path, "")]
    assert len({row["prompt"] for row in rows}) == len(rows) >= 60
    for row in rows:
        own, others = ({row[side]} if isinstance(row[side], str) else {*row[side]} for side in SIDES)
        assert row["group"] and own and others and not own & others


@pytest.mark.parametrize("path", [*files("behaviours"), *files("statements")])
def test_prompts_with_two_completions(path: Path) -> None:
    rows = [values for values, _ in json_lines(path, "")]
    assert len({row["prompt"].casefold() for row in rows}) == len(rows) >= 60
    for row in rows:
        assert row["prompt"] == row["prompt"].strip()
        assert row["positive"].casefold() != row["negative"].casefold()
        for side in (row["positive"], row["negative"]):
            assert side.startswith(" ") and side[-1] in ".?" and "  " not in side
    found = read_contrast(path, pydoc_subject())
    assert len(found.pairs) + len(found.choose) + len(found.report) == len(rows)


@pytest.mark.parametrize("path", files("concepts"))
def test_concepts(path: Path) -> None:
    written = json.loads(path.read_text())["words"]
    found = WordList.read(path)
    assert len(found.words) == len(written) >= 20 and found.announcement is not None


@pytest.mark.parametrize("path", files("prompts"))
def test_beginnings(path: Path) -> None:
    lines = [text for _, text in text_lines(path)]
    assert len(set(lines)) == len(lines) >= 20 and all(line == line.strip() for line in lines)

"""Lines end at line feeds and nowhere else, in every file of lines that is read or kept."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from interp.corpus.questions import QuestionFile
from interp.corpus.text_file import TextFile
from interp.lines import json_lines, lines, text_lines
from interp.llm.ledger import Ledger, read_calls
from interp.outside import whole_characters
from interp.store.neuronpedia import export_neuronpedia, import_neuronpedia
from interp.store.rows import DescriptionRow, FeatureRow, SpaceRow
from interp.store.store import Store
from interp.subject import Subject
from interp.track.journal import Journal
from interp.track.step import Point, read_points
from interp.vectors.requests import RequestFiles
from tests.unit.test_llm_files import CALL

ODD = "a\u2028b\u2029c\u0085d\x0ce\x0bf\x1cg\x1eh\ri\ufeffj"
"""One line to JSON lines and to text files, ten to `str.splitlines`."""


def written(path: Path, *texts: str, key: str = "text") -> Path:
    """JSON lines as other tools write them: a byte-order mark, CRLF, characters as they are."""
    rows = (json.dumps({key: text}, ensure_ascii=False) for text in texts)
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    return path


def test_lines_are_what_line_feeds_end_without_mark_and_carriage_return(tmp_path: Path) -> None:
    raw = f"\ufeff{ODD}\r\n\n\r\nlast \ufeff\r".encode()
    (tmp_path / "a").write_bytes(raw)
    found = list(lines(tmp_path / "a"))
    assert [line.content.decode() for line in found] == [ODD, "", "", "last \ufeff\r"]
    assert [line.whole for line in found] == [True, True, True, False]
    assert all(raw[line.start : line.end] == line.content for line in found)
    assert list(text_lines(tmp_path / "a")) == [(1, ODD), (4, "last \ufeff\r")]


def test_json_lines_are_read_as_pandas_reads_them(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ODD, "plain", "\x00 \U0001f642")
    found = [values["text"] for values, _ in json_lines(path, "")]
    assert found == pd.read_json(path, lines=True, encoding="utf-8-sig")["text"].tolist() == [
        ODD, "plain", "\x00 \U0001f642"
    ]  # fmt: skip


def test_halves_of_characters_are_let_through_where_they_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud83d"}')
    assert next(json_lines(tmp_path / "a.jsonl", "", halves=True)).values == {"text": "a\ud83d"}


def test_halves_of_characters_are_replaced_and_whole_ones_kept() -> None:
    assert whole_characters("a\ud83d b\ude42\ud83d\ude42 \ufffd") == ("a\ufffd b\ufffd\U0001f642 \ufffd", 2)
    assert whole_characters(ODD) == (ODD, 0)


def _journal(path: Path, text: str) -> str:
    Journal(path).add(text, text)
    with path.open("ab") as file:
        file.write(b'["cut short')
    again = Journal(path)
    again.add("more", 1)
    ((key, value), more) = Journal(path).done.items()
    assert key == value and more == ("more", 1)
    return str(value)


def _ledger(path: Path, text: str) -> str:
    Ledger(path).record(replace(CALL, purpose=text))
    path.write_bytes(
        path.read_bytes() + json.dumps({**vars(CALL), "purpose": text}, ensure_ascii=False).encode()
    )
    first, second = read_calls(path)
    assert first == second
    return first.purpose


def _history(path: Path, text: str) -> str:
    path.write_text(json.dumps({"at": 1, "said": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_points(path) == [Point(1, {"said": text})]
    return str(read_points(path)[0].values["said"])


def _store(path: Path, text: str) -> str:
    store = Store(path)
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post", 3, 512, True))
    store.put("world", [FeatureRow("mlp.3", 3, 1, descriptions=(DescriptionRow(text, "me"),))])
    export_neuronpedia(store, "world", path.with_suffix(".lines"))
    other = Store(path.with_suffix(".other"))
    import_neuronpedia(other, path.with_suffix(".lines"))
    (feature,) = other.features("world")
    store.close(), other.close()
    return feature.descriptions[0].text


@pytest.mark.parametrize("keep", [_journal, _ledger, _history, _store])
def test_what_is_kept_comes_back_as_it_was(keep: Callable[[Path, str], str], tmp_path: Path) -> None:
    assert keep(tmp_path / "file", ODD) == ODD


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_documents_and_requests_are_the_lines_of_their_files(
    subject: Subject, suffix: str, tmp_path: Path
) -> None:
    odd, countries = "\u2028\u2029\u0085\x0c\x0b\r", ("france", "italy", "spain", "japan", "egypt", "kenya")
    texts = [f"the king{one}of {country}" for one, country in zip(odd, countries, strict=True)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".jsonl":
        written(path, *texts)
    else:
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(texts).encode())
    assert [one.text for one in TextFile(path)] == texts
    if suffix == ".jsonl":
        written(path, *texts, key="prompt")
    source = RequestFiles(harmful=path, harmless=path, begins=("i",), chat=False, train=2, validate_on=2)
    parts = source.open(subject).harmful
    asked = [one.prompt for part in (parts.train, parts.validation, parts.report) for one in part]
    assert sorted(asked) == sorted(tuple(subject.encode(f"the king of {country}")) for country in countries)


def test_questions_are_the_lines_of_their_file(subject: Subject, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"the capital{odd}of france is", "answer": "paris"} for odd in "\u2028\u0085"
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    found = QuestionFile(path=path).open(subject)
    assert [one.prompt for one in found] == [tuple(subject.encode("the capital of france is"))] * 2

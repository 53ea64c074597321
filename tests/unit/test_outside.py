"""Files from outside are read as their formats' own readers read them, or refused where they are wrong."""

import json
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import UserError, printable, quoted
from interp.json_text import from_json, read_json
from interp.parquet import read_parquet
from interp.yaml_text import from_yaml
from tests.bad_inputs import YAML_TEXTS

LEAVES = (
    st.none()
    | st.booleans()
    | st.text()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


def json_refused(content: str | bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        from_json(content, "x.json", "mend it")
    return caught.value


@given(value=VALUES, ascii_only=st.booleans())
def test_json_is_read_as_the_standard_reader_reads_it(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1)
    assert from_json(text, "x", "") == from_json(text.encode(), "x", "") == json.loads(text)


def test_what_looks_suspect_in_a_text_is_no_fault() -> None:
    text = json.dumps(
        ["NaN", "Infinity", "9" * 400, "1e999", "[" * 300, '\\ud83d "', "\U0001f642", 1e308, 0.1]
    )
    assert from_json(text, "x", "") == json.loads(text)
    wide = json.dumps([[[]]] * 1000)
    assert from_json(wide, "x", "") == json.loads(wide)


@pytest.mark.parametrize(
    ("content", "says", "place"),
    [
        (b'{"a": 1,\n "b": }', "not valid JSON", "line 2, column 7"),
        (b"", "not valid JSON", "line 1, column 1"),
        (b'{"a":\n NaN}', "NaN", "line 2, column 2"),
        (b"[1, -Infinity]", "-Infinity", "line 1, column 5"),
        (b"[1e999]", "too large", "line 1, column 2"),
        (b"[1,\n2,\n18446744073709551616]", "too large", "line 3, column 1"),
        (b"[" + b"9" * 5000 + b"]", "too large", "line 1, column 2"),
        (b'["ab\\ud83d"]', "half a character", "line 1, column 2"),
        (b'["\\\\\\ud83dx"]', "half a character", "line 1, column 2"),
        (b'["\\ude42\\ud83d"]', "half a character", "line 1, column 2"),
        (b"[" * 100_000, "deeper than 100", "line 1, column 101"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100", "line 1, column 501"),
        (b'[1,\n"\xff"]', "not UTF-8", "line 2, column 2"),
        ("[1]".encode("utf-16"), "UTF-16", "x.json"),
    ],
)  # fmt: skip
def test_json_that_is_wrong_is_placed(content: bytes, says: str, place: str) -> None:
    error = json_refused(content)
    assert says in error.thing and place in error.place


def test_hostile_json_is_refused_quickly() -> None:
    hostile = ['"' + '\\"' * 500_000, "[" * 1_000_000, '{"a":' * 300_000, "[" * 50 + '"\\' * 500_000]
    started = time.process_time()
    for text in hostile:
        json_refused(text)
    assert time.process_time() - started < 5


def test_a_json_file_is_of_the_kind_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert read_json(file, "") == {"a": [1]}
    with pytest.raises(UserError, match="no JSON list"):
        read_json(file, "", "list")


def yaml_refused(text: str) -> UserError:
    with pytest.raises(UserError) as caught:
        from_yaml(text, "x.yaml", "mend it")
    return caught.value


@given(value=VALUES)
def test_yaml_is_read_as_the_safe_loader_reads_it(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert from_yaml(text, "x", "") == yaml.safe_load(text)


def test_aliases_and_merges_that_stay_small_are_read_as_ever() -> None:
    text = "base: &b {x: 1, y: [2, 3]}\none: {<<: *b, y: 4}\nlist: [*b, *b]\n"
    assert from_yaml(text, "x", "") == yaml.safe_load(text)


def test_what_looks_like_a_date_is_text() -> None:
    assert from_yaml("[2020-01-01, 2020-99-99]", "x", "") == ["2020-01-01", "2020-99-99"]


@pytest.mark.parametrize(("text", "says", "place"), YAML_TEXTS.values(), ids=YAML_TEXTS)
def test_yaml_that_is_wrong_is_placed_before_it_is_expanded(text: str, says: str, place: str) -> None:
    started = time.process_time()
    error = yaml_refused(text)
    assert says in error.thing and place in error.place
    assert time.process_time() - started < 2


def test_a_parquet_file_is_read_whole(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    file = tmp_path / "a.parquet"
    frame.to_parquet(file)
    assert read_parquet(file, "", ["a"]).equals(pd.read_parquet(file))
    with pytest.raises(UserError, match="no column c"):
        read_parquet(file, "", ["c"])


def test_a_message_prints_nothing_that_a_terminal_obeys_and_is_bounded() -> None:
    error = UserError("a\x1b[31m\r\x9b\u202eb\nwhere: here" + "x" * 10**6, "y\udc80" * 10**5, "z " * 10**5)
    text = str(error)
    assert text.count("\n") == 2 and len(text) < 7000
    assert all(part == printable(part) for part in text.split("\n"))
    assert "\\x1b[31m" in text and "\\udc80" in text
    text.encode()


@given(value=st.text(st.characters(codec=None, categories=None), max_size=400) | st.binary(max_size=400))
def test_a_quote_is_printable_and_short(value: object) -> None:
    shown = quoted(value)
    assert len(shown) <= 200 and "\n" not in shown and shown.encode() and printable(shown) == shown

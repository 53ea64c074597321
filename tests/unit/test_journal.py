"""Pieces of work kept one by one, through kills."""

from pathlib import Path

from interp.track.journal import Journal


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "work.jsonl")
    journal.add("mlp.3/17+", {"text": "<b>ä\n</b>", "value": float("nan")})
    journal.add("two", [1, 2])
    assert journal.done == Journal(tmp_path / "work.jsonl").done
    assert journal.done["mlp.3/17+"] == {"text": "<b>ä\n</b>", "value": None}


def test_a_line_cut_short_at_any_byte_loses_that_piece_only(tmp_path: Path) -> None:
    file = tmp_path / "work.jsonl"
    journal = Journal(file)
    journal.add("one", "ä")
    first = file.stat().st_size
    journal.add("two", {"b": [1, 2]})
    whole = file.read_bytes()
    for cut in range(first, len(whole)):
        file.write_bytes(whole[:cut])
        again = Journal(file)
        assert again.done == {"one": "ä"}
        again.add("three", 3)
        assert Journal(file).done == {"one": "ä", "three": 3}

"""Pieces of work kept one by one, through kills."""

import tracemalloc
from pathlib import Path

import pytest

from interp.errors import UserError
from interp.track.journal import Journal
from tests.command_line import largest_file


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


def test_memory_holds_where_results_are_and_not_the_results(tmp_path: Path) -> None:
    def held(journal: Journal) -> int:
        tracemalloc.start()
        for number in range(100):
            journal.add(f"{number}", f"{number}" * 2000)
        found = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return found

    journal = Journal(tmp_path / "work.jsonl")
    assert held(journal) < 100 * 500 and held(Journal()) > 100 * 2000
    for one in (journal, Journal(tmp_path / "work.jsonl")):
        assert len(one.done) == 100 and "7" in one.done and "100" not in one.done
        assert one.done["99"] == "99" * 2000


def test_a_disk_that_is_full_for_a_while_costs_the_piece_that_it_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "work.jsonl")
    journal.add("one", "x" * 3000)
    with largest_file(4096), pytest.raises(UserError, match="no room to write"):
        journal.add("two", "y" * 3000)
    journal.add("three", "z")
    for one in (journal, Journal(tmp_path / "work.jsonl")):
        assert one.done == {"one": "x" * 3000, "three": "z"}

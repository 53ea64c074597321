"""What differs between two finished runs of one config: every byte of every file, save what holds times."""

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMES = ("started", "finished", "seconds", "pid")
"""Keys of `manifest.json` and `step.json` that differ from run to run."""
LEDGER = "llm_ledger.jsonl"
"""When each call was made, how long it took, and what was found kept after a kill: not compared."""
_TIMES_ON_A_PAGE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d|<table[^>]*><caption>[^<]* in all <a [^>]*-timing\.csv.*?</table>", re.DOTALL
)


def differences(expected: Path, found: Path) -> list[str]:
    """The files that are in one folder only, and those whose content differs."""
    names = [{str(file.relative_to(folder)) for file in folder.rglob("*")} for folder in (expected, found)]
    only = [f"only after the kills: {name}" for name in names[1] - names[0]]
    only += [f"missing after the kills: {name}" for name in names[0] - names[1]]
    both = [name for name in names[0] & names[1] if (expected / name).is_file()]
    return sorted(only) + [name for name in sorted(both) if _said(expected / name) != _said(found / name)]


def _said(file: Path) -> Any:
    return _READ.get(file.name, _bytes)(file)


def _bytes(file: Path) -> bytes:
    return file.read_bytes()


def _without_times(file: Path) -> str:
    content = json.loads(file.read_bytes())
    for part in (content, *content.get("sessions", ())):
        for key in TIMES:
            part.pop(key, None)
    if "files" in content:
        content["files"] = list(content["files"])  # their content is compared itself, but for times
    if "sessions" in content:
        content["sessions"] = content["sessions"][-1]  # a run that was killed has had several
    return json.dumps(content)


def _page(file: Path) -> str:
    """A page without times, and without the path of the run, which it names."""
    run = file.parents[2] if file.parent.parent.name == "steps" else file.parent
    return _TIMES_ON_A_PAGE.sub("", file.read_text(encoding="utf-8")).replace(str(run), "")


def rows(file: Path) -> list[str]:
    """All that a SQLite file holds, as statements; the file itself counts how often it was written."""
    database = sqlite3.connect(file)
    try:
        return list(database.iterdump())
    finally:
        database.close()


def answers(file: Path) -> dict[str, dict[str, Any]]:
    """What a cache of answers holds, by the key of the question."""
    database = sqlite3.connect(file)
    try:
        found = database.execute("select key, answer from answers")
        return {key: json.loads(answer) for key, answer in found}
    finally:
        database.close()


def _without_numbers(file: Path) -> dict[str, dict[str, Any]]:
    """The server numbers its answers, whichever order the questions come in."""
    return {
        key: {name: part for name, part in answer.items() if name != "id"}
        for key, answer in answers(file).items()
    }


_READ: dict[str, Callable[[Path], Any]] = {
    "manifest.json": _without_times,
    "step.json": _without_times,
    "report.html": _page,
    "store.sqlite": rows,
    "llm_answers.sqlite": _without_numbers,
    LEDGER: lambda file: None,
}

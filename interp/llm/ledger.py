"""What was asked of endpoints and what it cost: one line a call, kept through a kill."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from interp.json_text import to_json
from interp.lines import lines
from interp.track.files import writing_explained

FILE = "llm_ledger.jsonl"
Outcome = Literal["answered", "cached", "unreadable", "failed"]


@dataclass(frozen=True)
class Call:
    """One call: what for, of whom, what it used (`usd` None: price unknown), how long, and how it ended."""

    time: str
    purpose: str
    model: str
    host: str
    kind: str
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    seconds: float
    retries: int
    outcome: Outcome


class Ledger:
    """The calls of a run, appended to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        cut_short = file.exists() and not file.read_bytes().endswith(b"\n")
        self._begin = "\n" if cut_short else ""

    def record(self, call: Call) -> None:
        """Append one call; raises UserError where the disk is full."""
        line = to_json(asdict(call), ensure_ascii=True) + "\n"
        with writing_explained(self.file.parent):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(self._begin + line)
        self._begin = ""

    def spent(self, model: str, host: str) -> tuple[int, float]:
        """Tokens and US dollars that the calls to a model have used so far."""
        mine = [call for call in read_calls(self.file) if (call.model, call.host) == (model, host)]
        tokens = sum(call.prompt_tokens + call.completion_tokens for call in mine if call.outcome != "cached")
        return tokens, float(sum(call.usd or 0.0 for call in mine if call.outcome != "cached"))


def read_calls(file: Path) -> Iterator[Call]:
    """The calls in a ledger; nothing where there is none. A line that a kill cut short is left out."""
    if not file.exists():
        return
    for line in lines(file):
        try:
            yield Call(**json.loads(line.content))
        except (ValueError, TypeError):
            continue

"""Calls to endpoints and what they cost: a line for each call, which survives a kill, and their totals."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from interp.json_text import to_json
from interp.lines import lines
from interp.outside import open_file
from interp.track.files import writing_explained

FILE = "llm_ledger.jsonl"
Outcome = Literal["answered", "cached", "unreadable", "failed"]


Count = Annotated[int, Field(ge=0, le=10**12, strict=True)]
Amount = Annotated[float, Field(ge=0, le=1e12, strict=True, allow_inf_nan=False)]


@dataclass(frozen=True)
class Call:
    """One call: purpose, model, tokens, cost (`usd` None: price unknown), duration, and how it ended."""

    time: str
    purpose: str
    model: str
    host: str
    kind: str
    prompt_tokens: Count
    completion_tokens: Count
    usd: Amount | None
    seconds: Amount
    retries: Count
    outcome: Outcome


_CALL = TypeAdapter(Call)


class Ledger:
    """The calls of a run, appended to a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._begin = "" if not file.exists() or _ends_whole(file) else "\n"

    def record(self, call: Call) -> None:
        """Append one call; raises UserError where the disk is full."""
        line = to_json(asdict(call), ensure_ascii=True) + "\n"
        begin, self._begin = self._begin, "\n"  # in case this line is cut short
        with writing_explained(self.file.parent):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(begin + line)
        self._begin = ""

    def spent(self, model: str, host: str) -> tuple[int, float]:
        """Tokens and US dollars that the calls to a model have used so far."""
        tokens, usd = 0, 0.0
        for call in read_calls(self.file):
            if (call.model, call.host) == (model, host) and call.outcome != "cached":
                tokens += call.prompt_tokens + call.completion_tokens
                usd += call.usd or 0.0
        return tokens, usd


def _ends_whole(file: Path) -> bool:
    """Whether a file is empty or ends with a line feed."""
    with open_file(file, "move it away") as opened:
        if not opened.seek(0, os.SEEK_END):
            return True
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) == b"\n"


def read_calls(file: Path) -> Iterator[Call]:
    """The calls in a ledger, none if there is no file; damaged or incomplete lines are left out."""
    return (call for call in _lines(file) if call is not None)


def damaged_lines(file: Path) -> int:
    """How many lines of a ledger `read_calls` leaves out."""
    return sum(call is None for call in _lines(file))


def _lines(file: Path) -> Iterator[Call | None]:
    """The call of each line that is not empty; None where it cannot be read."""
    if not file.exists():
        return
    for line in lines(file):
        if line.content.strip():
            try:
                yield _CALL.validate_json(line.content)
            except ValidationError:
                yield None


def call_costs(ledger: Path) -> pd.DataFrame:
    """A row for each model and purpose: calls, cached answers, retries, failures, tokens, money.

    `usd` is NaN where the price of a call is not known; `seconds` are summed, also over simultaneous calls.
    """
    calls = pd.DataFrame([vars(call) for call in read_calls(ledger)])
    if calls.empty:
        return calls
    calls["kept"] = calls["outcome"] == "cached"
    calls["failed"] = calls["outcome"].isin(["failed", "unreadable"])
    # an unreadable cached answer has a line of its own, beside that of the call that replaces it
    calls["sent"] = ~calls["kept"] & (calls["outcome"] != "unreadable")
    calls["usd"] = calls["usd"].astype(float).where(calls["sent"], 0.0)
    grouped = calls.groupby(["model", "host", "purpose"], sort=True)
    summed = grouped.agg(
        calls=("sent", "sum"), kept=("kept", "sum"), retries=("retries", "sum"), failed=("failed", "sum"),
        prompt_tokens=("prompt_tokens", "sum"), completion_tokens=("completion_tokens", "sum"),
        seconds=("seconds", "sum"),
    )  # fmt: skip
    summed["usd"] = grouped["usd"].sum(min_count=1).where(~grouped["usd"].apply(lambda v: v.isna().any()))
    return summed.reset_index()

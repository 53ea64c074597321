"""What a ledger adds up to, as a table for people."""

from pathlib import Path

import pandas as pd
from rich.table import Table

from interp.llm.ledger import read_calls
from interp.terminal import table

COLUMNS = ("model", "purpose", "calls", "kept", "retries", "failed", "sent", "answered", "USD", "seconds")


def costs(ledger: Path) -> pd.DataFrame:
    """A row for each model and purpose: calls, answers kept from before, retries, failures, tokens, money.

    `usd` is NaN where the price of a call is not known; `seconds` are added up over calls in flight together.
    """
    calls = pd.DataFrame([vars(call) for call in read_calls(ledger)])
    if calls.empty:
        return calls
    calls["kept"] = calls["outcome"] == "cached"
    calls["failed"] = calls["outcome"].isin(["failed", "unreadable"])
    # an unreadable answer is noted beside the call that brought it
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


def cost_table(ledger: Path) -> Table | None:
    """The same with a line of totals; None if nothing was asked."""
    rows = costs(ledger)
    if rows.empty:
        return None
    numbers = ["calls", "kept", "retries", "failed", "prompt_tokens", "completion_tokens"]
    lines = []
    for row in rows.to_dict("records"):
        counts = [f"{int(row[name]):,}" for name in numbers]
        shown = [f"{row['model']} at {row['host']}", str(row["purpose"]), *counts, _money(row["usd"])]
        lines.append([*shown, f"{row['seconds']:,.1f}"])
    total = rows[[*numbers, "seconds"]].sum()
    money = _money(rows["usd"].sum() if rows["usd"].notna().all() else float("nan"))
    counts = [f"{int(total[name]):,}" for name in numbers]
    lines.append(["all", "", *counts, money, f"{total['seconds']:,.1f}"])
    return table(COLUMNS, lines, numbers=COLUMNS[2:])


def _money(usd: float) -> str:
    return "unknown" if pd.isna(usd) else f"{usd:.4f}"

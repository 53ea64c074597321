"""Totals of a ledger of calls, by model and purpose."""

from pathlib import Path

import pandas as pd

from interp.llm.ledger import read_calls


def costs(ledger: Path) -> pd.DataFrame:
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

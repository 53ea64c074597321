"""`interp cost`: what a run asked of endpoints, and what that cost."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interp.cli.explained import explained
from interp.cli.runs import RunsDir
from interp.cli.terminal import say, show_table, table

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

COLUMNS = ("model", "purpose", "calls", "kept", "retries", "failed", "sent", "answered", "USD", "seconds")


def cost(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Say what a run asked of endpoints, and what it cost."""
    from interp.llm.ledger import FILE, call_costs, damaged_lines
    from interp.track.listing import find_run

    with explained():
        summary = find_run(runs_dir, name)
        rows = call_costs(summary.folder / FILE)
        if rows.empty:
            say(f"{summary.name} asked nothing of an endpoint")
        else:
            show_table(cost_table(rows))
        if damaged := damaged_lines(summary.folder / FILE):
            say(f"{damaged:,} lines of {summary.folder / FILE} are damaged and not counted", err=True)


def cost_table(rows: "pd.DataFrame") -> "Table":
    """A table of what `interp.llm.ledger.costs` found, with a line of totals."""
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
    return "unknown" if math.isnan(usd) else f"{usd:.4f}"

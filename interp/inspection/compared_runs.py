"""The populations of finished runs of `interp run compare`, with the numbers that the runs computed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interp.compare.concepts import ConceptRecovery, mean_difference
from interp.compare.populations import NEURONS, RANDOM
from interp.errors import UserError
from interp.inspection.comparison import (
    Choice,
    Comparison,
    Concepts,
    Matches,
    Scored,
    null_of,
    reversed_estimate,
)
from interp.monitor.knowledge import MAIN_SCORE
from interp.parquet import read_parquet
from interp.statistics.estimate import Estimate
from interp.track.listing import RunSummary, list_runs
from interp.track.records import BEGIN_ANEW
from interp.yaml_text import read_yaml

_COLUMNS = {
    "both_value": "value",
    "both_low": "low",
    "both_high": "high",
    "both_null_mean": "null_mean",
    "both_null_high": "null_high",
    "description": "text",
}


@dataclass(frozen=True)
class RunChoice:
    """A population of a run, by its name there and in the run's metrics."""

    choice: Choice
    run: RunSummary
    population: str
    slug: str


def run_choices(runs_dir: Path) -> list[RunChoice]:
    """The populations of the finished runs of `compare`; runs whose tables cannot be read have none."""
    found = []
    for run in list_runs(runs_dir):
        if run.experiment == "compare" and run.status == "finished":
            try:
                found += _choices(run)
            except UserError:
                continue
    return found


def read_run_population(chosen: RunChoice) -> Scored:
    """The scores of a run's population, and the mean that the run computed.

    Raises:
        UserError: the run's table is damaged.
    """
    table = _table(chosen.run, "features")
    own = table[table["population"] == chosen.population]
    rows = own.rename(columns=_COLUMNS).set_index("feature")[list(_COLUMNS.values())]
    rows.index.name = "key"
    config = read_yaml(chosen.run.folder / "config.yaml", BEGIN_ANEW)
    subject = (config.get("subject") or {}).get("name", "an unknown model")
    mean = Estimate.metric(chosen.run.metrics, f"score/{chosen.slug}/both")
    source = f"run {chosen.run.name} on {subject}"
    return Scored(chosen.choice, rows, mean, null_of(rows), str(subject), source)


def compare_in_run(first: RunChoice, second: RunChoice) -> Comparison:
    """Two populations of one run, by its own tables and metrics.

    Raises:
        UserError: they are of different runs or the same one; a table is damaged or lacks them.
    """
    run = first.run
    one, two = first.population, second.population
    matches, concepts = _matches(first, second), _concepts(first, second)
    return Comparison(
        read_run_population(first),
        read_run_population(second),
        MAIN_SCORE,
        "run",
        _difference(run, one, two),
        matches=matches,
        concepts=concepts,
    )


def _choices(run: RunSummary) -> list[RunChoice]:
    table = _table(run, "features")
    slugs = {
        _plain(found[1]): found[1] for key in run.metrics if (found := re.fullmatch("score/(.+)/both", key))
    }
    choices = []
    for name, part in table.groupby("population", sort=False, observed=True):
        slug = slugs.get(_plain(str(name)))
        if slug is not None:  # matched neurons are not a sample
            kind: Any = part["kind"].iloc[0]
            key = f"run/{run.name}/{slug}"
            choice = Choice(
                key, str(name), f"Run {run.name}", kind, len(part), (MAIN_SCORE,), frozenset([key])
            )
            choices.append(RunChoice(choice, run, str(name), slug))
    return choices


def _difference(run: RunSummary, one: str, two: str) -> Estimate:
    for row in _table(run, "differences").to_dict("records"):
        if (row["first"], row["second"]) == (one, two):
            return Estimate.of(row, "difference")
        if (row["first"], row["second"]) == (two, one):
            return reversed_estimate(Estimate.of(row, "difference"))
    raise UserError(
        f"the run has no difference of {one} and {two}", run.name, "choose two of its populations"
    )


def _matches(first: RunChoice, second: RunChoice) -> Matches | None:
    """The pairs of the latents and the neurons, if these two are compared."""
    latents = next((it for it in (first, second) if it.choice.kind == "latent"), None)
    if latents is None or NEURONS not in (first.population, second.population):
        return None
    table = _table(latents.run, "pairs")
    own = table[(table["population"] == latents.population) & table["neuron"].notna()]
    metrics, match, pairs = latents.run.metrics, f"match/{latents.slug}", f"pairs/{latents.slug}"
    return Matches(
        own,
        Estimate.metric(metrics, f"{match}/correlation"),
        Estimate.metric(metrics, f"{match}/random"),
        Estimate.metric(metrics, f"{match}/beyond_random"),
        Estimate.metric(metrics, f"{pairs}/latent_minus_neuron"),
        int(metrics.get(f"{pairs}/scored") or 0),
        int(metrics.get(f"{pairs}/latent_ahead") or 0),
        int(metrics.get(f"{match}/unmatched") or 0),
    )


def _concepts(first: RunChoice, second: RunChoice) -> Concepts | None:
    run = first.run
    if not (run.folder / "tables" / "concepts.parquet").exists():
        return None
    rows = _table(run, "concepts").to_dict("records")
    try:
        recoveries = [ConceptRecovery(**{str(key): value for key, value in row.items()}) for row in rows]
    except TypeError:
        raise UserError("it is no table of concepts", f"{run.folder}/tables", BEGIN_ANEW) from None
    seed = int(read_yaml(run.folder / "config.yaml", BEGIN_ANEW).get("seed") or 0)
    names = first.population, second.population, RANDOM
    found = [run.metrics.get(f"concepts/{one.slug}/found") for one in (first, second)]
    numbers = [one if isinstance(one, int) else None for one in found]
    gap = mean_difference(recoveries, second.population, first.population, seed=seed)
    return Concepts(tuple(r for r in recoveries if r.method in names), numbers[0], numbers[1], gap)


def _table(run: RunSummary, name: str) -> pd.DataFrame:
    return read_parquet(run.folder / "tables" / f"{name}.parquet", BEGIN_ANEW)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name)

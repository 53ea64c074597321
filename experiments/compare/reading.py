"""Reads the data of the page of `compare` from what its steps wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from interp.compare.populations import Population
from interp.document import Corpus
from interp.mining.mined import MinedSpaces
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.dictionaries.config import slug
from ..common.populations.data import DescribedFeature
from ..common.populations.reading import (
    corpus_facts,
    population,
    populations_data,
    sae_report,
)
from .config import Config
from .page import ComparePage, MatchedPair, PairSummary

USES = {
    "explain": "descriptions, SAEs of this run and principal directions are made from it",
    "select": "the nearest neurons, and the best feature for each concept, are chosen on it",
    "report": "every score on this page is measured on it, and nothing else is",
}
LIMITS = (
    "Descriptions are written without a language model, from patterns of tokens: what "
    "patterns cannot express is not described. The score is of all the patterns found; the sentence names "
    "only the strongest.",
    "Kinds of features compete for a concept with different numbers of candidates; there are as many random "
    "directions as the widest dictionary has latents, and each counts in both polarities.",
    "The nearest neuron is a single one: a latent that several neurons form together has none.",
    "Random and principal directions are projections from zero, not from the mean activation.",
    "One subject, one seed: the intervals say how sure the figures are for this model and these "
    "dictionaries, not for others.",
)


def compare_page(
    run: Run,
    subject: Subject,
    corpus: Corpus,
    mined: MinedSpaces,
    populations: Sequence[Population],
    config: Config,
) -> ComparePage:
    """Reads the page from the finished steps of a run; without `concepts` if the corpus has no labels."""
    table = run.table("features")
    metrics: Mapping[str, Any] = run.metrics
    described = [
        population(
            one.kind, one.total, table[table["population"] == one.name], metrics, one.note, one.name,
            slug(one.name),
        )
        for one in populations
    ]  # fmt: skip
    latents = [one for one in populations if one.kind == "latent"]
    data = populations_data(
        run,
        subject,
        mined,
        corpus=corpus_facts(corpus, metrics, "mining", USES),
        populations=described,
        difference=f"difference/{slug(latents[0].name)}_minus_neurons",
        sae=_trained(run, latents[0], mined, metrics),
        found_auroc=config.concepts.found_auroc,
        question=f"Are the latents of a dictionary easier to describe than the neurons of {subject.name}?",
        limits=LIMITS,
    )
    differences = [
        (row["first"], row["second"], Estimate.of(row, "difference"))
        for row in run.table("differences").to_dict("records")
    ]
    tested = run.has_table("concepts")
    return ComparePage(
        data,
        differences,
        _pairs(run.table("pairs"), data.features),
        [_summary(one.name, metrics) for one in latents],
        {one.name: int(metrics[f"concepts/{slug(one.name)}/found"]) for one in populations if tested},
    )


def _trained(run: Run, latents: Population, mined: MinedSpaces, metrics: Mapping[str, Any]) -> Any:
    """Reads the SAE that this run trained; returns None if SAEs were given."""
    folder = run.folder / "steps" / "train_sae"
    if not folder.exists():
        return None
    space = latents.spaces[0]
    return sae_report(folder, space.site, mined[space.name].exemplars["explain"], metrics)


def _pairs(table: pd.DataFrame, rows: Sequence[DescribedFeature]) -> list[MatchedPair]:
    by_key = {row.key: row for row in rows}
    return [
        MatchedPair(
            row["population"],
            by_key[row["latent"]],
            by_key[row["neuron"]],
            row["selected"],
            Estimate(row["correlation"]).point,
            Estimate(row["random_correlation"]).point,
        )
        for row in table.to_dict("records")
        if isinstance(row["neuron"], str)
    ]


def _summary(name: str, metrics: Mapping[str, Any]) -> PairSummary:
    match, pairs = f"match/{slug(name)}", f"pairs/{slug(name)}"
    return PairSummary(
        name,
        Estimate.metric(metrics, f"{match}/correlation"),
        Estimate.metric(metrics, f"{match}/random"),
        Estimate.metric(metrics, f"{match}/beyond_random"),
        Estimate.metric(metrics, f"{pairs}/latent_minus_neuron"),
        int(metrics[f"{pairs}/scored"]),
        int(metrics[f"{pairs}/undefined"]),
        int(metrics[f"{pairs}/latent_ahead"]),
        int(metrics[f"{match}/unmatched"]),
    )

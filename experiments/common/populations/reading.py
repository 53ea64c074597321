"""Reads the data of the pages on populations from what the steps of a run wrote."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.compare.populations import PopulationKind
from interp.document import SPLITS, Corpus
from interp.mining.exemplars import Exemplars
from interp.mining.mined import MinedSpaces
from interp.mining.quantiles import LEVELS
from interp.statistics.estimate import Estimate, central
from interp.subject import Site, Subject
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import read_points

from ..facts import run_facts, step_seconds, subject_facts
from .data import (
    ConceptScore,
    CorpusFacts,
    DescribedFeature,
    DescribedPopulation,
    Difference,
    Exemplar,
    Piece,
    PopulationsData,
    SaeReport,
    SplitFacts,
)

_SHOWN = {"top": 5, "quantile": 5, "silent": 2}
_BANDS_SHOWN_EVERY = 2


def _number(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)


def corpus_facts(
    corpus: Corpus, metrics: Mapping[str, Any], prefix: str, uses: Mapping[str, str]
) -> CorpusFacts:
    """Returns the sizes of the splits, as mining counted them under `prefix`, and what each was used for."""
    splits = [
        SplitFacts(
            split,
            int(metrics[f"{prefix}/{split}_documents"]),
            int(metrics[f"{prefix}/{split}_tokens"]),
            uses[split],
        )
        for split in SPLITS
    ]
    return CorpusFacts(corpus.name, len(corpus), sum(split.tokens for split in splits), splits)


def population(
    kind: PopulationKind,
    total: int,
    described: pd.DataFrame,
    metrics: Mapping[str, Any],
    note: str,
    name: str = "",
    prefix: str = "",
) -> DescribedPopulation:
    """Makes a population from its features' rows and its metrics `score/PREFIX/...` (default: its kind)."""
    null = described["both_null_mean"].dropna()
    key = f"score/{prefix or kind}"
    return DescribedPopulation(
        kind=kind,
        total=total,
        described=len(described),
        both=Estimate.metric(metrics, f"{key}/both"),
        top=Estimate(_float(metrics[f"{key}/top"])),
        random=Estimate(_float(metrics[f"{key}/random"])),
        null=Estimate(_float(metrics[f"{key}/null"]), *central(null.to_numpy(dtype=float))),
        undefined=int(metrics[f"{key}/undefined"]),
        note=note + ", drawn uniformly from those that are ever active",
        name=name,
    )


def populations_data(
    run: Run,
    subject: Subject,
    mined: MinedSpaces,
    *,
    corpus: CorpusFacts,
    populations: Sequence[DescribedPopulation],
    difference: str,
    sae: SaeReport | None,
    found_auroc: float,
    question: str,
    limits: Sequence[str],
) -> PopulationsData:
    """Collects the data of a page: what is given, and the features, the concepts, the model and the run.

    `difference` is the metric that says how much better latents are described than neurons.
    """
    described = read_written(run.folder / "steps" / "describe" / "described.json", "list")
    concepts = concept_scores(run)
    best = best_concept(concepts)
    return PopulationsData(
        subject=subject_facts(subject),
        run=run_facts(run),
        corpus=corpus,
        populations=populations,
        difference=Difference(Estimate.metric(run.metrics, difference), True, 1000),
        features=[
            feature_row(row, record, mined, subject, best)
            for row, record in zip(run.table("features").to_dict("records"), described, strict=True)
        ],
        concepts=concepts,
        sae=sae,
        timing=step_seconds(run),
        limits=limits,
        special_ids=frozenset(subject.special_ids),
        found_auroc=found_auroc,
        question=question,
    )


def feature_row(
    row: Mapping[Any, Any],
    record: Mapping[str, Any],
    mined: MinedSpaces,
    subject: Subject,
    best: Mapping[str, ConceptScore],
) -> DescribedFeature:
    """Makes a described feature from its table row and its record; `best` is from `best_concept`."""
    space, feature_id, polarity = record["space"], record["feature_id"], record["polarity"]
    exemplars = mined[space].exemplars["explain"]
    concept = best.get(row["feature"])
    parts = {
        part: Estimate(*(_float(row[f"{part}_{end}"]) for end in ("value", "low", "high")))
        for part in ("both", "top", "random")
    }
    return DescribedFeature(
        key=row["feature"],
        kind=row["kind"],
        layer=int(row["layer"]),
        feature_id=feature_id,
        description=[Piece(text, kind == "tokens") for kind, text in record["description"]["parts"]],
        null=Estimate(*(_float(row[f"both_null_{end}"]) for end in ("mean", "low", "high"))),
        mean_activation=row["mean"],
        firing_rate=row["rate"],
        max_activation=row["largest"],
        polarity=polarity,
        signed=exemplars.signed,
        quantiles=_quantiles(exemplars, feature_id, polarity),
        concept=concept.concept if concept else None,
        concept_auroc=concept.auroc if concept else None,
        exemplars=_exemplars(record["windows"], subject),
        unbanded=exemplars.unbanded(feature_id, polarity),
        population=row.get("population", ""),
        **parts,
    )


def _quantiles(exemplars: Exemplars, feature_id: int, polarity: int) -> list[tuple[float, float]]:
    values = exemplars.quantile_values[feature_id].tolist()
    pairs = list(zip(LEVELS, values, strict=True))
    return pairs if polarity > 0 else [(1 - level, -value) for level, value in reversed(pairs)]


def _exemplars(windows: list[dict[str, Any]], subject: Subject) -> list[Exemplar]:
    left = dict(_SHOWN)
    shown = []
    n_seen = dict.fromkeys(_SHOWN, 0)
    for window in windows:
        band = window["band"]
        n_seen[band] += 1
        skipped = band == "quantile" and n_seen[band] % _BANDS_SHOWN_EVERY == 0
        if left[band] == 0 or skipped:
            continue
        left[band] -= 1
        counting = [v if c else -math.inf for v, c in zip(window["values"], window["counts"], strict=True)]
        shown.append(
            Exemplar(
                tokens=subject.token_strings(window["tokens"]),
                values=window["values"],
                band=f"q{window['quantile']:.2f}" if band == "quantile" else band,
                token_ids=window["tokens"],
                peak=None if band == "silent" else int(np.argmax(counting)),
                split="explain",
                start=window["start"],
            )
        )
    return shown


def concept_scores(run: Run) -> list[ConceptScore]:
    """Reads the concept table of a run; empty if there is none."""
    if not run.has_table("concepts"):
        return []
    return [
        ConceptScore(
            concept=row["concept"],
            method=row["method"],
            auroc=row["auroc"],
            low=_number(row["low"]),
            high=_number(row["high"]),
            feature=f"{row['space']}/{row['feature_id']}{'+' if row['polarity'] > 0 else '-'}",
            positives=row["positives"],
        )
        for row in run.table("concepts").to_dict("records")
    ]


def best_concept(concepts: Sequence[ConceptScore]) -> dict[str, ConceptScore]:
    """Returns, for each feature that is the best for some concept, the concept that it detects best."""
    best: dict[str, ConceptScore] = {}
    for score in concepts:
        if score.feature not in best or score.auroc > best[score.feature].auroc:
            best[score.feature] = score
    return best


def sae_report(folder: Path, site: Site, latents: Exemplars, metrics: Mapping[str, Any]) -> SaeReport:
    """Reads the SAE that a step trained: its width, metrics and training history."""
    history: dict[str, list[tuple[float, float]]] = {}
    for point in read_points(folder / "history.jsonl"):
        for name, value in point.values.items():
            if isinstance(value, int | float):
                history.setdefault(name, []).append((point.at, value))
    figures = {
        name.removeprefix("sae/"): value
        for name, value in metrics.items()
        if name.startswith("sae/") and isinstance(value, int | float)
    }
    return SaeReport(str(site), latents.n_features, figures, history)

"""Finds each kind of feature's best detector of every concept, by AUROC and by F1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.compare.f1 import best_f1_table, f1_interval
from interp.compare.labelled import Labelled
from interp.statistics.auroc import auroc_interval, auroc_table
from interp.statistics.estimate import Estimate

Measure = Literal["auroc", "f1"]


@dataclass(frozen=True)
class Detection:
    """One method's best feature for one concept: chosen on the select split, measured on the report split.

    `value` with its 95% interval over documents is of the report split, `selected` its value on the select
    split, where it was chosen among `n_candidates`. For F1, `threshold` (a feature counts as on from there)
    is chosen on the select split, too; NaN for AUROC. `positives` and `negatives` count report examples.
    """

    concept: str
    method: str
    measure: Measure
    space: str
    feature_id: int
    polarity: int
    value: float
    low: float
    high: float
    selected: float
    threshold: float
    positives: int
    negatives: int
    n_candidates: int


def measurable(select: Labelled, report: Labelled, least: int) -> Bool[Tensor, " label"]:
    """Returns which labels at least `least` examples of either split carry, and as many do not."""
    return torch.stack(
        [(part.labels.sum(0) >= least) & ((~part.labels).sum(0) >= least) for part in (select, report)]
    ).all(0)


def detect(
    method: str,
    spaces: Sequence[str],
    select: Labelled,
    report: Labelled,
    names: Mapping[int, str],
    measure: Measure,
    draws: int = 200,
    seed: int = 0,
) -> list[Detection]:
    """Finds the best feature of some spaces for each label in `names` (index of the label -> its name).

    Both polarities of signed spaces compete.
    """
    places = list(names)
    sides = [(space, 1) for space in spaces] + [(s, -1) for s in spaces if s in select.negative]
    labels = select.labels[:, places]
    scored = [_table(select.side(*side), labels, measure) for side in sides]
    strength = torch.cat([table for table, _ in scored]).nan_to_num(-1.0)
    thresholds = torch.cat([threshold for _, threshold in scored])
    sizes = [len(table) for table, _ in scored]
    owner = np.repeat(np.arange(len(sides)), sizes)
    start = np.cumsum([0, *sizes])
    found = []
    for column, place in enumerate(places):
        row = int(strength[:, column].argmax())
        space, polarity = sides[owner[row]]
        feature_id = row - int(start[owner[row]])
        threshold = float(thresholds[row, column])
        score = report.side(space, polarity)[:, feature_id]
        label = report.labels[:, place]
        found.append(
            Detection(
                names[place], method, measure, space, feature_id, polarity,
                *measure_one(score.float(), label, report, measure, threshold, draws, seed),
                float(strength[row, column]), threshold, int(label.sum()), int((~label).sum()),
                len(strength),
            )
        )  # fmt: skip
    return found


def detect_by_probe(
    space: str,
    select: Labelled,
    report: Labelled,
    names: Mapping[int, str],
    columns: Mapping[int, int],
    measure: Measure,
    draws: int = 200,
    seed: int = 0,
) -> list[Detection]:
    """Measures the probe of each label in `names`; thresholds are chosen on select, as for features.

    `space` holds the scores of all probes (`Reading.with_scores`); `columns` maps labels to probes.
    """
    rows = []
    for place, name in names.items():
        held, score = (part.positive[space][:, columns[place]] for part in (select, report))
        mine, label = select.labels[:, place], report.labels[:, place]
        best, cut = best_f1_table(held[:, None], mine[:, None])
        threshold = float(cut) if measure == "f1" else float("nan")
        value = measure_one(score, label, report, measure, threshold, draws, seed)
        selected = float(best)
        if measure == "auroc":
            selected = measure_one(held, mine, select, measure, threshold, draws=20).value
        n = int(label.sum())
        counts = n, len(label) - n, 1
        rows.append(
            Detection(name, space, measure, space, columns[place], 1, *value, selected, threshold, *counts)
        )
    return rows


def measure_one(
    score: Float[Tensor, " example"],
    label: Bool[Tensor, " example"],
    report: Labelled,
    measure: Measure,
    threshold: float,
    draws: int = 200,
    seed: int = 0,
) -> Estimate:
    """Returns the AUROC of one detector, or its F1 at a threshold, with the 95% interval over documents."""
    document = report.document.numpy().astype(np.int64)
    truth = label.numpy()
    if measure == "f1":
        return f1_interval((score >= threshold).numpy(), truth, document, draws, seed)
    return auroc_interval(score.double().numpy(), truth, document, draws, seed)


def _table(
    values: Float[Tensor, "example feature"], labels: Bool[Tensor, "example label"], measure: Measure
) -> tuple[Float[Tensor, "feature label"], Float[Tensor, "feature label"]]:
    """Returns the measure of every feature for every label, and the thresholds (NaN for AUROC)."""
    if measure == "f1":
        return best_f1_table(values, labels)
    table = auroc_table(values.float(), labels).float()
    return table, torch.full_like(table, torch.nan)

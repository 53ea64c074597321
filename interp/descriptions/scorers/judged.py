"""Scores from a judge's ratings: does a description separate texts with the feature from texts without it?

Detection rates whole texts, fuzzing marked tokens (Paulo et al. 2024, "Automatically interpreting millions of
features in large language models", arXiv:2410.13928).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.descriptions.candidate import Candidate, Judge, Shown
from interp.statistics.estimate import Estimate, bootstrap_counts, central, mean_and_central

YES = 0.5
"""The least rating that is a yes."""


@dataclass(frozen=True)
class JudgedScore:
    """Balanced accuracy and AUROC of a judge's ratings, with 95% intervals over texts.

    The nulls are what descriptions of `n_null` other features reach on the same texts: the mean and the
    central 95%. `failures` of the texts had no rating and are left out, `null_failures` counts those of the
    nulls; without positives or negatives the scores are NaN.
    """

    balanced_accuracy: Estimate
    auroc: Estimate
    null_balanced_accuracy: Estimate
    null_auroc: Estimate
    n_positive: int
    n_negative: int
    n_null: int
    failures: int
    null_failures: int = 0


async def judged(
    judge: Judge,
    candidate: Candidate,
    positives: Sequence[Shown],
    negatives: Sequence[Shown],
    nulls: Sequence[Candidate] = (),
    seed: int = 0,
    draws: int = 1000,
    paired: bool = False,
) -> JudgedScore:
    """Rates all texts by the description and by those of other features; all calls are made together.

    With `paired`, positive and negative i come from the same prompt, and prompts are resampled.
    """
    shown = [*positives, *negatives]
    ratings = await asyncio.gather(*(judge.rate(one, shown) for one in (candidate, *nulls)))
    parts = [(_read(r[: len(positives)]), _read(r[len(positives) :])) for r in ratings]
    yes, no = parts[0]
    others = np.array([[_accuracy(*part), _auroc(*part)] for part in parts[1:]]).reshape(-1, 2)
    together = paired and len(yes) == len(no) == len(positives)
    accuracy, auroc = accuracy_and_auroc(yes, no, draws, seed, together)
    null_accuracy, null_auroc = (mean_and_central(others[:, column]) for column in range(2))
    failures = [len(shown) - len(y) - len(n) for y, n in parts]
    n_null = int((~np.isnan(others).any(axis=1)).sum())
    return JudgedScore(
        accuracy, auroc, null_accuracy, null_auroc, len(yes), len(no), n_null, failures[0], sum(failures[1:])
    )


def _read(ratings: Sequence[float | None]) -> Float[np.ndarray, " _"]:
    return np.array([rating for rating in ratings if rating is not None], dtype=np.float64)


def _higher(yes: Float[np.ndarray, " _"], no: Float[np.ndarray, " _"]) -> Float[np.ndarray, "yes no"]:
    """1 where a positive is rated above a negative, a half where equal."""
    table: Float[np.ndarray, "yes no"] = (yes[:, None] > no) + 0.5 * (yes[:, None] == no)
    return table


def _accuracy(yes: Float[np.ndarray, " _"], no: Float[np.ndarray, " _"]) -> float:
    return float((np.mean(yes >= YES) + np.mean(no < YES)) / 2) if len(yes) and len(no) else float("nan")


def _auroc(yes: Float[np.ndarray, " _"], no: Float[np.ndarray, " _"]) -> float:
    return float(_higher(yes, no).mean()) if len(yes) and len(no) else float("nan")


def accuracy_and_auroc(
    yes: Float[np.ndarray, " _"], no: Float[np.ndarray, " _"], draws: int, seed: int, together: bool = False
) -> tuple[Estimate, Estimate]:
    """Computes balanced accuracy (at threshold `YES`) and AUROC of the ratings of positives and negatives.

    For the intervals, texts are resampled with replacement: positives and negatives apart, or as pairs.
    """
    if not len(yes) or not len(no):
        return Estimate(), Estimate()
    sizes = (len(yes),) if together else (len(yes), len(no))
    counts = bootstrap_counts(seed, sizes, draws)
    with_it, without = counts[0], counts[-1]
    accuracies = (with_it @ (yes >= YES) / len(yes) + without @ (no < YES) / len(no)) / 2
    areas = ((with_it @ _higher(yes, no)) * without).sum(axis=1) / (len(yes) * len(no))
    return Estimate(_accuracy(yes, no), *central(accuracies)), Estimate(_auroc(yes, no), *central(areas))

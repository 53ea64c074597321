"""Decides whether a description is of interest: by a rule on its score, or by a trained classifier."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

from interp.csv_text import unmarked
from interp.descriptions.score import Score
from interp.descriptions.scorers.judged import YES, accuracy_and_auroc
from interp.embed.embedder import Embedder
from interp.errors import UserError, quoted
from interp.json_text import read_json
from interp.outside import read_file, utf8
from interp.shape import Shape
from interp.statistics.estimate import Estimate, mean_and_central, share_interval
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_json, write_safetensors

FOLDS = 5
FEWEST = 10
"""Least number of examples of either answer."""
LEAST_SCORE = 0.2
_GENERAL = """
activates activation concept concepts content context contexts different english feature features fires
general generic language miscellaneous neuron neurons pattern patterns phrase phrases random related
sentence sentences specific term terms text texts thing things token tokens topic topics type types
unclear unknown various word words
"""
_VAGUE = ENGLISH_STOP_WORDS | frozenset(_GENERAL.split())
"""Words that say nothing about a feature when there are no other words."""
_SPECIFIC = re.compile(r"[\d\"'`“”‘’«»]")
_WORD = re.compile(r"[^\W\d_]+")
_YES, _NO = {"1", "true", "yes"}, {"0", "false", "no"}


@dataclass(frozen=True)
class Verdict:
    """Whether a description is of interest, and why."""

    interesting: bool
    reason: str


def by_rule(description: str, score: Score) -> Verdict:
    """The default: its simulation score has to be defined, clear of its null and at least `LEAST_SCORE`.

    A description that is empty or all general words ("various tokens"; what quotes something or has a number
    is not), or of a feature that never fires, is not of interest.
    """
    if not description.strip() or score.undefined is not None:
        return Verdict(False, score.undefined or "it says nothing")
    words = {word.lower() for word in _WORD.findall(description)}
    if words and words <= _VAGUE and not _SPECIFIC.search(description):
        return Verdict(False, "it is vague: all its words are general")
    if score.value < LEAST_SCORE:
        return Verdict(False, f"its score is {score.value:.2f}, under {LEAST_SCORE}")
    if not np.isnan(score.null_high) and score.value <= score.null_high:
        return Verdict(False, f"other features' descriptions reach {score.null_high:.2f} on its text")
    return Verdict(True, f"its score is {score.value:.2f}")


@dataclass(frozen=True)
class InterestReport:
    """A classifier's measures on examples that it was not trained on (stratified cross-validation).

    Equal descriptions are in the same fold; intervals are over examples. `null_auroc` is the AUROC when the
    answers are shuffled: its mean and central 95%.
    """

    auroc: Estimate
    balanced_accuracy: Estimate
    accuracy: Estimate
    null_auroc: Estimate
    n: int
    n_interesting: int
    embedder: str


_REPORT = Shape[InterestReport](InterestReport)


@dataclass(frozen=True)
class InterestClassifier:
    """Logistic regression on the embedding of a description."""

    weight: Float[np.ndarray, " width"]
    bias: float
    report: InterestReport

    def verdicts(self, descriptions: Sequence[str], embedder: Embedder) -> list[Verdict]:
        """Returns a verdict for each description.

        Raises:
            UserError: it was trained with another embedder.
        """
        if embedder.name != self.report.embedder:
            raise UserError(
                f"the classifier reads vectors of {self.report.embedder}, not of {embedder.name}",
                "interestingness",
                "use the embedder that it was trained with",
            )
        log_odds = embedder.embed(descriptions) @ self.weight + self.bias
        chances = 1 / (1 + np.exp(-log_odds))
        return [Verdict(bool(p >= YES), f"the classifier gives it {p:.0%}") for p in chances.tolist()]

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors and the report as JSON."""
        tensors = {"weight": torch.from_numpy(self.weight), "bias": torch.tensor([self.bias])}
        write_safetensors(folder / "interest.safetensors", tensors)
        write_json(folder / "interest.json", asdict(self.report))

    @classmethod
    def load(cls, folder: Path) -> "InterestClassifier":
        """Read what `save` wrote.

        Raises:
            UserError: a file is missing or damaged.
        """
        tensors, _ = read_safetensors(folder / "interest.safetensors")
        file, fix = folder / "interest.json", "train it again"
        check_finite(tensors, str(folder), fix)
        report = _REPORT.of(read_json(file, fix), str(file), fix)
        try:
            return cls(tensors["weight"].numpy(), float(tensors["bias"]), report)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise UserError(f"the classifier cannot be read ({error})", str(folder), fix) from error


def read_labels(file: Path) -> tuple[list[str], Bool[np.ndarray, " example"]]:
    """Reads descriptions and answers from a CSV with the columns `description` and `interesting`.

    Answers are 1/0, true/false or yes/no, in any case.

    Raises:
        UserError: there is no file, a column is missing, an answer is none, or either answer has fewer than
            `FEWEST` different descriptions.
    """
    fix = "give a CSV file in UTF-8"
    try:
        rows = csv.DictReader(io.StringIO(utf8(read_file(file, fix), str(file)), newline=""))
        names, entries = set(rows.fieldnames or ()), list(rows)
    except csv.Error as error:
        raise UserError(f"the labels cannot be read ({error})", str(file), fix) from error
    missing = {"description", "interesting"} - names
    if missing:
        raise UserError(
            f"there is no column {' and no column '.join(sorted(missing))}",
            str(file),
            "the first line has to name the columns description and interesting",
        )
    descriptions, answers = [], []
    for number, row in enumerate(entries, start=2):
        answer = (row["interesting"] or "").strip().lower()
        if answer not in _YES | _NO:
            raise UserError(
                f"{quoted(answer)} is no answer", f"{file}, entry {number}", "write 1 or 0, yes or no"
            )
        descriptions.append(unmarked(row["description"] or ""))
        answers.append(answer in _YES)
    labels = np.array(answers, dtype=np.bool_)
    groups = _alike(descriptions)
    for name, of in (("interesting", labels), ("not interesting", ~labels)):
        if (count := len(np.unique(groups[of]))) < FEWEST:
            raise UserError(
                f"only {count} descriptions are {name} (equal ones count once)",
                str(file),
                f"label at least {FEWEST}",
            )
    return descriptions, labels


def train_interest(
    descriptions: Sequence[str],
    labels: Bool[np.ndarray, " example"],
    embedder: Embedder,
    seed: int = 0,
    shuffles: int = 100,
) -> InterestClassifier:
    """Trains a logistic regression on embeddings, measured by cross-validation.

    `shuffles` is how often the answers are shuffled for the null.
    """
    x = embedder.embed(descriptions)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    groups = _alike(descriptions)

    def held_out(answers: Bool[np.ndarray, " example"]) -> Float[np.ndarray, " example"]:
        model = LogisticRegression(max_iter=1000, class_weight="balanced")
        chances: Float[np.ndarray, "example 2"] = cross_val_predict(
            model, x, answers, groups=groups, cv=folds, method="predict_proba"
        )
        return chances[:, 1]

    rng = np.random.default_rng(seed)
    chances = held_out(labels)
    shuffled = [rng.permutation(labels) for _ in range(shuffles)]
    null = np.array([roc_auc_score(answers, held_out(answers)) for answers in shuffled])
    balanced, auroc = accuracy_and_auroc(chances[labels], chances[~labels], draws=1000, seed=seed)
    right = (chances >= YES) == labels
    report = InterestReport(
        auroc,
        balanced,
        share_interval(int(right.sum()), len(labels)),
        mean_and_central(null),
        len(labels),
        int(labels.sum()),
        embedder.name,
    )
    final = LogisticRegression(max_iter=1000, class_weight="balanced").fit(x, labels)
    return InterestClassifier(final.coef_[0].astype(np.float64), float(final.intercept_[0]), report)


def _alike(descriptions: Sequence[str]) -> Int[np.ndarray, " example"]:
    """Numbers descriptions; those that differ only in case and spaces get the same number."""
    found = np.unique([" ".join(one.casefold().split()) for one in descriptions], return_inverse=True)[1]
    return found.astype(np.int64)

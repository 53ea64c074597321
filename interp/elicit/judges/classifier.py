"""A judge by a classifier of texts that is trained here, on replies that show the behaviour and do not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from interp.elicit.behaviour import Exchange, Judgement
from interp.embed.embedder import Embedder
from interp.errors import UserError
from interp.lines import json_lines
from interp.statistics.estimate import Estimate, share_interval

FEWEST = 10
"""Least number of different examples of either kind."""
FOLDS = 5
_FIX = 'write {"text": ..., "shows": true} or false, one a line'


class ClassifierJudge:
    """Logistic regression on a text's embedding; the score is its probability, .5 or more counts as shown.

    `right` is the share of examples that it judges rightly when it was trained on the others (five folds;
    equal texts count once), and its interval.

    Raises:
        UserError: there are fewer than `FEWEST` different examples of either kind, or a text is in both.
    """

    def __init__(
        self, showing: Sequence[str], others: Sequence[str], embedder: Embedder, seed: int = 0
    ) -> None:
        yes, no = list(dict.fromkeys(showing)), list(dict.fromkeys(others))
        if both := set(yes) & set(no):
            raise UserError(
                f"{len(both)} texts both show the behaviour and do not", f"{min(both)!r:.80}", "keep one"
            )
        for kind, texts in (("show it", yes), ("do not", no)):
            if len(texts) < FEWEST:
                raise UserError(
                    f"only {len(texts)} different examples {kind}", "classifier", f"give at least {FEWEST}"
                )
        self._embedder = embedder
        vectors = embedder.embed([*yes, *no])
        labels = np.array([True] * len(yes) + [False] * len(no))
        model = LogisticRegression(max_iter=1000, class_weight="balanced")
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        guessed = cross_val_predict(model, vectors, labels, cv=folds)
        self.right: Estimate = share_interval(int((guessed == labels).sum()), len(labels))
        self._model = model.fit(vectors, labels)

    @property
    def name(self) -> str:
        """What it reads, and how often it is right."""
        low, high = self.right.low, self.right.high
        return (
            f"classifier on {self._embedder.name}, right on {self.right.value:.0%} ({low:.0%} to {high:.0%})"
        )

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        """Judges each reply."""
        if not exchanges:
            return []
        vectors = self._embedder.embed([one.reply for one in exchanges])
        chances = self._model.predict_proba(vectors)[:, 1].tolist()
        return [Judgement(chance, chance >= 0.5) for chance in chances]


def read_examples(file: Path) -> tuple[list[str], list[str]]:
    """Reads texts that show a behaviour, and texts that do not, from JSON lines {"text", "shows"}.

    Raises:
        UserError: there is no file, or a line is not of this form (says which).
    """
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for values, place in json_lines(file, _FIX):
        text, shows = values.get("text"), values.get("shows")
        if not isinstance(text, str) or not isinstance(shows, bool):
            raise UserError("the line is no example", place, _FIX)
        kinds[shows].append(text)
    return kinds[True], kinds[False]

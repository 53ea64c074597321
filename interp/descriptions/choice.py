"""The results of describing: which description of a feature was chosen, and its scores."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from interp.descriptions.candidate import Candidate
from interp.features.ref import FeatureRef
from interp.store.rows import ScoreRow

NAN = float("nan")


@dataclass(frozen=True)
class Choice:
    """The descriptions of a feature by one explainer, and which is chosen.

    `values` are their scores on the select split, NaN if undefined; `best` is the index of the
    largest. There may be no description at all.
    """

    candidates: tuple[Candidate, ...]
    values: tuple[float, ...]
    best: int = 0

    @property
    def chosen(self) -> Candidate | None:
        """The description with the best score; None if there is none."""
        return self.candidates[self.best] if self.candidates else None

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, from which `from_json` restores the same."""
        return {
            "candidates": [one.to_json() for one in self.candidates],
            "values": list(self.values),
            "best": self.best,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Choice":
        """Restore what `to_json` gave."""
        values = tuple(NAN if value is None else value for value in saved["values"])
        return cls(tuple(Candidate.from_json(one) for one in saved["candidates"]), values, saved["best"])


@dataclass(frozen=True)
class ChosenScores:
    """The scores of a chosen description on the report split.

    `chosen` and `first` are the score used to choose, for the chosen description and for the first one: they
    give the optimism and the gain of choosing. None if undefined.
    """

    scores: tuple[ScoreRow, ...]
    first: float | None
    chosen: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, from which `from_json` restores the same."""
        return {"scores": [asdict(row) for row in self.scores], "first": self.first, "chosen": self.chosen}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "ChosenScores":
        """Restore what `to_json` gave; numbers that are not finite come back as None."""
        return cls(tuple(ScoreRow(**row) for row in saved["scores"]), saved["first"], saved["chosen"])


def result_table(
    features: Sequence[FeatureRef],
    choices: Sequence[Sequence[Choice]],
    results: Sequence[Sequence[ChosenScores | None]],
    populations: Mapping[str, str],
    explainers: Sequence[str],
) -> pd.DataFrame:
    """Tabulates the scores of each feature's chosen description by explainer, and the gain of choosing.

    `populations` maps names of spaces to names of populations.
    """
    rows = []
    for feature, of, scored in zip(features, choices, results, strict=True):
        for number, (choice, found) in enumerate(zip(of, scored, strict=True)):
            row: dict[str, Any] = {
                "feature": feature.key, "population": populations[feature.space.name],
                "explainer": f"{number + 1}. {explainers[number]}",
                "candidates": len(choice.candidates), "text": choice.chosen.text if choice.chosen else "",
                "selected": choice.values[choice.best] if choice.values else NAN,
                "chosen": found.chosen if found else NAN,
                "first": found.first if found else NAN,
            }  # fmt: skip
            judges: dict[str, int] = {}
            for score in found.scores if found else ():
                seen = judges[score.kind] = judges.get(score.kind, 0) + 1
                name = score.kind if seen == 1 else f"{score.kind} {seen}"
                row |= {
                    name: score.value,
                    f"{name} null": score.null_mean,
                    f"{name} failures": score.failures,
                }
            rows.append(row)
    return pd.DataFrame(rows)

"""Chooses a factor on one half of the prompts, and reports on the other."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.statistics.estimate import mean_interval

RAW = ("share", "right", "cross_entropy", "repetition", "tokens")
SCORES = ("concept_score", "instruction_score", "fluency_score", "harmonic")
"""Columns of `references.scored`: the raw measures of a text, and its scores from 0 to 2."""
MEASURES = (*SCORES, *RAW)
ALL = "all concepts"

Factors = Mapping[tuple[str, str], float]
"""The factor of each method and concept."""


def by_prompt(texts: pd.DataFrame) -> pd.DataFrame:
    """Averages over the draws of random methods: one row for each method, concept, factor and prompt.

    `texts` has a row for each text, with columns `method`, `factor`, `draw`, `concept`, `prompt`, `group`,
    `choosing` and `MEASURES`.
    """
    keys = ["method", "concept", "factor", "prompt", "group", "choosing"]
    frame = texts.assign(right=texts["right"].astype(float))
    return frame.groupby(keys, sort=False)[list(MEASURES)].mean().reset_index()


def chosen_factors(prompts: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Chooses each method and concept's factor by the mean harmonic score on the choosing half.

    The smallest of ties, which changes least.
    """
    choosing = prompts[prompts["choosing"]]
    means = choosing.groupby(["method", "concept", "factor"], sort=True)["harmonic"].mean()
    best = means.groupby(level=["method", "concept"]).idxmax()
    return {(str(method), str(concept)): float(factor) for method, concept, factor in best}


def reported(prompts: pd.DataFrame, factors: Factors) -> pd.DataFrame:
    """Selects the rows of the reporting half at the factor of each method and concept."""
    return at_factors(prompts[~prompts["choosing"]], factors)


def at_factors(rows: pd.DataFrame, factors: Factors) -> pd.DataFrame:
    """Selects the rows of a table at the factor of their method and concept."""
    wanted = pd.Series(factors, name="wanted").rename_axis(["method", "concept"]).reset_index()
    merged = rows.merge(wanted, on=["method", "concept"])
    return merged[merged["factor"] == merged["wanted"]].drop(columns="wanted").reset_index(drop=True)


def per_concept(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Every measure's mean for each method and concept, with its bootstrap interval over prompts.

    Columns `method`, `concept`, `factor`, `prompts`; each measure, with `_low` and `_high`; and
    `harmonic_of_means`, the harmonic mean of the three mean scores, which is at least the mean of the
    harmonic means.
    """
    found = []
    for (method, concept), part in rows.groupby(["method", "concept"], sort=False):
        row: dict[str, object] = {
            "method": method, "concept": concept, "factor": float(part["factor"].iloc[0]),
            "prompts": len(part),
        }  # fmt: skip
        for measure in MEASURES:
            row |= _named(measure, part[measure], seed)
        means = [float(part[name].mean()) for name in SCORES[:3] if part[name].notna().any()]
        row["harmonic_of_means"] = len(means) / sum(1 / score for score in means) if min(means) > 0 else 0.0
        found.append(row)
    return pd.DataFrame(found)


def overall(rows: pd.DataFrame, measures: Sequence[str], seed: int) -> pd.DataFrame:
    """Each measure's mean over concepts for each method, with its bootstrap interval over concepts.

    A concept counts by its mean over its rows. Columns `method`, `concepts`, and each measure with `_low`
    and `_high`.
    """
    found = []
    for method, part in rows.groupby("method", sort=False):
        means = part.groupby("concept", sort=False)[list(measures)].mean()
        row: dict[str, object] = {"method": method, "concepts": len(means)}
        for measure in measures:
            row |= _named(measure, means[measure], seed)
        found.append(row)
    return pd.DataFrame(found)


def differences(rows: pd.DataFrame, against: str, seed: int) -> pd.DataFrame:
    """Each other method's harmonic score less that of `against`, paired by concept and by prompt.

    Columns `method`, `against`, `concept` (a concept, intervals over its prompts; or `ALL`, a mean over the
    concepts that both have, intervals over concepts), `value`, `low`, `high`, `n`.
    """
    wide = rows.pivot(index=["concept", "prompt"], columns="method", values="harmonic")
    found: list[dict[str, object]] = []
    for method in (name for name in dict.fromkeys(rows["method"]) if name != against and against in wide):
        gap = (wide[method] - wide[against]).dropna()
        parts = {str(concept): part for concept, part in gap.groupby(level="concept", sort=False)}
        parts[ALL] = gap.groupby(level="concept", sort=False).mean()
        for concept, part in parts.items():
            value, low, high = mean_interval(part.to_numpy(dtype=float), seed)
            found.append(
                {"method": method, "against": against, "concept": concept, "value": value, "low": low,
                 "high": high, "n": len(part)}
            )  # fmt: skip
    return pd.DataFrame(found)


def curves(rows: pd.DataFrame, measures: Sequence[str], seed: int) -> pd.DataFrame:
    """Each measure by method and factor, as a mean over concepts with its interval over concepts.

    Columns `method`, `factor`, and each measure with `_low` and `_high`.
    """
    found = []
    for factor, part in rows.groupby("factor", sort=True):
        found.append(overall(part, measures, seed).assign(factor=factor))
    return pd.concat(found, ignore_index=True)


def _named(measure: str, values: pd.Series, seed: int) -> dict[str, object]:
    known = values.dropna().to_numpy(dtype=float)
    return {**mean_interval(known, seed).named(measure)}

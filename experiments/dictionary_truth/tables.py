"""The results of `dictionary_truth`: the tables of a run, estimates, and the drawings made from both."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.figure import Draw
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, mean_interval
from interp.track.run import Run

from ..common.dictionaries.config import slug
from ..common.populations.data import ConceptScore
from ..common.populations.figures import concept_recovery
from .config import Config

MOST_DRAWN = 12  # concepts in the figure of absorption
PROBE, SAME, ALL = "dense probe", "neurons, same layer", "neurons, all layers"
HEDGED = ("sae", "concept", "other", "latent", "share", "association", "response")
MEASURES = {"auroc": "AUROC", "f1": "F1"}


class TruthTables:
    """The tables of a run, its estimates, and the drawings made from them."""

    def __init__(self, run: Run, config: Config) -> None:
        self.run, self.config = run, config
        self.detections, self.splits = run.table("detections"), run.table("splitting")
        hedges = run.table("hedging")
        self.hedges = hedges if len(hedges) else hedges.reindex(columns=HEDGED).astype({"share": float})
        self.methods = list(dict.fromkeys(self.detections["method"]))
        self.latents = [method for method in self.methods if method.startswith("latents")]
        self.saes = list(dict.fromkeys(self.splits["sae"]))

    def concepts(self, level: str, measure: str) -> Draw:
        """Draws a score of every method for every concept."""
        table = self.detections[(self.detections["level"] == level) & (self.detections["measure"] == measure)]
        scores = [
            ConceptScore(
                row["concept"], row["method"], row["value"], row["low"], row["high"],
                f"{row['space']}/{row['feature_id']}", row["positives"],
            )
            for row in table.to_dict("records")
        ]  # fmt: skip
        drawn: dict[str, Role] = {self.latents[-1]: "b", SAME: "a", PROBE: "c"}
        if "random directions" in self.methods:
            drawn["random directions"] = "null"
        name, chance = MEASURES[measure], 0.5 if measure == "auroc" else 0.0
        return concept_recovery(
            scores, found=None, drawn=drawn, measure=name, chance=chance,
        )  # fmt: skip

    def means(self, level: str) -> Draw:
        """Draws the mean over concepts of every method."""
        rows = [
            EstimateRow(f"{method}, {name}", [Entry(_role(method), self.mean(level, measure, method))])
            for measure, name in MEASURES.items()
            for method in self.methods
        ]
        names: Mapping[Role, str] = {
            "a": "neurons", "b": "latents", "c": "principal directions, dense probe",
            "null": "random directions",
        }  # fmt: skip
        return estimate_chart(rows, x_name="mean over concepts", names=names, null=None)

    def absorbed(self) -> Draw:
        """Draws the concepts of which most is absorbed."""
        known = self.splits[self.splits["full"].notna()]
        order = known.groupby("concept")["full"].max().sort_values(ascending=False, kind="stable")
        rows = [
            EstimateRow(
                str(concept),
                [
                    Entry("b", Estimate.of(row, "full"), f"{row['sae']}, n {row['tokens']}")
                    for row in known[known["concept"] == concept].to_dict("records")
                ],
            )
            for concept in order.index[:MOST_DRAWN]
        ]
        return estimate_chart(rows, x_name="share of tokens", null=None)

    def hedged(self) -> Draw:
        """Draws how much of other concepts the latents' directions hold."""
        rows = []
        for sae in self.saes:
            for group in ("together", "apart", "unrelated"):
                key = f"hedging/{slug(sae)}/{group}"
                if f"{key}_pairs" in self.run.metrics:
                    role: Role = "null" if group == "unrelated" else "b"
                    n = f"n {self.run.metrics[f'{key}_pairs']}"
                    rows.append(EstimateRow(f"{sae}, {group}", [Entry(role, self.metric(key), n)]))
        names: Mapping[Role, str] = {
            "b": "concepts that occur together, or apart",
            "null": "unrelated",
        }
        return estimate_chart(
            rows, x_name="mean signed share of the other concept", names=names,
        )  # fmt: skip

    def metric(self, name: str) -> Estimate:
        """Returns a metric of the run with its interval."""
        return Estimate.metric(self.run.metrics, name)

    def mean(self, level: str, measure: str, method: str) -> Estimate:
        """Returns a method's mean over concepts."""
        return self.metric(f"{level}_{measure}/{slug(method)}")

    def gap(self, level: str, measure: str, one: str, other: str) -> Estimate:
        """Returns the mean difference between two methods over concepts."""
        wide = self._wide(level, measure, "value")
        return mean_interval((wide[one] - wide[other]).to_numpy(dtype=float), self.config.seed)

    def ahead(self, level: str, measure: str, one: str, other: str) -> Sequence[str]:
        """Returns the concepts for which the interval of one method lies above that of another."""
        low, high = (self._wide(level, measure, end) for end in ("low", "high"))
        return [str(concept) for concept in low.index[low[one] > high[other]]]

    def _wide(self, level: str, measure: str, column: str) -> pd.DataFrame:
        chosen = (self.detections["level"] == level) & (self.detections["measure"] == measure)
        return self.detections[chosen].pivot(index="concept", columns="method", values=column)


def _role(method: str) -> Role:
    if method.startswith("latents"):
        return "b"
    if method.startswith("neurons"):
        return "a"
    return "null" if method.startswith("random") else "c"

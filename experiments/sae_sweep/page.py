"""The page of `sae_sweep`: the frontier of sparsity and faithfulness."""

from collections.abc import Sequence

from interp.render.charts.curves import Curve, curve_chart
from interp.render.digits import interval, measured, number, significant
from interp.render.figure import Draw, Figure
from interp.render.page import Section
from interp.statistics.estimate import Estimate

from ..common.dictionaries.page import DictionariesPage
from .config import Config

QUANTITIES = {
    "explained_variance": "explained variance",
    "cross_entropy_recovered": "cross-entropy recovered",
    "kl_spliced": "KL of the spliced model (nats)",
}


class SweepPage(DictionariesPage[Config]):
    """Shows each measure against sparsity, a line for each width."""

    @property
    def kinds(self) -> list[str]:
        return list(self.frame.architecture.unique())

    def question(self) -> str:
        return f"What does sparsity cost at {self.config.site} of {self.subject.name}?"

    def opening(self) -> Sequence[str]:
        widths = sorted(self.frame.latents.unique())
        return [
            f"{len(self.frame)} dictionaries ({', '.join(self.kinds)}; {', '.join(map(str, widths))} "
            "latents) were trained from one reading of the corpus.",
            "Their reconstructions were spliced into the model, on text that none of them was trained on.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return self._figure(self.kinds[0], "cross_entropy_recovered")

    def sections(self) -> Sequence[Section]:
        frontiers = [
            Section(
                f"The frontier of {kind}",
                ["A line for each width: up and to the left is better."],
                [self._figure(kind, column) for column in QUANTITIES],
            )
            for kind in self.kinds
        ]
        return [*frontiers, self.all_figures()]

    def _verdict(self) -> str:
        rows = self.frame.sort_values("l0").to_dict("records")
        sparse, dense = rows[0], rows[-1]
        first, last = (Estimate.of(row, "cross_entropy_recovered") for row in (sparse, dense))
        explained = [number(row["explained_variance"]) for row in (sparse, dense)]
        return (
            f"From {number(sparse['l0'])} latents a token ({sparse['dictionary']}) to {number(dense['l0'])} "
            f"({dense['dictionary']}), the cross-entropy recovered goes from {measured(first)} "
            f"({interval(first)}) to {measured(last)} ({interval(last)}), the KL of the spliced model from "
            f"{significant(sparse['kl_spliced'])} to {significant(dense['kl_spliced'])} nats, and the "
            f"explained variance from {explained[0]} to {explained[1]}."
        )

    def _figure(self, kind: str, column: str) -> Figure:
        return Figure(
            f"{kind}_{column}",
            f"{QUANTITIES[column]}, {kind}",
            self.measured_on,
            self._frontier(kind, column),
        )

    def _frontier(self, kind: str, column: str) -> Draw:
        own = self.frame[self.frame.architecture == kind]
        curves = [
            Curve(
                f"{latents:,} latents",
                "b",
                [
                    (row["l0"], Estimate.of({f"{column}_low": None, f"{column}_high": None} | row, column))
                    for row in of_width.to_dict("records")
                ],
            )
            for latents, of_width in own.groupby("latents")
        ]
        return curve_chart(curves, x_name="L0 (latents active per token)", y_name=QUANTITIES[column])

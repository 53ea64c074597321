"""The page of the toy: one figure, one table."""

from collections.abc import Sequence

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.figure import Figure
from interp.render.page import Section, Table
from interp.statistics.estimate import Estimate

from ..common.page import ExperimentPage
from .config import Config


class ToyPage(ExperimentPage[Config]):
    """What was drawn."""

    words = (("Draw", "One number."),)
    limits = ("Nothing is said by random numbers.",)

    def question(self) -> str:
        """What was asked."""
        return "What is drawn?"

    def opening(self) -> Sequence[str]:
        """What was done, on what, and what came out."""
        mean = self.run.metrics["draw/mean"]
        return [f"{self.config.draws} numbers were drawn.", "They are normal.", f"Their mean is {mean:.2f}."]

    def headline(self) -> Figure:
        """The mean between the ends."""
        mean = Estimate.of(self.run.metrics, "draw/mean")
        rows = [EstimateRow("mean", [Entry("a", mean)])]
        return Figure(
            "mean", "The mean", "From the least to the largest.", estimate_chart(rows, x_name="number")
        )

    def sections(self) -> Sequence[Section]:
        """Every number."""
        numbers = Table.of(self.run.table("numbers"), ["number"], "numbers", "Every number.")
        return [Section("The numbers", ["As they were drawn."], tables=[numbers])]

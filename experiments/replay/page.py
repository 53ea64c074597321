"""The page of `replay`, filled from what its steps wrote."""

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import number, with_interval
from interp.render.figure import Figure
from interp.render.marked import MarkedText
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage, estimate_of
from .config import Config

CONDITIONS = ("unsteered", "steered", "random")


class ReplayPage(ExperimentPage[Config]):
    """Shows what was written, what moved, and which features mattered."""

    words = (
        ("Steering set", "Features that are held at a multiple of their own quantile (0 silences them), and "
         "vectors that are added."),
        ("Random", "As many features of the same spaces, drawn at random and changed by the same rule; "
         "probabilities are means over three draws, the text is the first one's."),
        ("Attribution", "Activation times gradient of a token's logit: what a feature adds, to first order."),
        ("Side effect", "KL from the unsteered to the steered prediction after neutral texts, in nats, as if "
         "every token were steered."),
    )  # fmt: skip
    limits = (
        "One prompt is an anecdote: what a steering set does elsewhere takes an experiment with many.",
        "Attributions are first-order estimates; features that interact are not seen.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.tokens, self.moved, self.features = (run.table(one) for one in ("tokens", "moved", "features"))

    def question(self) -> str:
        return f"What does {self.subject.name} write, and what does the steering set change?"

    def opening(self) -> list[str]:
        said = self.config.state.conversation
        asked = [n for n in said.path() if said.turns[n].role != "assistant"][-1]
        changed = int(self.tokens["changed"].fillna(False).astype(bool).sum())
        first = self.moved.iloc[0]
        steered = len(self.tokens[self.tokens["condition"] == "steered"])
        moved = [number(first[name]) for name in CONDITIONS]
        return [
            f"The prompt ends in “{said.text(self.subject, asked)}”.",
            f"The steering set changes {self.run.metrics['features']} features; as many random ones are "
            "changed for comparison.",
            f"{changed} of {steered} tokens are others than without it; the probability of "
            f"“{first['token']}” as the first goes from {moved[0]} to {moved[1]} (random features: "
            f"{moved[2]}).",
        ]

    def headline(self) -> Figure:
        rows = [
            EstimateRow(
                f"“{row['token']}”",
                [
                    Entry("a", Estimate(row["unsteered"])),
                    Entry("b", Estimate(row["steered"])),
                    Entry("null", Estimate(row["random"])),
                ],
            )
            for _, row in self.moved.fillna({"random": float("nan")}).iterrows()
        ]
        names: dict[Role, str] = {"a": "unsteered", "b": "steered", "null": "random features"}
        chart = estimate_chart(rows, x_name="probability of the first token", names=names, null=None)
        return Figure("moved", "Tokens whose probability moved most", "After the prompt; one prompt", chart)

    def sections(self) -> list[Section]:
        texts = [[name, self._text(name)] for name in CONDITIONS]
        written = Table("texts", "What is written; marked: tokens that the unsteered text does not have",
                        [Column("condition"), Column("text")], texts)  # fmt: skip
        columns = ("feature", "layer", Column("attribution", "logits", places=2),
                   Column("activation", places=2), "description")  # fmt: skip
        features = Table.of(self.features, columns, "features", "Features that add most to the first token")
        shares = self.run.table("shares")
        own, random = (with_interval(estimate_of(shares, "share", of=name)) for name in ("these", "random"))
        said = f"They carry {own} of the sum of attributions, as many random ones {random}."
        left = self.run.table("left_out")
        tables = [Table.of(left, ["card", "feature", "why"], "left out", "Features that are not changed")]
        return [
            Section("What is written", (), (), [written, *(tables if len(left) else [])]),
            Section("Why the first token", (said,), (), [features]),
        ]

    def _text(self, condition: str) -> str:
        rows = self.tokens[self.tokens["condition"] == condition]
        ids = rows["id"].tolist()
        if not ids:
            return "–"
        marks = rows["changed"].fillna(False).astype(bool).tolist()
        return MarkedText(self.subject.token_strings(ids), marks)

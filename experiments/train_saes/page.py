"""The page of `train_saes`, and what it shares with that of `sae_sweep`."""

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from interp.corpus.document import Corpus
from interp.render.data import Estimate
from interp.render.digits import interval, measured, number
from interp.render.estimate_figure import Entry, EstimateRow, estimates
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.line_figure import training_curve
from interp.render.page import Column, Figure, Page, Section, Table
from interp.subject import Subject
from interp.track.run import Run
from interp.track.step import read_points
from saes.train import Plan

HALF = 540  # pixels of a figure that stands beside another
THIRD = 360
CURVES = ("explained_variance", "l0", "dead_latents", "cross_entropy_recovered")
MOST_CURVES = 8  # dictionaries of which training curves are shown
WORDS = (
    ("L0", "How many latents are active on a token, on average."),
    ("Explained variance", "The share of the activations' squared distance from their mean that the "
     "reconstruction takes away. For a transcoder: of the activation that it predicts."),
    ("Cross-entropy recovered", "Activations replaced by reconstructions: how much of what the model loses "
     "when they are set to zero is not lost. 1 is everything, 0 nothing."),
    ("KL", "How far the next token's distribution moves from the unchanged model's, in nats."),
    ("Dead, dense", "Latents that were never active on the report text; latents active on more than a tenth "
     "of its tokens."),
)  # fmt: skip
LIMITS = (
    "One seed for each dictionary: intervals are over documents, not over trainings.",
    "Zero is a harsh ablation, so cross-entropy recovered looks high; the KL beside it is absolute.",
    "A frontier says how faithful a dictionary is, not whether its latents mean anything.",
)


def dictionary_table(frame: pd.DataFrame) -> Table:
    """All figures of all dictionaries."""
    columns = [
        Column("dictionary"), Column("site"), Column("latents", places=0), Column("L0"),
        Column("explained variance"), Column("cross-entropy recovered"), Column("KL", "nats"),
        Column("KL of ablation", "nats"), Column("dead", places=0), Column("dense", places=0),
    ]  # fmt: skip
    rows = [
        [row["dictionary"], row["site"], row["latents"], row["l0"], row["explained_variance"],
         Estimate.of(row, "cross_entropy_recovered"), row["kl_spliced"], row["kl_ablated"], row["n_dead"],
         row["n_dense"]]
        for row in frame.to_dict("records")
    ]  # fmt: skip
    return Table("dictionaries", "Every dictionary on the report split", columns, rows)


def measured_on(frame: pd.DataFrame, corpus: Corpus) -> str:
    """Which text the figures are of."""
    first = frame.iloc[0]
    return (
        f"report split of {corpus.name}: {int(first.n_tokens):,} tokens of {int(first.n_documents):,} "
        "documents; 95% intervals over documents"
    )


class TrainingPage:
    """The tables of a run, and the pieces of the page made from them."""

    def __init__(self, run: Run, subject: Subject, corpus: Corpus, plans: Sequence[Plan]) -> None:
        self.run = run
        self.subject = subject
        self.plans = plans
        self.frame = run.table("dictionaries")
        self.measured_on = measured_on(self.frame, corpus)

    def page(self) -> Page:
        """The whole page."""
        best = max(self.frame.to_dict("records"), key=lambda row: row["cross_entropy_recovered"])
        worst = min(self.frame.to_dict("records"), key=lambda row: row["cross_entropy_recovered"])
        found = Estimate.of(best, "cross_entropy_recovered")
        return Page(
            f"How faithful are dictionaries of {self.subject.name}?",
            [
                f"{self.subject.name} read the corpus once to train {len(self.plans)} dictionaries.",
                "Each was put into the model in the place of what it reconstructs, on text that none was "
                "trained on.",
                f"{best['dictionary']} keeps most of the model's predictions, {measured(found)} "
                f"({interval(found)}) of the cross-entropy, with {number(best['l0'])} latents a token"
                + (f"; {worst['dictionary']} keeps least." if len(self.frame) > 1 else "."),
            ],
            Figure(self._recovered(), "Cross-entropy recovered", self.measured_on),
            [
                Section("All figures", (), (), [dictionary_table(self.frame)]),
                *self._curves(),
            ],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def files(self) -> dict[str, str]:
        """The figures as files of their own, by name."""
        return {"cross_entropy_recovered": self._recovered(standalone=True)(620)}

    def _recovered(self, standalone: bool = False) -> Callable[[int], str]:
        rows = [
            EstimateRow(
                row["dictionary"],
                [Entry("latent", Estimate.of(row, "cross_entropy_recovered"), f"L0 {number(row['l0'])}")],
            )
            for row in self.frame.to_dict("records")
        ]
        return lambda width: estimates(
            rows, x_name="share of the cross-entropy", null=None, width=width, standalone=standalone
        )

    def _curves(self) -> list[Section]:
        points = read_points(self.run.folder / "steps" / "train" / "history.jsonl")
        sections = []
        for plan in self.plans[:MOST_CURVES]:
            figures = []
            for name in CURVES:
                key = f"sae/{plan.name}/{name}"
                curve = [(p.at, float(p.values[key] or 0)) for p in points if key in p.values]
                if curve:
                    draw = partial(_curve, curve, key)
                    figures.append(Figure(draw, name.replace("_", " "), "batches in training", THIRD))
            title = f"Training {plan.name}: {plan.training.architecture.kind} at {plan.site}"
            sections.append(Section(title, (), figures))
        return sections


def _curve(points: list[tuple[int, float]], name: str, width: int) -> str:
    return training_curve(points, name, width=width)

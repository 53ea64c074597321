"""The page of `steering`, filled from what its steps wrote."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch

from experiments.steering.config import Config
from experiments.steering.examples import example_tables
from interp.causal.steering.choose import ALL
from interp.causal.steering.methods import (
    ADDED,
    DIFFERENCE,
    LATENT,
    METHODS,
    NEURONS,
    NONE,
    PROMPT,
    RANDOM_DIRECTION,
    RANDOM_LATENT,
)
from interp.causal.steering.prompts import SteeringPrompt
from interp.causal.steering.targets import SteeringTarget
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import count, interval, measured, number
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.records import read_written
from interp.track.run import Run

Row = Mapping[str, Any]
HALF = 540  # pixels of a figure that stands beside another
ROLES: Mapping[str, Role] = {
    LATENT: "b",
    ADDED: "b",
    DIFFERENCE: "c",
    NEURONS: "a",
    RANDOM_LATENT: "null",
    RANDOM_DIRECTION: "null",
}
ORDER = (*METHODS, PROMPT, NONE)
FACTOR, CHANGE = "factor (times the latent's maximum)", "change of the residual stream (share of its norm)"
NAMES = {
    "concept_score": "concept score",
    "instruction_score": "instruction score",
    "fluency_score": "fluency score",
    "harmonic": "harmonic mean",
}
WORDS = (
    ("Neurons", "The set to which the concept's words are attributed most (activation less its mean, times "
     "gradient), or, if the config says so, that tells the concept best."),
    ("Latent", "One of the features that a sparse autoencoder splits an inner state of the model into."),
    ("Factor", "What a latent is held at, over its maximum on the explain split. The error of the "
     "autoencoder is kept: x + SAE(x with the latent set) - SAE(x). The other methods are scaled to the norm "
     "of what that adds; neurons are held at the factor times their own extremes."),
    ("Concept score", "Share of the written tokens that carry the concept by the world's labels: 0 at the "
     "share in unsteered text, 2 at the share in documents about it, linear in between."),
    ("Instruction score", "2 if the first token written is a right answer to the prompt, else 0."),
    ("Fluency score", "Cross-entropy of the text under the unsteered model: 2 at that of unsteered text on "
     "prompts of the same kind, 0 at that of such text with its words in random order."),
    ("Harmonic mean", "Of the three scores of one text, 0 if one of them is 0; then the mean over texts."),
    ("Repetition", "The share of a text's word pairs that have occurred before in it."),
    ("KL", "How far the next-token predictions move, in nats a token, on documents without the concept."),
    ("Interval", "95%, by bootstrap: over concepts for means of all, over prompts for one concept."),
)  # fmt: skip
LIMITS = (
    "The judge is the world's word list and the model itself, not a reader: a text that names the concept in "
    "the wrong place still scores on it, and one that avoids its words does not.",
    "An unsteered text scores below 2 on fluency on average, since 2 is the mean of such texts and no text "
    "scores more.",
    "Behind most of these prompts a document about something else is normal text; how far a concept can "
    "appear while the instruction is kept is a property of this world, too.",
    "One model, one site, one dictionary: intervals over concepts say nothing of others.",
)


class SteeringPage:
    """The tables of a run, and the pieces of the page made from them."""

    def __init__(
        self,
        run: Run,
        subject: Subject,
        config: Config,
        targets: Sequence[SteeringTarget],
        prompts: Sequence[SteeringPrompt],
    ) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.targets, self.prompts = targets, prompts
        self.references = read_written(run.folder / "steps" / "write" / "references.json")
        self.curves = self._table("curves").merge(
            self._table("cost_curves").drop(columns="concepts"), on=["method", "factor"], how="left"
        )
        reporting = sum(not prompt.choosing for prompt in prompts)
        self.measured_on = (
            f"{count(reporting)} prompts of {len(targets)} concepts on which no factor was chosen, seed "
            f"{config.seed}. Bands and whiskers: 95%."
        )

    def page(self) -> Page:
        """The whole page."""
        unsteered = self._of("chosen", NONE)
        return Page(
            f"Does holding one latent make {self.subject.name} write about its concept, and at what cost?",
            [
                f"For {len(self.targets)} concepts, the latent of a sparse autoencoder that tells the "
                f"concept best was held at {len(set(self.curves['factor']) - {0.0})} multiples of its "
                f"maximum while {self.subject.name} answered prompts without the concept.",
                "Each text was scored from 0 to 2 for the concept (unsteered text "
                f"{measured(Estimate.of(unsteered, 'concept_score'))}), the instruction "
                f"({measured(Estimate.of(unsteered, 'instruction_score'))}) and fluency "
                f"({measured(Estimate.of(unsteered, 'fluency_score'))}), and so were texts steered by other "
                "means and by random directions of the same norm (grey).",
                self._verdict(),
            ],
            Figure("harmonic", "Harmonic mean of the three scores", self.measured_on, self._dose("harmonic")),
            [self._chosen(), self._golden(), self._doses(), self._norms(), self._concepts(),
             *self._examples(), self._steered()],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )  # fmt: skip

    def _verdict(self) -> str:
        latent, difference, random = (
            Estimate.of(self._of("chosen", method), "harmonic")
            for method in (LATENT, DIFFERENCE, RANDOM_LATENT)
        )
        golden = self._of("golden", LATENT)
        return (
            f"At the factor chosen for each concept, the latent scores {measured(latent)} of 2 "
            f"({interval(latent)}), difference in means {measured(difference)} and a random latent "
            f"{measured(random)}: {self._comparison('chosen', DIFFERENCE)}, and "
            f"{self._comparison('chosen', RANDOM_LATENT)}; at {self.config.golden:g} times its maximum the "
            f"concept scores {measured(Estimate.of(golden, 'concept_score'))}, but the instruction "
            f"{measured(Estimate.of(golden, 'instruction_score'))} and fluency "
            f"{measured(Estimate.of(golden, 'fluency_score'))}, together "
            f"{measured(Estimate.of(golden, 'harmonic'))}."
        )

    def _comparison(self, which: str, against: str) -> str:
        gap = self._gap(which, LATENT, against)
        value, low, high = (number(end, 3, sign=True) for end in (gap.value, gap.low, gap.high))
        said = f"{value} ({low} to {high})"
        if gap.ends is None or gap.ends[0] <= 0 <= gap.ends[1]:
            return f"no clear difference from {against} is seen ({said})"
        return f"the latent is {'ahead of' if gap.ends[0] > 0 else 'behind'} {against} by {said}"

    def _chosen(self) -> Section:
        best = self._best("chosen")
        return Section(
            f"At the chosen factors, the harmonic mean is highest for {best}",
            [
                "For every method and concept the factor with the best harmonic mean on one half of the "
                "prompts; the figures are of the other half. On a large model (AxBench, 2025) difference "
                f"in means steers better than SAE latents; here, {self._comparison('chosen', DIFFERENCE)}.",
            ],
            [Figure("methods", "Harmonic mean at the chosen factors", self.measured_on, self._methods())],
            [self._headline("chosen", "At the chosen factors")],
        )

    def _golden(self) -> Section:
        row = self._of("golden", LATENT)
        share, right = Estimate.of(row, "share"), Estimate.of(row, "right")
        repetition, before = (
            Estimate.of(self._of("golden", method), "repetition") for method in (LATENT, NONE)
        )
        title = (
            f"At {self.config.golden:g} times the maximum, {measured(share)} of the words carry the concept "
            f"and {measured(right)} of the answers are right"
        )
        text = (
            f"The factor of the Golden Gate experiment. The share of repeated word pairs goes from "
            f"{measured(before)} to {measured(repetition)}, and the text's cross-entropy under the unsteered "
            f"model from {measured(Estimate.of(self._of('golden', NONE), 'cross_entropy'))} to "
            f"{measured(Estimate.of(row, 'cross_entropy'))} nats a token."
        )
        return Section(title, [text], (), [self._headline("golden", f"At factor {self.config.golden:g}")])

    def _doses(self) -> Section:
        figures = [
            Figure(measure, NAMES[measure].capitalize(), self.measured_on, self._dose(measure), HALF)
            for measure in ("concept_score", "instruction_score", "fluency_score")
        ]
        figures.append(Figure("repetition", "Repetition", self.measured_on, self._dose("repetition"), HALF))
        text = "All methods are scaled to one axis; a random one changes the stream as much as the latent."
        return Section("Factor by factor: what is gained and what is lost", [text], figures)

    def _norms(self) -> Section:
        on = (
            f"Change and KL on {self.config.neutral_documents} documents without each concept, report split. "
            "Bands: 95%."
        )
        figures = [
            Figure(
                "harmonic_by_change",
                "Harmonic mean by the size of the change",
                on,
                self._dose("harmonic", "relative"),
                HALF,
            ),
            Figure(
                "kl_by_change", "Cost where the concept has no place", on, self._dose("kl", "relative"), HALF
            ),
        ]
        text = (
            "The change is that of the residual stream behind the last layer, as a share of its norm: "
            "neurons of other layers reach it, too, so that this axis puts them beside the other methods."
        )
        return Section("Against the size of the change", [text], figures, [self._cost_table()])

    def _concepts(self) -> Section:
        rows = self._table("chosen_concepts").to_dict("records")
        columns = [
            Column("concept"), Column("method"), Column("factor"), Column("share with concept"),
            Column("right answers"), Column("cross-entropy", "nats"), Column("harmonic mean"),
            Column("of the means"), Column("prompts", places=0),
        ]  # fmt: skip
        cells: list[list[Cell]] = [
            [row["concept"], row["method"], row["factor"] or None,
             *(Estimate.of(row, name) for name in ("share", "right", "cross_entropy", "harmonic")),
             row["harmonic_of_means"], row["prompts"]]
            for concept in self.config.concepts
            for row in self._ordered(r for r in rows if r["concept"] == concept)
        ]  # fmt: skip
        text = (
            "Raw figures at the chosen factors. The last but one column is the harmonic mean of the three "
            "mean scores, which does not ask that one text has them all."
        )
        table = Table("concepts", "Every method and concept, reporting half", columns, cells)
        return Section("Concept by concept", [text], (), [table])

    def _examples(self) -> list[Section]:
        shown = self.config.concepts[: self.config.examples]
        if not shown:
            return []
        rows = self._table("chosen_concepts").to_dict("records")
        chosen = {(row["method"], row["concept"]): row["factor"] for row in rows}
        texts = self._table("texts")
        tables = example_tables(self.subject, texts, self.prompts, shown, chosen, self.config.golden)
        text = "Sampled with the same random numbers in every column."
        return [Section("What was written", [text], (), tables)]

    def _steered(self) -> Section:
        columns = [
            Column("concept"), Column("latent"), Column("AUROC"), Column("maximum"), Column("adds", "norm"),
            Column("cosine with difference in means"), Column("share unsteered"), Column("share genuine"),
        ]  # fmt: skip
        rows: list[list[Cell]] = []
        for one in self.targets:
            decoded = one.latent.space.decoder(torch.tensor([one.latent.feature_id]))[0].float().cpu()
            cosine = float(torch.cosine_similarity(decoded, one.difference, dim=0))
            shares = (self.references[name][one.concept] for name in ("unsteered", "genuine"))
            auroc = one.picked_by[one.latent.key]
            rows.append([one.concept, one.latent.key, auroc, one.largest, one.unit, cosine, *shares])
        found = Table("latents", "What is held, and what the concept score is fixed by", columns, rows)
        fixed = Table(
            "fluency", "Nats a token that fluency is fixed by, from the choosing half",
            [Column("prompts"), Column("unsteered (2)"), Column("shuffled (0)")],
            [[group, *ends] for group, ends in self.references["fluency"].items()],
        )  # fmt: skip
        text = "AUROC on the select split, which chose the latent; its maximum on the explain split."
        return Section("The latents, and what the scores rest on", [text], (), [found, fixed])

    def _headline(self, which: str, caption: str) -> Table:
        columns = [
            Column("method"), Column("concept"), Column("instruction"), Column("fluency"),
            Column("harmonic mean"), Column("less difference in means"), Column("less random latent"),
            Column("concepts", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["method"], *(Estimate.of(row, name) for name in NAMES),
             *(self._gap(which, row["method"], against) for against in (DIFFERENCE, RANDOM_LATENT)),
             row["concepts"]]
            for row in self._ordered(self._table(f"{which}_overall").to_dict("records"))
        ]  # fmt: skip
        return Table(f"scores {which}", f"{caption}: scores from 0 to 2, means over concepts", columns, rows)

    def _cost_table(self) -> Table:
        columns = [
            Column("method"), Column("at"), Column("KL", "nats"), Column("extra cross-entropy", "nats"),
            Column("change", "norm"), Column("change", "share"), Column("repetition"),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["method"], at, *(Estimate.of(row, name) for name in ("kl", "extra", "norm", "relative")),
             Estimate.of(self._of(which, row["method"]), "repetition")]
            for which, at in (("chosen", "chosen factors"), ("golden", f"factor {self.config.golden:g}"))
            for row in self._ordered(self._table(f"{which}_costs").to_dict("records"))
        ]  # fmt: skip
        return Table(
            "costs", "On documents without the concept; repetition in what is written", columns, rows
        )

    def _dose(self, measure: str, against: str = "factor") -> Draw:
        curves = []
        for method in (name for name in METHODS if name in set(self.curves["method"])):
            rows = self.curves[self.curves["method"] == method]
            curves.append(Curve.of(method, ROLES[method], rows, against, measure))
        golden = [(self.config.golden, "Golden Gate")] if against == "factor" else []
        y_name = NAMES.get(measure, {"kl": "KL (nats a token)"}.get(measure, measure))
        return curve_chart(
            curves,
            x_name=FACTOR if against == "factor" else CHANGE,
            y_name=y_name,
            marks=golden,
        )

    def _methods(self) -> Draw:
        rows = [
            EstimateRow(
                row["method"], [Entry(ROLES.get(row["method"], "null"), Estimate.of(row, "harmonic"))]
            )
            for row in self._ordered(self._table("chosen_overall").to_dict("records"))
        ]
        names: Mapping[Role, str] = {
            "b": "latent", "c": "difference in means", "a": "neurons",
            "null": "random, prompt, none",
        }  # fmt: skip
        return estimate_chart(rows, x_name="harmonic mean (0 to 2)", names=names)

    def _best(self, which: str) -> str:
        rows = self._table(f"{which}_overall")
        return str(rows.sort_values("harmonic")["method"].iloc[-1])

    def _gap(self, which: str, method: str, against: str) -> Estimate:
        gaps = self._table(f"{which}_differences")
        found = gaps[(gaps["method"] == method) & (gaps["against"] == against) & (gaps["concept"] == ALL)]
        if found.empty:
            return Estimate()
        row = found.iloc[0]
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]))

    def _of(self, which: str, method: str) -> Row:
        rows = self._table(f"{which}_overall")
        return dict(rows[rows["method"] == method].iloc[0])

    def _ordered(self, rows: Any) -> list[Row]:
        return sorted(rows, key=lambda row: ORDER.index(row["method"]))

    def _table(self, name: str) -> pd.DataFrame:
        return self.run.table(name)

"""The page of `steering`."""

from collections.abc import Mapping, Sequence

import pandas as pd
import torch

from interp.causal.steering.choose import ALL
from interp.causal.steering.concepts import Concepts
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
from interp.render.figure import Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.records import read_written
from interp.track.run import Run

from ..common.page import ExperimentPage, estimate_of
from .config import Config
from .examples import example_tables

ROLES: Mapping[str, Role] = {
    LATENT: "b",
    ADDED: "b",
    DIFFERENCE: "c",
    NEURONS: "a",
    RANDOM_LATENT: "null",
    RANDOM_DIRECTION: "null",
}
ORDER = (*METHODS, PROMPT, NONE)
NAMES = {
    "concept_score": "concept score",
    "instruction_score": "instruction score",
    "fluency_score": "fluency score",
    "harmonic": "harmonic mean",
}


class SteeringPage(ExperimentPage[Config]):
    """Shows what each method of steering does at every factor."""

    words = (
        ("Neurons", "The set to which the concept's words are attributed most ((activation minus its mean) "
         "times gradient) or, if the config says so, that detects the concept best."),
        ("Latent", "One of the features into which a sparse autoencoder splits an activation of the model."),
        ("Factor", "The value a latent is clamped to, over its maximum on the explain split. The error of "
         "the autoencoder is kept: x + SAE(x with the latent set) - SAE(x). The other methods are scaled to "
         "the norm of what that adds; neurons are clamped to the factor times their own extremes."),
        ("Concept score", "Share of the generated tokens that carry the concept (the world's labels, or a "
         "word of its list): 0 at the share in unsteered text, 2 at that in documents about it (or with a "
         "word of its list), linear in between."),
        ("Instruction score", "2 if the first generated token is a right answer to the prompt, else 0."),
        ("Fluency score", "Cross-entropy of the text under the unsteered model: 2 at that of unsteered text "
         "on prompts of the same kind, 0 at that of such text with its words in random order."),
        ("Harmonic mean", "Of the scores of one text, 0 if one of them is 0; averaged over texts."),
        ("Repetition", "The share of a text's word pairs that occurred in it before."),
        ("KL", "How far the next-token predictions move, in nats a token, on documents without the concept."),
        ("Interval", "95%, by bootstrap: over concepts for means of all, over prompts for one concept."),
    )  # fmt: skip
    limits = (
        "The judge is a list of words and the model itself, not a reader: a text that names the "
        "concept in the wrong place still scores on it, and one that avoids its words does not.",
        "Unsteered text scores below 2 on fluency on average: 2 is at the mean of such texts, and no text "
        "scores more.",
        "One model, one site, one dictionary: intervals over concepts say nothing about others.",
    )

    def __init__(
        self,
        run: Run,
        config: Config,
        subject: Subject,
        targets: Sequence[SteeringTarget],
        prompts: Sequence[SteeringPrompt],
        known: Concepts,
    ) -> None:
        super().__init__(run, config, subject)
        self.model, self.targets, self.prompts, self.known = subject, targets, prompts, known
        self.names = [target.concept for target in targets]
        self.instructed = config.beginnings is None
        self.scores = [name for name in NAMES if self.instructed or name != "instruction_score"]
        self.references = read_written(run.folder / "steps" / "write" / "references.json")
        costs = run.table("cost_curves").drop(columns="concepts")
        self.curves = run.table("curves").merge(costs, on=["method", "factor"], how="left")
        reporting = sum(not prompt.choosing for prompt in prompts)
        self.measured_on = (
            f"{count(reporting)} prompts of {len(targets)} concepts, not used to choose factors, seed "
            f"{config.seed}. Bands and whiskers: 95%."
        )

    def question(self) -> str:
        """What was asked."""
        return f"Does clamping one latent make {self.model.name} write about its concept, and at what cost?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        concept, instruction, fluency = (
            measured(self._of("chosen", NONE, f"{score}_score"))
            for score in ("concept", "instruction", "fluency")
        )
        doing = "answered prompts" if self.instructed else "continued beginnings"
        instructed = f"the instruction ({instruction}) and fluency" if self.instructed else "and fluency"
        return (
            f"For {len(self.targets)} concepts, the latent of a sparse autoencoder that detects the "
            f"concept best was clamped to {len(set(self.curves['factor']) - {0.0})} multiples of its maximum "
            f"while {self.model.name} {doing} without the concept.",
            f"Each text was scored from 0 to 2 for the concept (unsteered text {concept}), "
            f"{instructed} ({fluency}), and so were texts steered by other means and by "
            "random directions of the same norm (grey).",
            self._verdict(),
        )

    def caveats(self) -> Sequence[str]:
        """Returns the limits, and what the prompts allow."""
        here = (
            "After most of these prompts text about something else is normal here; how far a concept can "
            "appear while the instruction is followed is also a property of this world."
        )
        there = "The prompts are mere beginnings: what steering does to what a model is asked is not seen."
        return (*self.limits, here if self.instructed else there)

    def headline(self) -> Figure:
        """Draws the harmonic mean by factor."""
        return self._dose("harmonic", f"Harmonic mean of the {'three' if self.instructed else 'two'} scores")

    def sections(self) -> Sequence[Section]:
        """Shows chosen factors, the golden one, all factors, sizes, concepts, texts and latents."""
        return (
            self._chosen(), self._golden(), self._doses(), self._norms(), self._concepts(),
            *self._examples(), self._steered(),
        )  # fmt: skip

    def _verdict(self) -> str:
        latent, difference, random = (
            self._of("chosen", method, "harmonic") for method in (LATENT, DIFFERENCE, RANDOM_LATENT)
        )
        concept, instruction, fluency, together = (
            measured(self._of("golden", LATENT, score)) for score in NAMES
        )
        lost = f"the instruction {instruction} and fluency" if self.instructed else "fluency"
        return (
            f"At the factor chosen for each concept, the latent scores {measured(latent)} of 2 "
            f"({interval(latent)}), difference in means {measured(difference)} and a random latent "
            f"{measured(random)}: {self._comparison('chosen', DIFFERENCE)}, and "
            f"{self._comparison('chosen', RANDOM_LATENT)}; at {self.config.golden:g} times its maximum the "
            f"concept scores {concept}, but {lost} {fluency}, together "
            f"{together}."
        )

    def _comparison(self, which: str, against: str) -> str:
        gap = self._gap(which, LATENT, against)
        value, low, high = (number(end, 3, sign=True) for end in (gap.value, gap.low, gap.high))
        said = f"{value} ({low} to {high})"
        if gap.ends is None or gap.ends[0] <= 0 <= gap.ends[1]:
            return f"no clear difference from {against} is seen ({said})"
        return f"the latent is {'ahead of' if gap.ends[0] > 0 else 'behind'} {against} by {said}"

    def _chosen(self) -> Section:
        overall = self.run.table("chosen_overall")
        best = overall.sort_values("harmonic")["method"].iloc[-1]
        return Section(
            f"At the chosen factors, the harmonic mean is highest for {best}",
            [
                "For every method and concept, the factor with the best harmonic mean on one half of the "
                "prompts; results are on the other half. On a large model (AxBench, 2025) difference "
                f"in means steers better than SAE latents; here, {self._comparison('chosen', DIFFERENCE)}.",
            ],
            [self._methods()],
            [self._scores("chosen", "At the chosen factors")],
        )

    def _golden(self) -> Section:
        share, right, after, nats = (
            measured(self._of("golden", LATENT, name))
            for name in ("share", "right", "repetition", "cross_entropy")
        )
        answers = f" and {right} of the answers are right" if self.instructed else ""
        before, clean = (measured(self._of("golden", NONE, name)) for name in ("repetition", "cross_entropy"))
        title = (
            f"At {self.config.golden:g} times the maximum, {share} of the words carry the concept{answers}"
        )
        text = (
            "The factor of the Golden Gate experiment. The share of repeated word pairs goes from "
            f"{before} to {after}, and the text's cross-entropy under the unsteered model from {clean} to "
            f"{nats} nats a token."
        )
        return Section(title, [text], tables=[self._scores("golden", f"At factor {self.config.golden:g}")])

    def _doses(self) -> Section:
        figures = [
            self._dose(measure, NAMES[measure].capitalize())
            for measure in self.scores
            if measure != "harmonic"
        ]
        text = "All methods share one axis: a random one changes the stream as much as the latent does."
        return Section(
            "Gains and losses at every factor",
            [text],
            [*figures, self._dose("repetition", "Repetition")],
        )

    def _norms(self) -> Section:
        figures = [
            self._change("harmonic", "Harmonic mean by the size of the change"),
            self._change("kl", "Cost on documents without the concept"),
        ]
        text = (
            "The change is that of the residual stream after the last layer, as a share of its norm: "
            "neurons of all layers reach it, so this axis compares them with the other methods."
        )
        return Section("Against the size of the change", [text], figures, [self._costs()])

    def _concepts(self) -> Section:
        found = self._ordered("chosen_concepts")
        place = found["concept"].map(self.names.index)
        found = found.iloc[place.argsort(kind="stable")]
        columns: list[Column | str] = [
            "concept", "method", "factor", Column("share with concept", of="share"),
            *([Column("right answers", of="right")] if self.instructed else []),
            Column("cross-entropy", "nats", of="cross_entropy"),
            Column("harmonic mean", of="harmonic"), Column("of the means", of="harmonic_of_means"),
            Column("prompts", places=0),
        ]  # fmt: skip
        text = (
            "Raw values at the chosen factors. The last but one column is the harmonic mean of the "
            "mean scores, which one text need not have together."
        )
        steered = found.assign(factor=found["factor"].where(found["factor"] > 0))
        table = Table.of(steered, columns, "concepts", "Every method and concept, reporting half")
        return Section("Concept by concept", [text], tables=[table])

    def _examples(self) -> list[Section]:
        shown = self.names[: self.config.examples]
        if not shown:
            return []
        rows = self.run.table("chosen_concepts").to_dict("records")
        chosen = {(row["method"], row["concept"]): row["factor"] for row in rows}
        texts = self.run.table("texts")
        golden = self.config.golden
        tables = example_tables(self.model, texts, self.prompts, shown, chosen, golden, self.known)
        text = "Sampled with the same random numbers in every column."
        return [Section("What was written", [text], tables=tables)]

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
        found = Table("latents", "Clamped latents, and the scale of the concept score", columns, rows)
        fixed = Table(
            "fluency", "The scale of fluency, in nats a token, from the choosing half",
            [Column("prompts"), Column("unsteered (2)"), Column("shuffled (0)")],
            [[group, *ends] for group, ends in self.references["fluency"].items()],
        )  # fmt: skip
        text = "AUROC on the select split, which chose the latent; its maximum on the explain split."
        return Section("The latents, and the scales of the scores", [text], tables=[found, fixed])

    def _scores(self, which: str, caption: str) -> Table:
        columns = [
            Column("method"), *(Column(NAMES[name].removesuffix(" score")) for name in self.scores),
            Column("less difference in means"), Column("less random latent"),
            Column("concepts", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["method"], *(Estimate.of(row, name) for name in self.scores),
             *(self._gap(which, row["method"], against) for against in (DIFFERENCE, RANDOM_LATENT)),
             row["concepts"]]
            for row in self._ordered(f"{which}_overall").to_dict("records")
        ]  # fmt: skip
        return Table(f"scores {which}", f"{caption}: scores from 0 to 2, means over concepts", columns, rows)

    def _costs(self) -> Table:
        columns: list[Column | str] = [
            "method", "at", Column("KL", "nats", of="kl"), Column("extra cross-entropy", "nats", of="extra"),
            Column("change", "norm", of="norm"), Column("change", "share", of="relative"), "repetition",
        ]  # fmt: skip
        repetition = ["method", "repetition", "repetition_low", "repetition_high"]
        rows = pd.concat(
            self._ordered(f"{which}_costs")
            .assign(at=at)
            .merge(self.run.table(f"{which}_overall")[repetition], on="method", how="left")
            for which, at in (("chosen", "chosen factors"), ("golden", f"factor {self.config.golden:g}"))
        )
        caption = "On documents without the concept; repetition in generated text"
        return Table.of(rows, columns, "costs", caption)

    def _dose(self, measure: str, title: str) -> Figure:
        drawn = curve_chart(
            self._lines(measure, "factor"),
            x_name="factor (times the latent's maximum)",
            y_name=NAMES.get(measure, measure),
            marks=[(self.config.golden, "Golden Gate")],
        )
        return Figure(measure, title, self.measured_on, drawn)

    def _change(self, measure: str, title: str) -> Figure:
        drawn = curve_chart(
            self._lines(measure, "relative"),
            x_name="change of the residual stream (share of its norm)",
            y_name=NAMES.get(measure, "KL (nats a token)"),
        )
        caption = (
            f"Change and KL on {self.config.neutral_documents} documents without each concept, report split. "
            "Bands: 95%."
        )
        return Figure(f"{measure}_by_change", title, caption, drawn)

    def _lines(self, measure: str, against: str) -> list[Curve]:
        rows = {str(method): part for method, part in self.curves.groupby("method")}
        return [
            Curve.of(method, ROLES[method], rows[method], against, measure)
            for method in METHODS
            if method in rows
        ]

    def _methods(self) -> Figure:
        rows = [
            EstimateRow(
                row["method"], [Entry(ROLES.get(row["method"], "null"), Estimate.of(row, "harmonic"))]
            )
            for row in self._ordered("chosen_overall").to_dict("records")
        ]
        names: Mapping[Role, str] = {
            "b": "latent", "c": "difference in means", "a": "neurons", "null": "random, prompt, none",
        }  # fmt: skip
        drawn = estimate_chart(rows, x_name="harmonic mean (0 to 2)", names=names)
        return Figure("methods", "Harmonic mean at the chosen factors", self.measured_on, drawn)

    def _gap(self, which: str, method: str, against: str) -> Estimate:
        gaps = self.run.table(f"{which}_differences")
        named = gaps.rename(columns={"low": "value_low", "high": "value_high"})
        return estimate_of(named, "value", method=method, against=against, concept=ALL)

    def _of(self, which: str, method: str, measure: str) -> Estimate:
        return estimate_of(self.run.table(f"{which}_overall"), measure, method=method)

    def _ordered(self, table: str) -> pd.DataFrame:
        """Reads a table, and puts its methods in their usual order."""
        rows = self.run.table(table)
        return rows.iloc[rows["method"].map(ORDER.index).argsort(kind="stable")]

"""The page of `dictionary_truth`, filled from what its steps wrote."""

from collections.abc import Sequence

from interp.render.digits import count, interval, measured, number
from interp.render.figure import Figure
from interp.render.page import Cell, Column, Section, Table
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.dictionaries.config import slug
from ..common.frames import groups
from ..common.page import ExperimentPage
from .config import Config
from .tables import ALL, MEASURES, PROBE, SAME, TruthTables


class TruthPage(ExperimentPage[Config]):
    """Shows the best feature of each kind for every concept, and what dictionaries make of concepts."""

    words = (
        ("Best feature", "Of all features of a kind, the one that detects a concept best on the select "
         "split; its scores are measured on the report split."),
        ("AUROC", "The chance that an example with the concept gets a higher activation than one without it: "
         "0.5 is guessing."),
        ("F1", "Harmonic mean of precision and recall; the feature counts as on above a threshold, which is "
         "chosen on the select split."),
        ("Token, document", "A document's activation is the largest over its counted tokens, and its "
         "concepts are those of all of them; the probe's score is pooled in the same way."),
        ("Dense probe", "Logistic regression with an L2 penalty on the whole activation, trained with labels "
         "on the explain split: an upper reference."),
        ("Split", "A further latent raises the F1 of a probe on a concept's latents by more than 0.03 "
         "(Chanin et al. 2024)."),
        ("Absorbed", "The probe finds the concept in a token, the concept's latents are silent, and another "
         "latent contributes at least 0.4 of the probe's projection (SAEBench)."),
        ("Hedged", "The latent's decoder direction also holds the direction of another concept that occurs "
         "with it: its signed share of both, directions by regression on all labels at once."),
    )  # fmt: skip
    limits = (
        "The labels are those of the text generator; a feature may represent something that has no label, "
        "which these scores do not credit.",
        "AUROC ranks every example: a sparse latent, silent on most, leaves those tied, which a neuron or a "
        "direction does not. F1 ignores the order below the threshold.",
        "Kinds compete with different numbers of candidates; choosing and measuring on different text "
        "removes the optimism, not the advantage of the larger kind.",
        "Hedging needs additive concepts: where the model does not add them up, their directions are "
        "averages. The published measure compares SAEs of two widths instead.",
        "One subject, one seed.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.tables = TruthTables(run, config)
        self.measured_on = f"Report split, seed {config.seed}; whiskers: 95% intervals."

    def question(self) -> str:
        return f"Does a dictionary find what {self.subject.name} really represents?"

    def opening(self) -> Sequence[str]:
        tested, left = (int(self.run.metrics[f"concepts/{key}"] or 0) for key in ("tested", "left_out"))
        dictionaries = len(self.tables.saes)
        return [
            f"Every token of the text carries the concepts that made it, so what the latents of "
            f"{dictionaries} sparse autoencoder{'s' * (dictionaries > 1)} respond to can be "
            f"compared with the truth: {count(tested)} concepts ({count(left)} are too rare to be tested).",
            "For each, the best latent was compared with the best neuron, the best direction that needed "
            "no training (random: grey), and a probe trained with the labels.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return Figure(
            "means_token", "Mean over concepts, tokens", self.measured_on, self.tables.means("token")
        )

    def sections(self) -> Sequence[Section]:
        recovered = [self._recovery(level) for level in ("token", "document")]
        return [*recovered, self._splitting(), self._absorption(), self._hedging()]

    def _verdict(self) -> str:
        said = []
        for method in self.tables.latents:
            gap = self.tables.gap("token", "f1", method, SAME)
            better, worse = (
                len(self.tables.ahead("token", "f1", *pair)) for pair in ((method, SAME), (SAME, method))
            )
            said.append(
                f"{method.partition(', ')[2]} {measured(gap, sign=True)} ({interval(gap, sign=True)}; "
                f"clearly ahead for {better} concepts, behind for {worse})"
            )
        neuron, probe = (self.tables.mean("token", "f1", method) for method in (SAME, PROBE))
        return (
            f"The best latent's F1 on tokens, minus that of the best neuron of the same layer: "
            f"{', '.join(said)}; the neuron's mean is {measured(neuron)}, the probe's {measured(probe)}."
        )

    def _recovery(self, level: str) -> Section:
        figures = [
            Figure(
                f"{level}_{measure}",
                f"{name} on {level}s",
                self.measured_on,
                self.tables.concepts(level, measure),
            )
            for measure, name in MEASURES.items()
        ]
        rows: list[list[Cell]] = []
        table = self.tables.detections[self.tables.detections["level"] == level]
        for (concept, measure), part in groups(table, "concept", "measure"):
            by = {row["method"]: row for row in part.to_dict("records")}
            first = next(iter(by.values()))
            cells: list[Cell] = [concept, MEASURES[measure], first["positives"], first["negatives"]]
            for method in self.tables.methods:
                row = by[method]
                cells.append(Estimate(row["value"], row["low"], row["high"]))
            rows.append(cells)
        counted = Column("with", places=0), Column("without", places=0)
        columns = [Column("concept"), Column("measure"), *counted, *map(Column, self.tables.methods)]
        side = table["polarity"].map({1: "+", -1: "-"})
        best = table.assign(
            measure=table["measure"].map(MEASURES),
            feature=table["space"] + "/" + table["feature_id"].astype(str) + side,
            value_low=table["low"],
            value_high=table["high"],
        )
        columns_of_best = (
            "concept", "measure", Column("kind", of="method"), "feature", "value",
            Column("where chosen", of="selected"), "threshold", Column("candidates", of="n_candidates"),
        )  # fmt: skip
        return Section(
            self._recovery_title(level),
            [self._loses(level)],
            figures,
            [
                Table(f"{level}s", f"Best feature of each kind, {level}s", columns, rows),
                Table.of(best, columns_of_best, f"{level} features", "Which features they are"),
            ],
        )

    def _recovery_title(self, level: str) -> str:
        means = [
            f"{method} {number(self.tables.mean(level, 'f1', method).value)}"
            for method in self.tables.methods
        ]
        return f"On {level}s the best single features reach a mean F1 of: {', '.join(means)}"

    def _loses(self, level: str) -> str:
        """Names the concepts for which the latents lose to neurons, and counts them."""
        said = []
        for method in self.tables.latents:
            for other in (SAME, ALL):
                worse = self.tables.ahead(level, "f1", other, method)
                better = self.tables.ahead(level, "f1", method, other)
                said.append(
                    f"{method.capitalize()} against {other}, F1 with intervals apart: better for "
                    f"{len(better)} concepts, worse for {len(worse)}"
                    + (f" ({', '.join(worse)})" if worse else "")
                    + "."
                )
        return " ".join(said)

    def _splitting(self) -> Section:
        columns = (
            Column("dictionary", of="sae"), "concept", Column("latents", places=0, of="n_splits"),
            Column("which", of="latents"), Column("F1, one latent", of="f1_one"),
            Column("F1, split latents", of="f1_split"), Column("F1, most tried", places=2, of="f1_most"),
            Column("F1, dense probe", of="f1_probe"),
        )  # fmt: skip
        said = [
            f"{sae}: {int((part['n_splits'] > 1).sum())} of {len(part)} concepts take more than one latent, "
            f"{number(float(part['n_splits'].mean()))} on average"
            for sae, part in self.tables.splits.groupby("sae", sort=False)
        ]
        return Section(
            f"Splitting: {'; '.join(said)}",
            [
                "Latents are ranked by an L1 probe on the explain split, and added one by one. Splits are "
                "counted on the select split; F1 is on the report split."
            ],
            (),
            [Table.of(self.tables.splits, columns, "splitting", "k-sparse probes of each concept")],
        )

    def _absorption(self) -> Section:
        known = self.tables.splits[self.tables.splits["full"].notna()]
        said = []
        for sae in self.tables.saes:
            full = self.tables.metric(f"absorption/{slug(sae)}/full")
            part = self.tables.metric(f"absorption/{slug(sae)}/fraction")
            n = int((known["sae"] == sae).sum())
            said.append(f"{sae} {measured(full)} in full, {measured(part)} in part (n {n})")
        columns = (
            Column("dictionary", of="sae"), "concept", Column("tokens", places=0),
            Column("fully absorbed", of="full"), Column("mean fraction absorbed", of="fraction"),
            Column("absorbing latents", of="absorbing"),
        )  # fmt: skip
        return Section(
            f"Absorption, mean over concepts: {'; '.join(said)}",
            [
                "Of the tokens that carry a concept and in which the probe finds it: the share on which the "
                "concept's own (split) latents are silent and another one takes their place, and the mean "
                "share of the probe's projection that others take over. Only concepts whose probe has an "
                f"F1 of at least {number(self.config.truth.least_probe_f1)}. An own latent that is a poor "
                "detector is silent often, so both figures are high where splitting found no good latent."
            ],
            [
                Figure(
                    "absorption",
                    "Share of tokens fully absorbed, most first",
                    self.measured_on,
                    self.tables.absorbed(),
                )
            ],
            [Table.of(known, columns, "absorption", "Absorption of each concept")],
        )

    def _hedging(self) -> Section:
        bound = self.config.truth.associated
        said = []
        for sae in self.tables.saes:
            together, null = (
                self.tables.metric(f"hedging/{slug(sae)}/{g}") for g in ("together", "unrelated")
            )
            said.append(
                f"{sae} {measured(together, sign=True)} ({interval(together, sign=True)}), unrelated "
                f"concepts {measured(null, sign=True)}"
            )
        near = self.tables.hedges[self.tables.hedges["association"].abs() >= bound]
        near = near.sort_values("share", key=abs, ascending=False)
        columns = (
            Column("dictionary", of="sae"), "concept", Column("other concept", of="other"), "latent",
            Column("share of the other", of="share"), Column("association (phi)", of="association"),
            Column("response, other alone", of="response"),
        )  # fmt: skip
        caption = "Pairs of concepts that occur together, or apart"
        return Section(
            f"Hedging, mean share of concepts that occur together: {'; '.join(said)}",
            [
                "The best latent of each concept, and how much of the others its decoder direction holds: 0 "
                "is nothing. The response is the latent's mean activation on tokens with the other concept "
                "alone, over that on tokens with its own alone; where both are large, the latent "
                "rather represents the other concept. Only concepts that some latent detects with an "
                f"F1 of at least {number(self.config.truth.least_latent_f1)}; together means a phi of "
                f"{number(bound)} or more, apart one of {number(-bound)} or less, unrelated one under "
                f"{number(bound / 5)}. The intervals treat pairs as independent."
            ],
            [
                Figure(
                    "hedging",
                    "Share of other concepts in a latent's direction",
                    self.measured_on,
                    self.tables.hedged(),
                )
            ],
            [Table.of(near, columns, "hedging", caption)],
        )

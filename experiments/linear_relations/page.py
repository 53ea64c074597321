"""The page of `linear_relations`, filled from what its steps wrote."""

import pandas as pd

from experiments.common.lenses.figures import Draw, by_layer, share_rows
from experiments.common.page import framed
from experiments.common.vectors.figures import over_groups
from experiments.linear_relations.config import Config
from interp.lenses.residual_stream import layer_name
from interp.render.data import Estimate, Kind
from interp.render.digits import interval, measured, number
from interp.render.page import Cell, Column, Figure, Page, Section, Table
from interp.statistics.estimate import mean_interval
from interp.subject import Subject
from interp.track.run import Run

LRE, INVERSE = "linear relation", "low-rank inverse"
WORDS = (
    ("Linear relation", "The mean Jacobian from the subject's activation to the last one, and the mean of "
     "what is left: an affine map that is not fitted to any answer."),
    ("Faithfulness", "Of held-out subjects that the model answers rightly, how often the map's likeliest "
     "word begins the object."),
    ("Translation", "The subject's activation and the mean difference to the last activation."),
    ("Identity", "The subject's activation as it is, read through the final norm and the unembedding."),
    ("Logit lens", "The activation at the prompt's last token, behind the same layer."),
    ("Low-rank inverse", "The subject's activation moved by the map's pseudo-inverse so that another object "
     "should follow; right if the model says that one."),
)  # fmt: skip
LIMITS = (
    "Layer, factor and rank are chosen on one half of the held-out samples and reported on the other.",
    "Translation uses the samples that layers are chosen on; the linear relation those that it is fitted on.",
    "Means over relations have intervals over relations.",
)
NAMES: dict[Kind, str] = {
    "latent": "linear relation, inverse",
    "neuron": "best baseline, other subject",
    "random": "another relation's, random direction",
}


class LinearRelationsPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.faithful, self.layers, self.edits = (
            run.table(name) for name in ("faithfulness", "faithfulness_by_layer", "edits")
        )
        self.relations = list(dict.fromkeys(self.faithful["relation"]))

    def page(self) -> Page:
        """The whole page."""
        return framed(
            self.run,
            self.subject,
            f"Does {self.subject.name} go from subject to object along a straight line?",
            [
                f"For {len(self.relations)} relations the Jacobian from subject to object was averaged over "
                f"{self.config.examples} examples, at every layer.",
                "The map was held against other subjects, beside simpler maps, and its inverse was used to "
                "change objects.",
                self._verdict(),
            ],
            Figure(self._shares(), "Objects named and objects changed", self._on()),
            [
                Section("By layer", (), [Figure(self._by_layer(), "Faithfulness", self._on())]),
                Section("Relation by relation", (), (), [self._faithful_table(), self._edit_table()]),
            ],
            WORDS,
            LIMITS,
        )

    def files(self) -> dict[str, str]:
        """The figures as files of their own, by name."""
        return {
            "shares": self._shares()(620, standalone=True),
            "layers": self._by_layer()(620, standalone=True),
        }

    def _on(self) -> str:
        return f"Held-out subjects; whiskers and bands: 95% intervals; seed {self.config.seed}"

    def _shares(self) -> Draw:
        rows = []
        for relation in self.relations:
            own = self.faithful[self.faithful["relation"] == relation]
            baselines = own[~own["method"].isin([LRE, "another relation's"])]
            best = baselines.loc[baselines["right"].idxmax(), "method"]
            marks: list[tuple[Kind, str]] = [
                ("latent", LRE),
                ("neuron", str(best)),
                ("random", "another relation's"),
            ]
            rows.append((f"{relation}: named", _entries(own, "method", marks)))
            changed = self.edits[self.edits["relation"] == relation]
            marks = [
                ("latent", INVERSE),
                ("neuron", "the other subject itself"),
                ("random", "random direction of its size"),
            ]
            if not changed.empty:
                rows.append((f"{relation}: changed", _entries(changed, "edit", marks)))
        return share_rows(rows, "share right", NAMES)

    def _by_layer(self) -> Draw:
        curves: dict[str, tuple[Kind, pd.DataFrame]] = {}
        for method, own in self.layers.groupby("method", sort=False):
            rows = [
                (layer, *mean_interval(part["right"].to_numpy(), self.config.seed))
                for layer, part in own.groupby("layer")
            ]
            kind: Kind = (
                "latent" if method == LRE else "random" if method == "another relation's" else "neuron"
            )
            curves[str(method)] = (
                kind,
                pd.DataFrame(rows, columns=["layer", "right", "right_low", "right_high"]),
            )
        return by_layer(curves, "right", y_name="faithfulness, mean over relations")

    def _faithful_table(self) -> Table:
        columns = [
            Column("relation"), Column("method"), Column("layer"), Column("factor", places=1),
            Column("named rightly"), Column("n", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["relation"], row["method"], layer_name(row["layer"]), row["beta"], _estimate(row), row["n"]]
            for row in self.faithful.to_dict("records")
        ]
        return Table("faithfulness", "Objects named for held-out subjects", columns, rows)

    def _edit_table(self) -> Table:
        columns = [
            Column("relation"), Column("edit"), Column("layer"), Column("rank"),
            Column("changed as wanted"), Column("n", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [
                row["relation"], row["edit"], layer_name(row["layer"]),
                "" if row["rank"] != row["rank"] else str(int(row["rank"])), _estimate(row), row["n"],
            ]
            for row in self.edits.to_dict("records")
        ]  # fmt: skip
        return Table("edits", "The model's answers once the subject's activation was changed", columns, rows)

    def _verdict(self) -> str:
        def over(frame: pd.DataFrame, key: str, value: str) -> Estimate:
            return over_groups(frame[frame[key] == value], "right", self.config.seed)

        found = over(self.faithful, "method", LRE)
        spread = f" ({interval(found)})" if interval(found) else ""
        others = ", ".join(
            f"{method} {number(own['right'].mean())}"
            for method, own in self.faithful.groupby("method", sort=False)
            if method != LRE
        )
        said = f"The maps name {measured(found)}{spread} of held-out objects ({others})"
        if self.edits.empty:
            return f"{said}."
        turned, null = (over(self.edits, "edit", edit) for edit in (INVERSE, "random direction of its size"))
        return (
            f"{said}; their inverses change {measured(turned)} of the answers as wanted (random "
            f"{measured(null)})."
        )


def _entries(table: pd.DataFrame, key: str, marks: list[tuple[Kind, str]]) -> list[tuple[Kind, Estimate]]:
    found = []
    for kind, value in marks:
        row = table[table[key] == value]
        if not row.empty:
            found.append((kind, _estimate(row.iloc[0].to_dict())))
    return found


def _estimate(row: dict[object, object]) -> Estimate:
    return Estimate.of({str(key): value for key, value in row.items()}, "right")

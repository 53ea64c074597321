"""The page of `linear_relations`, filled from what its steps wrote."""

import pandas as pd

from experiments.common.lenses.figures import by_layer
from experiments.common.page import framed
from experiments.common.vectors.figures import over_groups, shares
from experiments.linear_relations.config import Config
from interp.lenses.residual_stream import layer_name
from interp.render.digits import interval, measured, number
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, mean_interval
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
NAMES: dict[Role, str] = {
    "b": "linear relation, inverse",
    "a": "best baseline, other subject",
    "null": "another relation's, random direction",
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
            Figure("shares", "Objects named and objects changed", self._on(), self._shares()),
            [
                Section("By layer", (), [Figure("layers", "Faithfulness", self._on(), self._by_layer())]),
                Section("Relation by relation", (), (), [self._faithful_table(), self._edit_table()]),
            ],
            WORDS,
            LIMITS,
        )

    def _on(self) -> str:
        return f"Held-out subjects; whiskers and bands: 95% intervals; seed {self.config.seed}"

    def _shares(self) -> Draw:
        rows = []
        for relation in self.relations:
            own = self.faithful[self.faithful["relation"] == relation]
            baselines = own[~own["method"].isin([LRE, "another relation's"])]
            best = baselines.loc[baselines["right"].idxmax(), "method"]
            marks: list[tuple[Role, str]] = [
                ("b", LRE),
                ("a", str(best)),
                ("null", "another relation's"),
            ]
            rows.append((f"{relation}: named", _entries(own, "method", marks)))
            changed = self.edits[self.edits["relation"] == relation]
            marks = [
                ("b", INVERSE),
                ("a", "the other subject itself"),
                ("null", "random direction of its size"),
            ]
            if not changed.empty:
                rows.append((f"{relation}: changed", _entries(changed, "edit", marks)))
        return shares(rows, x_name="share right", names=NAMES)

    def _by_layer(self) -> Draw:
        curves: dict[str, tuple[Role, pd.DataFrame]] = {}
        for method, own in self.layers.groupby("method", sort=False):
            rows = [
                (layer, *mean_interval(part["right"].to_numpy(), self.config.seed))
                for layer, part in own.groupby("layer")
            ]
            role: Role = "b" if method == LRE else "null" if method == "another relation's" else "a"
            curves[str(method)] = (
                role,
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


def _entries(table: pd.DataFrame, key: str, marks: list[tuple[Role, str]]) -> list[tuple[Role, Estimate]]:
    found = []
    for role, value in marks:
        row = table[table[key] == value]
        if not row.empty:
            found.append((role, _estimate(row.iloc[0].to_dict())))
    return found


def _estimate(row: dict[object, object]) -> Estimate:
    return Estimate.of({str(key): value for key, value in row.items()}, "right")

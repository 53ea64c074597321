"""The page of `linear_relations`, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from interp.lenses.relation_baselines import AT_RANDOM, INVERSE, LRE, OTHER_SUBJECT, WRONG
from interp.lenses.residual_stream import layer_name
from interp.render.digits import interval, measured, number
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, mean_interval
from interp.subject import Subject
from interp.track.run import Run

from ..common.lenses.figures import by_layer
from ..common.page import ExperimentPage
from ..common.vectors.figures import over_groups, shares
from .config import Config

NAMES: dict[Role, str] = {
    "b": "linear relation, inverse",
    "a": "best baseline, other subject",
    "null": "another relation's, random direction",
}


class LinearRelationsPage(ExperimentPage[Config]):
    """Shows objects named and changed by affine maps, beside simpler maps."""

    words = (
        ("Linear relation", "The mean Jacobian from the subject's activation to the last one, and the mean "
         "remainder: an affine map that is not fitted to any answer."),
        ("Faithfulness", "Of held-out subjects that the model answers rightly, how often the map's likeliest "
         "word begins the object."),
        ("Translation", "The subject's activation plus the mean difference of the last activation from it."),
        ("Identity", "The subject's activation as it is, read through the final norm and the unembedding."),
        ("Logit lens", "The activation at the prompt's last token, after the same layer."),
        ("Low-rank inverse", "The subject's activation moved by the map's pseudo-inverse so that another "
         "object should follow; right if the model answers with it."),
    )  # fmt: skip
    limits = (
        "Layer, factor and rank are chosen on one half of the held-out samples and reported on the other.",
        "Translation is fitted on the samples that layers are chosen on; the linear relation on a part of "
        "its own.",
        "Intervals of means over relations are over relations.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.faithful, self.layers, self.edits = (
            run.table(name) for name in ("faithfulness", "faithfulness_by_layer", "edits")
        )
        self.relations = list(dict.fromkeys(self.faithful["relation"]))

    def question(self) -> str:
        return f"Does {self.subject.name} go from subject to object by a linear map?"

    def opening(self) -> Sequence[str]:
        return [
            f"For {len(self.relations)} relations the Jacobian from subject to object was averaged over "
            f"{self.config.examples} examples, at every layer.",
            "The map was tested on other subjects, beside simpler maps, and its inverse was used to change "
            "objects.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return Figure("shares", "Objects named and objects changed", self._on(), self._shares())

    def sections(self) -> Sequence[Section]:
        return [
            Section("By layer", (), [Figure("layers", "Faithfulness", self._on(), self._by_layer())]),
            Section("Relation by relation", (), (), self._tables()),
        ]

    def _on(self) -> str:
        return f"Held-out subjects; whiskers and bands: 95% intervals; seed {self.config.seed}"

    def _shares(self) -> Draw:
        rows = []
        for relation in self.relations:
            own = self.faithful[self.faithful["relation"] == relation]
            baselines = own[~own["method"].isin([LRE, WRONG])]
            best = baselines.loc[baselines["right"].idxmax(), "method"]
            marks: list[tuple[Role, str]] = [
                ("b", LRE),
                ("a", str(best)),
                ("null", WRONG),
            ]
            rows.append((f"{relation}: named", _entries(own, "method", marks)))
            changed = self.edits[self.edits["relation"] == relation]
            marks = [
                ("b", INVERSE),
                ("a", OTHER_SUBJECT),
                ("null", AT_RANDOM),
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
            role: Role = "b" if method == LRE else "null" if method == WRONG else "a"
            curves[str(method)] = (
                role,
                pd.DataFrame(rows, columns=["layer", "right", "right_low", "right_high"]),
            )
        return by_layer(curves, "right", y_name="faithfulness, mean over relations")

    def _tables(self) -> list[Table]:
        faithful = self.faithful.assign(layer=self.faithful["layer"].map(layer_name))
        edits = self.edits.assign(
            layer=self.edits["layer"].map(layer_name),
            rank=["" if rank != rank else str(int(rank)) for rank in self.edits["rank"]],
        )
        named = (
            "relation", "method", "layer", Column("factor", places=1, of="beta"),
            Column("named rightly", of="right"), Column("n", places=0),
        )  # fmt: skip
        changed = (
            "relation", "edit", "layer", "rank", Column("changed as wanted", of="right"),
            Column("n", places=0),
        )  # fmt: skip
        return [
            Table.of(faithful, named, "faithfulness", "Objects named for held-out subjects"),
            Table.of(edits, changed, "edits",
                     "The model's answers once the subject's activation was changed"),
        ]  # fmt: skip

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
        turned, null = (over(self.edits, "edit", edit) for edit in (INVERSE, AT_RANDOM))
        return (
            f"{said}; their inverses change {measured(turned)} of the answers as wanted (random "
            f"{measured(null)})."
        )


def _entries(table: pd.DataFrame, key: str, marks: list[tuple[Role, str]]) -> list[tuple[Role, Estimate]]:
    found = []
    for role, value in marks:
        row = table[table[key] == value]
        if not row.empty:
            found.append((role, Estimate.of(row.iloc[0].to_dict(), "right")))
    return found

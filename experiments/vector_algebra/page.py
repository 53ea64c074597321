"""The page of `vector_algebra`, filled from what its steps wrote."""

from collections.abc import Sequence

from experiments.common.page import framed
from experiments.common.tasks import TaskTables
from experiments.common.vectors.figures import overflow_note, profile, shares
from experiments.vector_algebra.config import Composition, Config
from interp.render.digits import measured
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

HALF = 540  # pixels of a figure that stands beside another
SUM = "sum"
NAMES: dict[Role, str] = {
    "c": "sum",
    "a": "best part",
    "null": "null",
    "b": "unchanged",
}
WORDS = (
    ("Vector of a task", "The mean activation at the last token behind examples, less that without "
     "them; or, for tasks that are asked in words, the mean itself."),
    ("Sum", "Vectors multiplied by their weights and added; then added to the last token at one layer."),
    ("Part", "One of the summed vectors, with its weight, alone, at the layer and strength that are "
     "best for it."),
    ("Random", "A random vector as long as the sum, at the layer and strength that are best for it."),
)  # fmt: skip
LIMITS = (
    "Layers and strengths were chosen on other queries of the same composition, for sums and parts alike.",
    "A sum that does its target need not be made of the parts' functions: see what the parts do alone.",
)


class AlgebraPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.tables = TaskTables(run, config.seed)
        self.cosines = run.table("cosines")
        self.measured_on = (
            f"Held-out queries of {len(config.compositions)} compositions; {config.draws} draws of "
            f"random vectors; seed {config.seed}; whiskers: 95% intervals over queries"
        )

    def page(self) -> Page:
        """The whole page."""
        return framed(
            self.run,
            self.subject,
            f"Can tasks of {self.subject.name} be added and subtracted?",
            [
                f"{len(self.config.compositions)} sums of task vectors were added to prompts that ask "
                "for a composed task without showing it.",
                "Each is held against its parts alone, each at its own best layer and strength, and "
                "against random vectors as long as the sum.",
                self._verdict(),
            ],
            Figure("shares", "Right answers to the composed task", self.measured_on, self._shares()),
            [self._layers(), self._parts(), Section("Every condition", (), (), [self.tables.table()])],
            WORDS,
            (*LIMITS, *overflow_note(self.tables.profile)),
        )

    def _of(self, composition: Composition, condition: str) -> Estimate:
        results = self.tables.results
        rows = results[(results["task"] == composition.name) & (results["condition"] == condition)]
        return Estimate() if rows.empty else Estimate.of(rows.iloc[0].to_dict(), "right")

    def _best_part(self, composition: Composition) -> Estimate:
        found = [self._of(composition, f"part {number + 1}") for number in range(len(composition.parts))]
        return max(found, key=lambda estimate: -1 if estimate.point is None else estimate.point)

    def _shares(self) -> Draw:
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = []
        for composition in self.config.compositions:
            entries: list[tuple[Role, Estimate]] = [("c", self._of(composition, SUM))]
            if len(composition.parts) > 1:
                entries.append(("a", self._best_part(composition)))
            entries.append(("null", self._of(composition, f"{SUM}, random")))
            entries.append(("b", self._of(composition, "unchanged")))
            rows.append((composition.name, entries))
        return shares(rows, names=NAMES)

    def _layers(self) -> Section:
        own = self.tables.profile[self.tables.profile["method"] == SUM]
        figures = []
        for composition in self.config.compositions:
            rows = own[own["task"] == composition.name]
            best = rows.loc[rows.groupby("layer")["right"].idxmax()]
            drawn = profile({SUM: best}, "layer", x_name="layer (resid_post, 0-based)")
            caption = "The best strength at each layer, on the queries that are chosen on"
            figures.append(Figure(f"layers {composition.name}", composition.name, caption, drawn, HALF))
        return Section("Where it works", (), figures)

    def _parts(self) -> Section:
        columns = [
            Column("composition"),
            Column("part"),
            Column("right alone"),
            Column("norm"),
            Column("cosine"),
        ]
        rows: list[list[Cell]] = []
        for composition in self.config.compositions:
            for number, part in enumerate(composition.parts):
                name = part.title
                known = self.cosines[
                    (self.cosines.composition == composition.name) & (self.cosines.part == name)
                ]
                size: list[Cell] = [None, None]
                if not known.empty:
                    size = [float(known["norm"].iloc[0]), float(known["cosine"].iloc[0])]
                alone = SUM if len(composition.parts) == 1 else f"part {number + 1}"
                rows.append([composition.name, name, self._of(composition, alone), *size])
        text = "Norm, and cosine with the sum, at the layer that was chosen for the sum."
        table = Table("parts", "Each part alone, on held-out queries", columns, rows)
        return Section("What the sums are made of", [text], (), [table])

    def _verdict(self) -> str:
        said = []
        for composition in self.config.compositions:
            text = f"{composition.name} {measured(self._of(composition, SUM))} "
            part = (
                f"best part {measured(self._best_part(composition))}, " if len(composition.parts) > 1 else ""
            )
            said.append(f"{text}({part}unchanged {measured(self._of(composition, 'unchanged'))})")
        text = "; ".join(said)
        return f"Right answers: {text}."

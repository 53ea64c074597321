"""The page of `vector_algebra`."""

from collections.abc import Mapping, Sequence

from interp.render.digits import measured
from interp.render.figure import Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.tasks import TasksPage
from ..common.vectors.figures import profile, shares
from .config import Composition, Config

SUM = "sum"
NAMES: Mapping[Role, str] = {"c": SUM, "a": "best part", "null": "random", "b": "unchanged"}


class AlgebraPage(TasksPage[Config]):
    """Shows sums beside their parts and random vectors."""

    words = (
        ("Vector of a task", "The mean activation at the last token after examples, minus that without "
         "them; or, for tasks that are asked in words, the mean itself."),
        ("Sum", "Vectors multiplied by their weights and summed; added to the last token at one layer."),
        ("Part", "One of the summed vectors, with its weight, alone, at the layer and strength that are "
         "best for it."),
        ("Random", "A random vector as long as the sum, at the layer and strength that are best for it."),
    )  # fmt: skip
    limits = (
        "Layers and strengths were chosen on other queries of the same composition, for sums and parts "
        "alike.",
        "A sum that does its target task need not combine the parts' tasks: see what the parts do alone.",
    )

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.cosines = run.table("cosines")

    def question(self) -> str:
        """What was asked."""
        return f"Can tasks of {self.model} be added and subtracted?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        return (
            f"{len(self.config.compositions)} sums of task vectors were added to prompts that ask for a "
            "composed task without showing it.",
            "Each is compared with its parts alone, each at its own best layer and strength, and with "
            "random vectors as long as the sum.",
            f"Right answers: {'; '.join(self._said(one) for one in self.config.compositions)}.",
        )

    def headline(self) -> Figure:
        """Draws each sum with its best part."""
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = []
        for composition in self.config.compositions:
            entries: list[tuple[Role, Estimate]] = [("c", self.share(SUM, composition.name))]
            if len(composition.parts) > 1:
                entries.append(("a", self._best_part(composition)))
            entries.append(("null", self.share(f"{SUM}, random", composition.name)))
            entries.append(("b", self.share("unchanged", composition.name)))
            rows.append((composition.name, entries))
        caption = (
            f"Held-out queries of {len(self.config.compositions)} compositions; {self.config.draws} draws of "
            f"random vectors; seed {self.config.seed}; whiskers: 95% intervals over queries"
        )
        return Figure("shares", "Right answers to the composed task", caption, shares(rows, names=NAMES))

    def sections(self) -> Sequence[Section]:
        """Layers, parts, conditions."""
        text = "Norm, and cosine with the sum, at the layer that was chosen for the sum."
        return (
            Section("Where it works", figures=[self._by_layer(one) for one in self.config.compositions]),
            Section("What the sums are made of", [text], tables=[self._parts()]),
            Section("Every condition", tables=[self.every_condition()]),
        )

    def _best_part(self, composition: Composition) -> Estimate:
        found = [
            self.share(f"part {number + 1}", composition.name) for number in range(len(composition.parts))
        ]
        return max(found, key=lambda estimate: -1 if estimate.point is None else estimate.point)

    def _by_layer(self, composition: Composition) -> Figure:
        rows = self.profile[(self.profile["method"] == SUM) & (self.profile["task"] == composition.name)]
        best = rows.loc[rows.groupby("layer")["right"].idxmax()]
        drawn = profile({SUM: best}, "layer", x_name="layer (resid_post, 0-based)")
        caption = "The best strength at each layer, on the queries used to choose"
        return Figure(f"layers {composition.name}", composition.name, caption, drawn)

    def _parts(self) -> Table:
        rows: list[list[Cell]] = []
        for composition in self.config.compositions:
            for number, part in enumerate(composition.parts):
                own = self.cosines[self.cosines["composition"] == composition.name]
                known = own[own["part"] == part.title][["norm", "cosine"]].to_numpy().tolist()
                alone = SUM if len(composition.parts) == 1 else f"part {number + 1}"
                share = self.share(alone, composition.name)
                rows.append([composition.name, part.title, share, *(known[0] if known else (None, None))])
        columns = [Column(name) for name in ("composition", "part", "right alone", "norm", "cosine")]
        return Table("parts", "Each part alone, on held-out queries", columns, rows)

    def _said(self, composition: Composition) -> str:
        best = f"best part {measured(self._best_part(composition))}, " if len(composition.parts) > 1 else ""
        unchanged = measured(self.share("unchanged", composition.name))
        own = measured(self.share(SUM, composition.name))
        return f"{composition.name} {own} ({best}unchanged {unchanged})"

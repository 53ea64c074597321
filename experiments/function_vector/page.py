"""The page of `function_vector`, filled from what its steps wrote."""

from collections.abc import Sequence

from experiments.common.page import framed
from experiments.common.tasks import TaskTables
from experiments.common.vectors.figures import overflow_note
from experiments.function_vector.config import Config
from interp.render.digits import interval, measured
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

HALF = 540  # pixels of a figure that stands beside another
VECTOR, AVERAGE = "function vector", "layer average"
WORDS = (
    ("Function vector", "The sum, over a few heads, of what each gives on average at the end of "
     "prompts that show a task; added at the last token."),
    ("Effect of a head", "How much its mean output raises the right answer's probability in a prompt "
     "that misleads (average indirect effect)."),
    ("Heads set", "The same heads given their mean outputs in place of their own, in a prompt without "
     "examples."),
    ("Layer average", "The baseline: the mean residual stream at the end of the same prompts, added at "
     "one layer."),
    ("Shuffled", "Prompts whose examples have each other's answers."),
    ("Prompted", "The same queries behind right examples."),
)  # fmt: skip
LIMITS = (
    "Layers were chosen on other queries of the same tasks; heads and means come from a third part.",
    "Queries of a task are alike; intervals over tasks say more than those over queries.",
    "Where answers can be told from the kind of query alone, shuffled examples do not mislead: see the "
    "row `shuffled`.",
)


class FunctionPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config, tasks: Sequence[str]) -> None:
        self.run, self.subject, self.config, self.tasks = run, subject, config, tasks
        self.tables = TaskTables(run, config.seed)
        self.heads = run.table("heads")
        self.measured_on = (
            f"Means over {len(tasks)} tasks of held-out queries; {config.draws} draws of random vectors "
            f"and heads; seed {config.seed}; whiskers: 95% intervals over tasks"
        )

    def page(self) -> Page:
        """The whole page."""
        where = "examples mislead" if self.config.corrupted == "shuffled" else "no example is shown"
        return framed(
            self.run,
            self.subject,
            f"Do a few heads of {self.subject.name} carry a task?",
            [
                f"For {len(self.tasks)} tasks, heads were ranked by how much their mean output helps "
                f"where {where}; the first {self.config.heads} were summed into a vector.",
                "The vector was added to prompts without examples, or the heads were set there, beside "
                "random heads, random vectors, another task's vector and the layer average.",
                self._verdict(),
            ],
            Figure(
                "conditions", "Right answers to held-out queries", self.measured_on, self.tables.conditions()
            ),
            [
                self._layers(),
                Section("Task by task", (), (), [self.tables.table()]),
                self._heads(),
            ],
            WORDS,
            (*LIMITS, *overflow_note(self.tables.profile)),
        )

    def _by_layer(self, asked: str) -> Draw:
        names = (VECTOR, AVERAGE, f"{VECTOR}, random")
        return self.tables.by_layer(names, {"asked": asked})

    def _layers(self) -> Section:
        caption = (
            "Means over tasks, on the queries that layers are chosen on; bands: 95% intervals over tasks"
        )
        figures = [
            Figure("layers", "Without examples", caption, self._by_layer("zero-shot"), HALF),
            Figure("layers_shuffled", "With shuffled examples", caption, self._by_layer("shuffled"), HALF),
        ]
        return Section("Where it works", (), figures)

    def _heads(self) -> Section:
        columns = [Column("task"), Column("head"), Column("effect", "probability")]
        best = (
            self.heads.sort_values("effect", ascending=False)
            .groupby("task", sort=False)
            .head(self.config.heads)
        )
        rows: list[list[Cell]] = [
            [row["task"], f"{row['layer']}.{row['head']}", row["effect"]]
            for row in best.sort_values(["task", "effect"], ascending=[True, False]).to_dict("records")
        ]
        return Section("The heads", (), (), [Table("heads", "Layer.head, by their effect", columns, rows)])

    def _verdict(self) -> str:
        vector, heads = self.tables.mean(VECTOR), self.tables.mean("heads set")

        def null(name: str) -> str:
            return measured(self.tables.mean(f"{name}, random"))

        spread = {"vector": _spread(vector), "heads": _spread(heads)}
        return (
            f"Without examples the vector makes {measured(vector)}{spread['vector']} of the answers "
            f"right (unchanged {measured(self.tables.mean('unchanged'))}, random vector {null(VECTOR)}, "
            f"layer average {measured(self.tables.mean(AVERAGE))}), setting the heads "
            f"{measured(heads)}{spread['heads']} (random heads {null('heads set')})."
        )


def _spread(estimate: Estimate) -> str:
    return f" ({interval(estimate)})" if interval(estimate) else ""

"""The page of `function_vector`."""

from collections.abc import Sequence

from interp.render.digits import measured, with_interval
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.subject import Subject
from interp.track.run import Run

from ..common.tasks import TasksPage
from .config import Config

VECTOR, AVERAGE = "function vector", "layer average"


class FunctionPage(TasksPage[Config]):
    """Shows what the heads and their sum do, beside random ones."""

    words = (
        ("Function vector", "The sum, over a few heads, of their mean outputs at the end of "
         "prompts that show a task; added at the last token."),
        ("Effect of a head", "How much its mean output raises the right answer's probability in a prompt "
         "that misleads (average indirect effect)."),
        ("Heads set", "The same heads given their mean outputs in place of their own, in a prompt without "
         "examples."),
        ("Layer average", "The baseline: the mean residual stream at the end of the same prompts, added at "
         "one layer."),
        ("Shuffled", "Prompts whose examples have their answers permuted."),
        ("Prompted", "The same queries after right examples."),
    )  # fmt: skip
    limits = (
        "Layers were chosen on other queries of the same tasks; heads and means come from a third part.",
        "Queries of a task are alike; intervals over tasks are more informative than those over queries.",
        "Where the kind of query alone gives the answer away, shuffled examples do not mislead: see the "
        'row "shuffled".',
    )

    def __init__(self, run: Run, config: Config, subject: Subject, tasks: int) -> None:
        super().__init__(run, config, subject)
        self.tasks, self.heads = tasks, run.table("heads")

    def question(self) -> str:
        """What was asked."""
        return f"Do a few heads of {self.model} carry a task?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        where = "examples mislead" if self.config.corrupted == "shuffled" else "no example is shown"
        vector, heads = self.share(VECTOR), self.share("heads set")
        return (
            f"For {self.tasks} tasks, heads were ranked by how much their mean output helps where {where}; "
            f"the first {self.config.heads} were summed into a vector.",
            "The vector was added to prompts without examples, or the heads were set there, beside "
            "random heads, random vectors, another task's vector and the layer average.",
            f"Without examples the vector makes {with_interval(vector)} of the answers right (unchanged "
            f"{measured(self.share('unchanged'))}, random vector "
            f"{measured(self.share(f'{VECTOR}, random'))}, layer average "
            f"{measured(self.share(AVERAGE))}), setting the heads {with_interval(heads)} (random heads "
            f"{measured(self.share('heads set, random'))}).",
        )

    def headline(self) -> Figure:
        """Every condition."""
        return self.conditions(
            f"Means over {self.tasks} tasks of held-out queries; {self.config.draws} draws of random vectors "
            f"and heads; seed {self.config.seed}; whiskers: 95% intervals over tasks"
        )

    def sections(self) -> Sequence[Section]:
        """Layers, tasks, heads."""
        methods = (VECTOR, AVERAGE, f"{VECTOR}, random")
        figures = [
            self.by_layer("layers", "Without examples", methods, asked="zero-shot"),
            self.by_layer("layers_shuffled", "With shuffled examples", methods, asked="shuffled"),
        ]
        return (
            Section("Where it works", figures=figures),
            Section("Task by task", tables=[self.every_condition()]),
            Section("The heads", tables=[self._heads()]),
        )

    def _heads(self) -> Table:
        ranked = self.heads.sort_values("effect", ascending=False).groupby("task", sort=False)
        best = ranked.head(self.config.heads).sort_values(["task", "effect"], ascending=[True, False])
        named = best.assign(head=best["layer"].astype(str) + "." + best["head"].astype(str))
        columns: list[Column | str] = ["task", "head", Column("effect", "probability")]
        return Table.of(named, columns, "heads", "Layer.head, by their effect")

"""The page of `thinking_language`, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from interp.lenses.residual_stream import layer_name
from interp.render.digits import interval, measured, number
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.lenses.figures import by_layer
from ..common.page import ExperimentPage
from .config import Config

PLACES = {"answer": "answer begins", "source": "source word ends"}
COLUMNS = (
    Column("direction", of="group"), Column("read at", of="place"), "layer", "word", "probability",
    Column("likeliest of all", of="top"), Column("words", places=0, of="items"),
)  # fmt: skip


class ThinkingPage(ExperimentPage[Config]):
    """Shows how likely the word is in each language, layer by layer."""

    words = (
        ("Pivot",
         "The language whose word middle layers may predict though neither prompt nor answer are in it."),
        ("Shuffled", "The pivot's word of another item of the same direction: what a lens shows by chance."),
        ("Answer", "Read at the prompt's last token, before the answer."),
        ("Source", "Read at the last token of the word that is to be translated."),
    )  # fmt: skip
    limits = (
        "A lens shows what can be read linearly; a word that can be read need not be used.",
        "Words of a direction share a layout; intervals are over words.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.layers, self.chosen = run.table("by_layer"), run.table("chosen")
        self.groups = list(dict.fromkeys(self.layers["group"]))

    def question(self) -> str:
        return f"Does {self.subject.name} think in {self.config.pivot}?"

    def opening(self) -> Sequence[str]:
        file = self.config.tuned_lens
        lens = "the logit lens" if file is None else f"the lens of {file.name}"
        return [
            f"Words were translated in {len(self.groups)} directions, and every layer was read through "
            f"{lens}.",
            "How likely is the word there in each language, where the source word ends and where the answer "
            "begins?",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        group = self.groups[0]
        return self._curves(group, "answer", f"{group}: where the answer begins")

    def sections(self) -> Sequence[Section]:
        read = [
            Section(f"Where the {where}", (), [self._curves(g, place, g, 540) for g in self.groups])
            for place, where in PLACES.items()
        ]
        caption = (
            "The layer (before the last) where the pivot's word is likeliest on one half; figures: the other "
            "half"
        )
        named = self.chosen.assign(layer=self.chosen["layer"].map(layer_name))
        table = Table.of(named, COLUMNS, "chosen", caption)
        return [*read, Section("At the layer chosen on one half of the words", (), (), [table])]

    def _curves(self, group: str, place: str, title: str, width: int = 620) -> Figure:
        own = self.layers[(self.layers["group"] == group) & (self.layers["place"] == place)]
        curves = {
            str(word): (self._role(str(word), group), rows) for word, rows in own.groupby("word", sort=False)
        }
        on = (
            f"Means over {self.layers['items'].max()} words a direction; bands: 95% bootstrap intervals; "
            f"seed {self.config.seed}"
        )
        chart = by_layer(curves, "probability", y_name="probability of the word")
        return Figure(f"{group}-{place}", title, on, chart, width)

    def _role(self, word: str, group: str) -> Role:
        if word.endswith("shuffled"):
            return "null"
        if word == self.config.pivot:
            return "b"
        return "a" if group.endswith(f" to {word}") else "c"  # the language of the answer, or another

    def _verdict(self) -> str:
        pivot = self.config.pivot
        said = "; ".join(
            self._best(self.chosen[self.chosen["place"] == place], where)
            for place, where in (
                ("answer", f"where the answer begins the {pivot} word"),
                ("source", f"at the source word the {pivot} word"),
            )
        )
        return f"{said[0].upper()}{said[1:]}."

    def _best(self, own: pd.DataFrame, what: str) -> str:
        found = own[own["word"] == self.config.pivot]
        best = found.iloc[found["top"].argmax()].to_dict()
        null = own[(own["group"] == best["group"]) & own["word"].str.endswith("shuffled")].iloc[0]["top"]
        estimate = Estimate.of(best, "top")
        return (
            f"{what} is the likeliest on {measured(estimate)} ({interval(estimate)}) of held-out words at "
            f"layer {layer_name(best['layer'])} ({best['group']}, the most of {len(self.groups)} directions; "
            f"shuffled {number(null)})"
        )

"""The page of `thinking_language`, filled from what its steps wrote."""

import pandas as pd

from experiments.common.lenses.figures import by_layer
from experiments.common.page import framed
from experiments.thinking_language.config import Config
from interp.lenses.residual_stream import layer_name
from interp.render.digits import interval, measured, number
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

WORDS = (
    (
        "Pivot",
        "The language whose word middle layers may expect although neither prompt nor answer are in it.",
    ),
    ("Shuffled", "The pivot's word of another item of the same direction: what a lens says for nothing."),
    ("Answer", "Read at the prompt's last token, where the answer is to come."),
    ("Source", "Read at the last token of the word that is to be translated."),
)
LIMITS = (
    "A lens shows what can be read off linearly; that a word is readable does not say that it is used.",
    "Words share their prompt; intervals are over words.",
)


class ThinkingPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.layers = run.table("by_layer")
        self.chosen = run.table("chosen")
        self.groups = list(dict.fromkeys(self.layers["group"]))
        self.items = int(self.layers["items"].max())

    def page(self) -> Page:
        """The whole page."""
        pivot = self.config.pivot
        return framed(
            self.run,
            self.subject,
            f"Does {self.subject.name} think in {pivot}?",
            [
                f"Words were translated in {len(self.groups)} directions, and every layer was "
                "read through the "
                f"{'logit' if self.config.tuned_lens is None else 'tuned'} lens.",
                "How likely is the word there in each language, where the source word ends and where the "
                "answer begins?",
                self._verdict(),
            ],
            Figure(
                f"{self.groups[0]}-answer",
                f"{self.groups[0]}: where the answer begins",
                self._on(),
                self._curves(self.groups[0], "answer"),
            ),
            [
                Section(
                    f"Where the {'answer begins' if place == 'answer' else 'source word ends'}",
                    (),
                    [
                        Figure(f"{group}-{place}", group, self._on(), self._curves(group, place), 540)
                        for group in self.groups
                    ],
                )
                for place in ("answer", "source")
            ]
            + [Section("At the layer chosen on one half of the words", (), (), [self._table()])],
            WORDS,
            LIMITS,
        )

    def _on(self) -> str:
        return (
            f"Means over {self.items} words a direction; bands: 95% bootstrap intervals; seed "
            f"{self.config.seed}"
        )

    def _curves(self, group: str, place: str) -> Draw:
        own = self.layers[(self.layers["group"] == group) & (self.layers["place"] == place)]
        curves: dict[str, tuple[Role, pd.DataFrame]] = {}
        for word, rows in own.groupby("word", sort=False):
            role: Role = "b" if word == self.config.pivot else "a"
            curves[str(word)] = ("null" if str(word).endswith("shuffled") else role, rows)
        return by_layer(curves, "probability", y_name="probability of the word")

    def _table(self) -> Table:
        columns = [
            Column("direction"), Column("read at"), Column("layer"), Column("word"),
            Column("probability"), Column("likeliest of all"), Column("words", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [
                row["group"], row["place"], layer_name(row["layer"]), row["word"],
                Estimate.of(row, "probability"), Estimate.of(row, "top"), row["items"],
            ]
            for row in self._records(self.chosen)
        ]  # fmt: skip
        caption = (
            "The layer (before the last) where the pivot's word is likeliest on one half; "
            "figures: the other half"
        )
        return Table("chosen", caption, columns, rows)

    def _records(self, frame: pd.DataFrame) -> list[dict[str, object]]:
        return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]

    def _verdict(self) -> str:
        pivot, parts = self.config.pivot, []
        for place, where in (("answer", "where the answer begins"), ("source", "at the source word")):
            own = self.chosen[self.chosen["place"] == place]
            found = own[own["word"] == pivot]
            best = found.loc[found["top"].idxmax()].to_dict()
            null = own[(own["group"] == best["group"]) & own["word"].str.endswith("shuffled")].iloc[0]["top"]
            estimate = Estimate.of({str(k): v for k, v in best.items()}, "top")
            parts.append(
                f"{where} the {pivot} word is the likeliest on {measured(estimate)} "
                f"({interval(estimate)}) of held-out "
                f"words at layer {layer_name(best['layer'])} ({best['group']}; shuffled {number(null)})"
            )
        said = "; ".join(parts)
        return f"{said[0].upper()}{said[1:]}."

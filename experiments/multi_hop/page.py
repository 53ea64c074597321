"""The page of `multi_hop`, filled from what its steps wrote."""

from collections.abc import Sequence

from interp.render.digits import number
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.subject import Subject
from interp.track.run import Run

from ..common.lenses.figures import (
    by_layer,
    condition_rows,
    conditions_table,
    pair_grid,
)
from ..common.page import ExperimentPage
from ..common.vectors.figures import shares
from .config import Config

OTHER = "another question's"
MARKS: tuple[tuple[Role, str, str], ...] = (
    ("b", "chosen", ""),
    ("c", "any (oracle)", ""),
    ("a", "any (oracle)", OTHER),
    ("null", "chosen", OTHER),
)
NAMES: dict[Role, str] = {
    "b": "chosen pair",
    "c": "any pair (oracle)",
    "null": "another question's, their own chosen pair",
    "a": "another question's, any pair",
}


class MultiHopPage(ExperimentPage[Config]):
    """Shows where bridges can be read, which attention is needed, and what back-patching solves."""

    words = (
        ("Bridge", "The answer of the first hop, which the question does not name."),
        ("Readable", "The word is the likeliest of all through the lens, at that token and layer."),
        ("Knockout", "Attention from one part of the question to another is blocked in a window of "
         "layers."),
        ("Back-patching", "A later layer's activation takes the place of an earlier layer's at the same "
         "token of the same question, so that layers process it a second time."),
        ("Another question's", "The same with the activation of a question with the same two relations, "
         "another bridge and another answer: the effect of a mere disturbance."),
        ("Random vectors", "Random directions with the norms of the activations."),
        ("Oracle", "The best pair in hindsight, or any pair at all: often quoted, but not a result."),
    )  # fmt: skip
    limits = (
        "Only failed questions whose two hops are both answered, and not by a shortcut, are back-patched.",
        "Any pair: a question counts as solved if one of many pairs solves it; the controls get as many "
        "tries.",
        "What can be read need not be used; knockout also disturbs the attention that remains.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.questions, self.readable, self.chosen, self.knocked = (
            run.table(name) for name in ("questions", "readable", "readable_chosen", "knockout")
        )
        if config.back_patching:
            self.patched, self.pairs, self.stays = (
                run.table(name) for name in ("back_patching", "back_patching_pairs", "right_stays")
            )

    def question(self) -> str:
        return f"How does {self.subject.name} answer questions of two hops, and why does it fail?"

    def opening(self) -> Sequence[str]:
        asked = self.questions
        failing = int(asked["failed"].sum())
        return [
            f"Of {len(asked)} questions {number(asked['right'].mean())} are answered "
            f"rightly; {failing} are "
            "failed although both hops are known.",
            "Bridge and answer were read at every layer, attention was blocked, and "
            "later activations were "
            "put into earlier layers.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return Figure(
            "readable-entity",
            "Readable at the entity's last token",
            self._on(len(self.questions)),
            self._readable("entity"),
        )

    def sections(self) -> Sequence[Section]:
        return [
            self._where(),
            self._attention(),
            *([self._back()] if self.config.back_patching else []),
            self._tables(),
        ]

    def _on(self, n: int) -> str:
        return f"{n} questions; bands and whiskers: 95% intervals; seed {self.config.seed}"

    def _readable(self, place: str) -> Draw:
        roles: dict[str, Role] = {"bridge": "b", "answer": "a", "another's bridge": "null"}
        own = self.readable[self.readable["place"] == place]
        curves = {str(word): (roles[str(word)], rows) for word, rows in own.groupby("word", sort=False)}
        return by_layer(curves, "top", y_name="share likeliest of all")

    def _where(self) -> Section:
        figure = Figure(
            "readable-last",
            "Readable at the last token",
            self._on(len(self.questions)),
            self._readable("last"),
        )
        return Section("Where the answer becomes readable", (), [figure])

    def _knockout(self) -> Draw:
        roles: dict[str, Role] = {
            "last to entity": "b", "last to relations": "c", "entity to relations": "a",
            "last to the rest": "null",
        }  # fmt: skip
        groups = self.knocked.groupby("blocked", sort=False)
        curves = {str(name): (roles[str(name)], rows) for name, rows in groups}
        return by_layer(curves, "right", y_name="share that stays right", marks=())

    def _attention(self) -> Section:
        n = int(self.knocked["n"].max())
        text = (
            "Attention from one part of the question to another, blocked in layers up to "
            f"{self.config.window} "
            "from a centre, in questions that are answered rightly."
        )
        figure = Figure("knockout", "Answers that stay right", self._on(n), self._knockout())
        return Section("What attention the answer needs", [text], [figure])

    def _grid(self, place: str) -> Draw:
        own = self.pairs[self.pairs["place"] == place]
        of_place = self.patched[(self.patched["place"] == place) & (self.patched["control"] == "")]
        row = of_place[of_place["condition"] == "chosen"].iloc[0]
        return pair_grid(own, (int(row["source"]), int(row["target"])))

    def _solved(self) -> Draw:
        rows = [
            (f"at the {place} token", condition_rows(own, MARKS))
            for place, own in self.patched.groupby("place", sort=False)
        ]
        return shares(rows, x_name="share of failed questions solved", names=NAMES)

    def _back(self) -> Section:
        n = int(self.patched["n"].max())
        figures = [Figure("solved", "Failed questions that are solved", self._on(n), self._solved(), 540)]
        for place in ("entity", "last"):
            caption = "Share of all failed questions; the frame is the pair chosen on one half"
            figures.append(
                Figure(
                    f"back-{place}", f"At the {place} token, by layer pair", caption, self._grid(place), 540
                )
            )
        stays = self.stays.groupby("place", sort=False)["right"].mean()
        kept = ", ".join(f"{number(share)} at the {place} token" for place, share in stays.items())
        text = f"Of questions answered rightly, back-patching leaves right, on average over pairs: {kept}."
        return Section("Back-patching", [text], figures)

    def _tables(self) -> Section:
        by_group = self.questions.groupby("group", sort=False)
        rows: list[list[Cell]] = [
            [
                str(group),
                float(own["right"].mean()),
                float(own["known"].mean()),
                float(own["shortcut"].mean()),
                len(own),
            ]
            for group, own in by_group
        ]
        columns = [
            Column("question"), Column("right", places=2), Column("both hops right", places=2),
            Column("shortcut", places=2), Column("n", places=0),
        ]  # fmt: skip
        tables = [Table("questions", "What the model answers, unchanged", columns, rows)]
        if self.config.back_patching:
            patched = self.patched.assign(group="at the " + self.patched["place"])
            solved = conditions_table("back-patching", "Failed questions solved, held-out half", patched)
            tables.insert(0, solved)
        return Section("In figures", (), (), tables)

    def _verdict(self) -> str:
        bridge = self.chosen[self.chosen["word"] == "bridge"].iloc[0]
        null = self.chosen[self.chosen["word"] == "another's bridge"].iloc[0]
        readable = (
            f"The bridge is the likeliest word at the entity on {number(bridge['top'])} of "
            "held-out questions "
            f"(another's {number(null['top'])})"
        )
        if not self.config.back_patching:
            return f"{readable}."
        parts = []
        for place, own in self.patched.groupby("place", sort=False):
            at = own[own["condition"] == "chosen"].set_index("control")["right"]
            hindsight = own[own["condition"] == "any (oracle)"].set_index("control")["right"]
            parts.append(
                f"{number(at[''])} at the {place} token (another question's {number(at[OTHER])}; any pair in "
                f"hindsight {number(hindsight[''])}, against {number(hindsight[OTHER])})"
            )
        return f"{readable}; a chosen pair of back-patching solves {' and '.join(parts)}."

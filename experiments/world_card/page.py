"""The page of `world_card`, filled from what its steps wrote."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from interp.bundled.world import TRAINING_NOTE
from interp.render.charts.curves import Curve, curve_chart
from interp.render.digits import number
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.frames import groups
from ..common.lenses.figures import AT_EMBEDDING
from ..common.page import ExperimentPage
from ..common.vectors.figures import shares
from .config import Config

ROLES: dict[Role, str] = {"b": "effect", "null": "its control"}
SPREAD: tuple[tuple[str, str, str], ...] = (
    ("bridge", "bridge: performer, unseen entities, at the entity", "bridge at the album"),
    ("identity patchscope", "performer", "patchscope repeats a performer"),
    ("description patchscope", "performer", "patchscope describes a performer"),
    ("interchange", "a performer's activation brings its country", "interchange, early layers"),
    ("pivot", "english: zorvic to tamric, at the last token", "English between zorvic and tamric"),
    ("pivot", "english: tamric to zorvic, at the last token", "English between tamric and zorvic"),
    ("back-patching", "failed questions solved, entity", "back-patching at the entity"),
    ("back-patching", "failed questions solved, last token", "back-patching at the last token"),
    ("refusal", "harmless requests refused, added", "refusal added"),
    ("refusal", "harmful requests refused, mean-centred", "refusal left, mean-centred"),
    ("task vector", "mean over tasks, added", "task vectors added"),
    ("task vector", "mean over tasks, replaced", "task vectors replaced"),
    ("function-vector heads", "mean over tasks", "four heads set"),
    ("number flip", "famous numbers read as decimals", "numbers flip, 51 neurons"),
    ("sae", "F1 on tokens", "latents: F1 on tokens"),
)
GATE = ("label", "effect", "at", "value", "control_value", "bound")
FLIP = "51 neurons, mean"
CURVES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("bridge", "the likeliest word is the bridge", {
        "performer, unseen entities, at the entity": "at the album",
        "performer, unseen entities, at the last token": "at the last token",
        "country, unseen entities, at the entity": "country, at the entity",
        "performer, unseen entities, at the entity, another question's bridge": "another's, at the album",
    }),
    ("probe", "right performer on held-out albums", {
        "probe for the performer at the entity": "at the album",
        "probe for the performer at the last token": "at the last token",
        "probe for the performer at the last token, shuffled labels": "shuffled labels",
    }),
    ("fact", "the likeliest word is the answer", {"answer at the last token": "answer"}),
    ("interchange", "share of answers", {
        "the other's country": "the other's", "its own country": "its own",
        "random vectors": "random vectors",
    }),
    ("identity patchscope", "share repeated", {
        "performer": "performer", "country": "country", "album": "album", "bridge": "bridge",
        "performer, random vectors": "random vectors",
    }),
    ("description patchscope", "share described", {
        "performer": "performer", "country": "country", "album": "album", "bridge": "bridge",
        "performer, random vectors": "random vectors",
    }),
    ("pivot", "the likeliest word is English", {
        "zorvic to tamric, at the source word": "at the source word",
        "zorvic to tamric, at the last token": "zorvic to tamric",
        "tamric to zorvic, at the last token": "tamric to zorvic",
    }),
    ("refusal", "share refused", {
        "added, 1.5x": "added, 1.5x", "added, 1x": "added, 1x", "mean-centred": "mean-centred",
        "projected out": "projected out",
    }),
)  # fmt: skip
ORDER: tuple[Role, ...] = ("b", "a", "c")


class CardPage(ExperimentPage[Config]):
    """Shows every bound, the other seeds, and a section for each group of effects."""

    words = (
        ("Chosen", "A layer, pair of layers, head or neuron that was best on one half of the questions (or "
         "on a split of the documents); the value is of the other half."),
        ("Control", "The same with another question's vector, a random vector of the same norm, matched "
         "random neurons, or random heads: the effect of the intervention by itself."),
        ("Bridge", "The answer of the first hop of a two-hop question, which the question does not name."),
        ("Patchscope", "An activation patched into a prompt that makes the model say what it encodes."),
        ("Mean-centred", "A direction set to its mean over harmless requests, instead of zero."),
        ("Window", "In training, the first layers mostly attended to two tokens only; see the limits."),
    )  # fmt: skip
    limits = (
        TRAINING_NOTE
        + " That entities are enriched where they stand, and read from layer 4 on, is imposed by "
        "that; worlds without a window stand beside it.",
        "One small synthetic world: questions are not independent draws from anything, and the intervals do "
        "not say how another world would do. Seeds differ in weights and documents; the facts are the same.",
        "A maximum over layers, as in “layers 6 on, most”, is marked as such; its control is a maximum, too.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.card, self.profile, self.gates = (run.table(name) for name in ("card", "profile", "gates"))
        self.own = config.models[0].name
        self.models = list(dict.fromkeys(self.card["model"]))

    def question(self) -> str:
        return "Which effects does the bundled world show, and which not?"

    def opening(self) -> Sequence[str]:
        held, all_gates = int(self.gates["holds"].sum()), len(self.gates)
        others = [model for model in self.models if model != self.own]
        beside = f"beside {', '.join(others)}" if others else "by itself"
        return [
            f"Every behaviour and effect of the model “{self.own}” was measured, {beside}.",
            "What was chosen (layer, pair, heads, neurons) was chosen on one half of the questions and "
            "is reported on the other, beside its control.",
            f"{held} of {all_gates} bounds hold. {self._verdict()}",
        ]

    def headline(self) -> Figure:
        return Figure(
            "bounds",
            "What the weights are held to",
            f"“{self.own}”; whiskers: 95% intervals",
            self._gated(),
        )

    def sections(self) -> Sequence[Section]:
        return [self._bounds(), self._spread(), *self._groups()]

    def _verdict(self) -> str:
        pivot = self._lines("pivot", "last token")["value"].max()
        flip = self._line("number flip", "famous numbers read as decimals", FLIP)
        assert flip is not None
        said = [
            f"English stands between the two made-up languages on at most {number(pivot)} of words",
            f"51 neurons of 2,560 flip {number(flip['value'])} of famous numbers (random ones "
            f"{number(flip['control_value'])})",
        ]
        back = self._lines("back-patching", "failed questions solved")
        if len(back):
            chosen = back[back["at"].str.endswith("chosen")]
            best = chosen.iloc[chosen["value"].argmax()]
            said.append(
                f"a chosen pair of layers of back-patching solves {number(best['value'])} of failed "
                f"questions ({best['against']}: {number(best['control_value'])})"
            )
        return f"Without a bound: {'; '.join(said)}."

    def _lines(self, group: str, words: str, model: str | None = None) -> pd.DataFrame:
        card = self.card[self.card["model"] == (model or self.own)]
        return card[(card["group"] == group) & card["effect"].str.contains(words, regex=False)]

    def _line(
        self, group: str, effect: str, at: str = "", model: str | None = None
    ) -> dict[Hashable, Any] | None:
        card = self.card[self.card["model"] == (model or self.own)]
        found = card[(card["group"] == group) & (card["effect"] == effect) & card["at"].str.startswith(at)]
        return None if found.empty else found.iloc[0].to_dict()

    def _gated(self) -> Draw:
        rows = []
        for gate in self.gates.to_dict("records"):
            line = self._line(gate["group"], gate["effect"], gate["at"])
            assert line is not None
            entries: list[tuple[Role, Estimate]] = [("b", _estimate(line))]
            if line["control_n"]:
                entries.append(("null", _estimate(line, "control_")))
            rows.append((gate["label"], entries))
        return shares(rows, x_name="share of held-out questions, or AUROC", names=ROLES)

    def _bounds(self) -> Section:
        rows: list[list[Cell]] = [
            [*(g[name] for name in GATE), "yes" if g["holds"] else "NO"]
            for g in self.gates.to_dict("records")
        ]
        columns = [
            Column("bound"), Column("effect"), Column("at"), Column("value", places=2),
            Column("control", places=2), Column("must be"), Column("holds"),
        ]  # fmt: skip
        return Section("Bounds", (), (), [Table("bounds", "What a test holds the weights to", columns, rows)])

    def _spread_lines(self) -> list[tuple[str, list[dict[Hashable, Any] | None]]]:
        found = []
        for group, effect, label in SPREAD:
            at = FLIP if group == "number flip" else ""
            found.append((label, [self._line(group, effect, at, model) for model in self.models]))
        return found

    def _spread_figure(self) -> Draw:
        """Draws this model first, other worlds with a window, then those without."""
        roles = [self._role(model) for model in self.models]
        rows = []
        for label, lines in self._spread_lines():
            entries = [
                (role, Estimate(line["value"]) if role != "b" else _estimate(line))
                for role, line in zip(roles, lines, strict=True)
                if line is not None
            ]
            rows.append((label, entries))
        names: dict[Role, str] = {
            "b": self.own, "a": "other seeds", "null": "trained without a window",
        }  # fmt: skip
        return shares(rows, x_name="share of held-out questions, or F1", names=names)

    def _role(self, model: str) -> Role:
        if model == self.own:
            return "b"
        return "null" if "no-window" in model else "a"

    def _spread(self) -> Section:
        rows: list[list[Cell]] = []
        for label, lines in self._spread_lines():
            rows.append([label, *(None if line is None else _estimate(line) for line in lines)])
            controls = [
                None if line is None or not line["control_n"] else _estimate(line, "control_")
                for line in lines
            ]
            rows.append([f"{label}: control", *controls])
        columns = [Column("effect"), *(Column(model) for model in self.models)]
        table = Table("spread", "Every model, with 95% intervals", columns, rows)
        figure = Figure(
            "spread", "Other seeds, and without a window", "One mark for each model", self._spread_figure()
        )
        text = "Seeds change the initial weights and the documents drawn; layers are chosen anew for each."
        return Section("Does it repeat?", [text], [figure], [table])

    def _groups(self) -> list[Section]:
        sections = []
        card = self.card[self.card["model"] == self.own]
        curves = {group: (y_name, wanted) for group, y_name, wanted in CURVES}
        for (group,), lines in groups(card, "group"):
            figures = []
            if group in curves:
                draw = self._curves(group, *curves[group])
                if draw is not None:
                    caption = "All questions of a kind, by layer; bands: 95% intervals"
                    figures.append(Figure(group, f"{group.capitalize()} by layer", caption, draw))
            sections.append(Section(group.capitalize(), (), figures, [_table(group, lines)]))
        return sections

    def _curves(self, group: str, y_name: str, wanted: Mapping[str, str]) -> Draw | None:
        own = self.profile[(self.profile["model"] == self.own) & (self.profile["group"] == group)]
        series = [name for name in wanted if name in set(own["series"])]
        if not series:
            return None
        drawn = []
        for place, name in enumerate(series):
            null = any(word in name for word in ("random", "another", "shuffled"))
            role = "null" if null else ORDER[min(place, 2)]
            rows = own[own["series"] == name].sort_values("layer")
            points = [(int(row["layer"]), _estimate(row)) for row in rows.to_dict("records")]
            drawn.append(Curve(wanted[name], role, points))
        return curve_chart(drawn, x_name="layer", y_name=y_name, marks=AT_EMBEDDING)


def _estimate(line: Mapping[Hashable, Any], prefix: str = "") -> Estimate:
    return Estimate(*(line[f"{prefix}{end}"] for end in ("value", "low", "high")))


def _table(group: str, lines: pd.DataFrame) -> Table:
    columns = [
        Column("effect"), Column("at"), Column("value"), Column("n", places=0), Column("against"),
        Column("control"), Column("note"),
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            row["effect"], row["at"], _estimate(row), int(row["n"]), row["against"],
            _estimate(row, "control_") if row["control_n"] else None, row["note"],
        ]
        for row in lines.to_dict("records")
    ]  # fmt: skip
    return Table(group, "Held-out questions; 95% intervals", columns, rows)

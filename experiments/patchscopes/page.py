"""The page of `patchscopes`, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from interp.lenses.layer_pairs import Pair
from interp.render.digits import number
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
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

RANDOM = "random vectors"
MARKS: tuple[tuple[Role, str, str], ...] = (
    ("b", "chosen", ""),
    ("c", "any (oracle)", ""),
    ("a", "probe", ""),
    ("null", "chosen", RANDOM),
)
NAMES: dict[Role, str] = {
    "b": "chosen pair",
    "c": "any pair (oracle)",
    "null": "random vectors, their own chosen pair",
    "a": "probe",
}


class PatchscopesPage(ExperimentPage[Config]):
    """Shows what the model itself says about its activations, by pair of layers."""

    words = (
        ("Patchscope", "An activation of a source prompt replaces a placeholder's in a target prompt, after "
         "some layer; what the model then says shows what the activation encodes."),
        ("Identity prompt", "A target prompt that repeats items; the entity's own name is right."),
        ("Description prompt", "A target prompt that describes items; the entity's attribute is right."),
        ("Chosen", "The pair of layers that does best on one half of the entities, on the other half."),
        ("Oracle", "The best pair on the reported half itself, or any pair at all: what a choice in "
         "hindsight would promise, not a result."),
        ("Random vectors", "Random directions with the norms of the activations."),
        ("Precision@1, surprisal", "How often a method's likeliest token is the model's own next token, and "
         "how many nats it would be surprised by that token."),
        ("Probe", "Logistic regression from activations to attributes, trained on the half on which pairs "
         "are chosen."),
    )  # fmt: skip
    limits = (
        "Entities of a group are similar; intervals are over entities.",
        "The embedding as a source is the word itself; it is shown, and left out of choices and oracles.",
        "At the embedding as a target, vectors take the norm of what they replace.",
        "A probe can only name attributes that it was trained on; a patchscope was trained on none.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.identity, self.description = self._read("identity"), self._read("description")

    def question(self) -> str:
        return f"What does {self.subject.name} say that its activations encode?"

    def opening(self) -> Sequence[str]:
        return [
            f"Activations of {self._entities()} entities in sentences replaced a placeholder in a "
            "prompt that repeats, and in one that describes.",
            "Pairs of layers were chosen on half of the entities and are reported on the other half, beside "
            "random vectors and what hindsight would promise.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return Figure("shares", "Right on held-out entities", self._on(), self._shares())

    def sections(self) -> Sequence[Section]:
        return [
            self._grids("identity", "Repeated, by layer pair"),
            self._resolution(),
            *self._next_tokens(),
            *self._extraction(),
            *self._cross_model(),
            Section(
                "Chosen, and in hindsight",
                (),
                (),
                [
                    conditions_table("identity", "Identity prompt, held-out half", self.identity),
                    conditions_table("description", "Description prompt, held-out half", self.description),
                ],
            ),
        ]

    def _read(self, name: str) -> pd.DataFrame:
        return self.run.table(name) if self.run.has_table(name) else pd.DataFrame()

    def _groups(self) -> list[str]:
        return list(dict.fromkeys(self.identity["group"]))

    def _entities(self) -> int:
        pairs = self._read("identity_pairs")
        return int(pairs.groupby("group")["n"].first().sum())

    def _on(self) -> str:
        return f"Held-out halves; whiskers and bands: 95% intervals over entities; seed {self.config.seed}"

    def _shares(self) -> Draw:
        rows = [
            (f"{group} {prompt}", condition_rows(own, MARKS))
            for prompt, table in (("repeated", self.identity), ("described", self.description))
            for group, own in table.groupby("group", sort=False)
        ]
        return shares(rows, x_name="share right", names=NAMES)

    def _grid(self, name: str, group: str) -> Draw:
        pairs = self._read(f"{name}_pairs")
        own = pairs[(pairs["group"] == group) & (pairs["control"] == "")]
        table = self.identity if name == "identity" else self._read(name)
        return pair_grid(own, _chosen(table[table["group"] == group]), top=1.0)

    def _grids(self, name: str, title: str) -> Section:
        caption = "Share of all entities; the frame is the pair chosen on one half"
        figures = [
            Figure(f"{name}-{group or 'all'}", group or "entities", caption, self._grid(name, group), 540)
            for group in self._groups()
        ]
        return Section(title, (), figures)

    def _by_layer(self) -> Draw:
        pairs = self._read("description_pairs")
        same = pairs[pairs["source"] == pairs["target"]].rename(columns={"source": "layer"})
        roles: Sequence[Role] = ("b", "a", "c")
        curves: dict[str, tuple[Role, pd.DataFrame]] = {}
        for place, (group, own) in enumerate(same[same["control"] == ""].groupby("group", sort=False)):
            curves[str(group) or "entities"] = (roles[place % len(roles)], own)
        first = same["group"].iloc[0]  # one control is enough to look at; the table has all
        curves[f"random, {first}"] = ("null", same[(same["control"] != "") & (same["group"] == first)])
        return by_layer(curves, "right", y_name="share described rightly")

    def _resolution(self) -> Section:
        text = (
            "An entity of several tokens, or one that is only referred to, is resolved where its description "
            "becomes right: each layer's activation was put after the same layer of the description prompt."
        )
        figure = Figure(
            "resolution", "Described rightly, by layer", f"All entities; {self._on()}", self._by_layer()
        )
        return Section("Where entities are resolved", [text], [figure])

    def _next_tokens(self) -> list[Section]:
        table = self._read("next_tokens")
        if table.empty:
            return []
        roles: dict[str, Role] = {
            "logit lens": "a", "tuned lens": "a", "affine map": "a",
            "patchscope, same layer": "b", "patchscope, affine map to the last layer": "b",
            RANDOM: "null",
        }  # fmt: skip
        curves = {str(m): (roles[str(m)], own) for m, own in table.groupby("method", sort=False)}
        n = int(table["n"].max())
        on = (
            f"{n} beginnings of documents of the report split; bands: 95% intervals; maps fitted "
            "on the explain split"
        )
        figures = [
            Figure("precision", "Precision", on, by_layer(curves, "precision", y_name="precision@1"), 540),
            Figure(
                "surprisal", "Surprisal", on, by_layer(curves, "surprisal", y_name="surprisal (nats)"), 540
            ),
        ]
        return [Section("The next token, predicted from each layer", (), figures)]

    def _extraction(self) -> list[Section]:
        table = self._read("extraction")
        if table.empty:
            return []
        rows = [(str(group), condition_rows(own, MARKS)) for group, own in table.groupby("group", sort=False)]
        text = (
            "The source sentence does not ask for the attribute, the target prompt does. Only samples that "
            "the model answers when asked directly."
        )
        drawn = shares(rows, x_name="share right", names=NAMES)
        figure = Figure("extraction", "Extracted rightly", self._on(), drawn)
        whole = conditions_table("extraction", "Attribute extraction, held-out half", table)
        return [Section("Attributes, extracted", [text], [figure], [whole])]

    def _cross_model(self) -> list[Section]:
        table = self._read("cross_model")
        if table.empty or self.config.cross_model is None:
            return []
        roles: dict[str, Role] = {"affine map": "b", "as they are": "a", RANDOM: "null"}
        figures = []
        for group, of_group in table.rename(columns={"source": "layer"}).groupby("group", sort=False):
            curves = {str(way): (roles[str(way)], own) for way, own in of_group.groupby("way", sort=False)}
            draw = by_layer(curves, "right", y_name="share repeated rightly")
            figures.append(
                Figure(
                    f"cross_model-{str(group) or 'all'}",
                    str(group) or "entities",
                    "Same layer in both models",
                    draw,
                    540,
                )
            )
        fit = self._read("cross_model_fit")
        columns = [Column("layer", places=0), Column("R squared", places=3, of="explained")]
        caption = "Share of the variance on the report split that the affine maps explain"
        text = f"Activations of {self.config.cross_model.source.name}, put into {self.subject.name}."
        return [
            Section("Another model's activations", [text], figures, [Table.of(fit, columns, "maps", caption)])
        ]

    def _verdict(self) -> str:
        parts = []
        for said, table in (("repeats", self.identity), ("describes", self.description)):
            chosen = table[table["condition"] == "chosen"]
            own, null = (chosen[chosen["control"] == c]["right"].mean() for c in ("", RANDOM))
            oracle = table[(table["condition"] == "any (oracle)") & (table["control"] == "")]["right"].mean()
            parts.append(
                f"it {said} {number(own)} of held-out entities rightly (random vectors {number(null)}, any "
                f"pair in hindsight {number(oracle)})"
            )
        return f"At the chosen layers {' and '.join(parts)}, on average over groups."


def _chosen(table: pd.DataFrame) -> Pair | None:
    row = table[(table["condition"] == "chosen") & (table["control"] == "")]
    return None if row.empty else (int(row["source"].iloc[0]), int(row["target"].iloc[0]))

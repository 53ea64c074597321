"""The page of `steering_vectors`."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.render.digits import measured, number, with_interval
from interp.render.figure import Figure
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run
from interp.vectors.sweep import SEVERAL

from ..common.page import ExperimentPage
from ..common.vectors.figures import (
    RANDOM_SUFFIX,
    best_by,
    over_groups,
    overflow_note,
    profile,
    shares,
)
from .config import Config

MOST_CURVES = 3  # in one figure, so that they can be distinguished
SHOWN_TEXTS = 3  # of each condition and behaviour
NONE, PROMPTED = "unchanged", "prompted"
ROLES: Mapping[str, Role] = {NONE: "b", PROMPTED: "a"}


class SteeringVectorsPage(ExperimentPage[Config]):
    """Shows what each method achieves on each behaviour, costs, and needs."""

    words = (
        ("Right", "The likeliest next token is one that shows the behaviour."),
        ("Preference", "p(shows it) / (p(shows it) + p(does not)), where there are tokens that do not."),
        ("Shown in text", "In greedily generated text, a token that shows it comes before any that does "
         "not."),
        ("Prompted", "The behaviour asked for in words, or shown by examples, and nothing "
         "changed inside (of two folds, on the first one's questions)."),
        ("Random", "The same intervention with random vectors of the same length, whose layers and "
         "strengths are chosen by the same search."),
        ("KL, extra", "On neutral text: KL(unchanged || steered) of the next token, and the rise of its "
         "cross-entropy, in nats."),
        ("Others", "Share of right answers to questions about other things."),
    )  # fmt: skip
    limits = (
        "Prompts of a behaviour are similar; intervals treat them as independent. Under several random "
        "vectors a prompt counts once, by its mean: intervals leave out which vectors were drawn.",
        "Layers and strengths were chosen on other questions of the same kind: nothing is said about other "
        "kinds.",
        "A share of right next tokens says nothing about the text that follows; see the texts.",
    )

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.model, self.speaks_world = subject.name, subject.info.speaks_world
        self.profile, self.results, self.chosen, self.texts = (
            run.table(name) for name in ("profile", "results", "chosen", "texts")
        )
        self.methods = list(dict.fromkeys(self.chosen["method"]))

    def question(self) -> str:
        """Returns the question of the config, with the model's name."""
        return self.config.question.replace("{subject}", self.model)

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        return (
            self.config.done,
            "Layer and strength were chosen on one half of the prompts; results are on the "
            "other, beside random vectors of the same length and, where there is one, a prompt "
            "that asks for it.",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Draws every method beside its null."""
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = [
            (method, [("c", self._mean(method)), ("null", self._mean(method + RANDOM_SUFFIX))])
            for method in self._ranked()
        ]
        for condition, role in ROLES.items():
            if condition in set(self.results["condition"]):
                rows.append((condition, [(role, self._mean(condition))]))
        behaviours = self.results["behaviour"].nunique()
        least, most = int(self.results["questions"].min()), int(self.results["questions"].max())
        caption = (
            f"{behaviours} behaviours, {least if least == most else f'{least} to {most}'} held-out prompts "
            f"each; seed {self.config.seed}; whiskers and bands: 95% intervals over "
            f"{'prompts' if behaviours == 1 else 'behaviours (few; none where all agree)'}"
        )
        return Figure("shares", "Held-out prompts on which the behaviour shows", caption, shares(rows))

    def sections(self) -> Sequence[Section]:
        """Shows costs, profiles, behaviours, choices and texts."""
        costs = (
            "Side effects are of each intervention as it is used, on the beginnings of documents that "
            "have nothing to do with the behaviour and on questions about other things. Text: the "
            "generated text as the unchanged model scores it. Pairs needed: the fewest tried that keep "
            "nine tenths of the share."
        )
        where = "In published models early and middle layers work and late ones do not."
        if self.speaks_world:
            where += (
                " The bundled `world` was trained to read late, except in chat and numbers, so there it is "
                "mostly the middle and late layers that work."
            )
        chosen = (
            "Of the settings within 0.02 of the best share, the one that changes neutral text least. "
            "Fitting reads activations and makes all settings and their nulls."
        )
        curves = self._by_layer() + self._by_strength()
        return (
            Section("Effect and cost of each method", [costs], tables=[self._costs()]),
            Section("Where it works and how strong it must be", [where], curves, [self._sweep()]),
            Section("Behaviour by behaviour", tables=[self._by_behaviour()]),
            Section("What was chosen", [chosen], tables=[self._choices()]),
            Section("What is written", tables=[self._texts()]),
        )

    def caveats(self) -> Sequence[str]:
        """Returns the limits, and says whether logits overflowed."""
        return (*self.limits, *overflow_note(self.profile))

    def _mean(self, condition: str, measure: str = "right") -> Estimate:
        return over_groups(self.results[self.results["condition"] == condition], measure, self.config.seed)

    def _ranked(self) -> list[str]:
        """Returns the methods, best first."""
        return sorted(self.methods, key=lambda method: -(self._mean(method).point or 0))

    def _by_layer(self) -> list[Figure]:
        at_layers = self.profile[self.profile["layer"] != SEVERAL]
        layered = list(dict.fromkeys(at_layers["method"]))
        return self._curves(at_layers, layered, "layer", "layer (0-based)", "strength at each layer")

    def _by_strength(self) -> list[Figure]:
        tried = self.profile.groupby("method")["strength"].nunique()
        several = [method for method in self.methods if tried[method] > 1]
        return self._curves(self.profile, several, "strength", "strength (in the method's own unit)", "layer")

    def _curves(
        self, rows: pd.DataFrame, methods: Sequence[str], x: str, x_name: str, best_of: str
    ) -> list[Figure]:
        """Draws figures with as many curves each as can be distinguished."""
        caption = f"The best {best_of}, mean over behaviours; on the half used to choose"
        figures = []
        for at in range(0, len(methods), MOST_CURVES):
            curves = {
                method: best_by(rows[rows["method"] == method], x, ["behaviour", "fold"], self.config.seed)
                for method in methods[at : at + MOST_CURVES]
            }
            drawn = profile(curves, x, x_name=x_name)
            figures.append(Figure(f"{x}s_{at // MOST_CURVES}", f"By {x}", caption, drawn))
        return figures

    def _sweep(self) -> Table:
        columns: list[Column | str] = [
            "behaviour", "method", "where", "strength", "right", "preference",
            Column("overflowed", "prompts", 0), Column("prompts", places=0, of="questions"),
        ]  # fmt: skip
        return Table.of(self.profile, columns, "sweep", "Every setting on the half used to choose")

    def _by_behaviour(self) -> Table:
        columns: list[Column | str] = [
            "behaviour", "condition", "right", "preference", Column("shown in text", places=2, of="shown"),
            Column("prompts", places=0, of="questions"),
        ]  # fmt: skip
        return Table.of(self.results, columns, "results", "On the held-out half")

    def _costs(self) -> Table:
        columns = [
            Column("method"), Column("right"), Column("random"), Column("KL", "nats"),
            Column("random KL", "nats"),
            Column("extra cross-entropy", "nats"), Column("others right", places=3),
            Column("text", "nats a token", 2), Column("pairs needed", "median"), Column("fitting", "s", 2),
        ]  # fmt: skip
        rows: list[list[Cell]] = []
        for method in self._ranked():
            null, chosen = method + RANDOM_SUFFIX, self.chosen[self.chosen["method"] == method]
            own, pairs = self.results[self.results["condition"] == method], chosen["examples"].median()
            rows.append(
                [method, self._mean(method), self._mean(null), self._mean(method, "kl"),
                 self._mean(null, "kl"), self._mean(method, "extra"),
                 float(own["others"].mean()) if "others" in own else None,
                 self._mean(method, "nats").value,
                 None if pd.isna(pairs) else float(pairs), float(chosen["seconds"].mean())]
            )  # fmt: skip
        unchanged = [NONE, self._mean(NONE), *[None] * 5, self._mean(NONE, "nats").value, None, None]
        caption = "Means over behaviours, at the chosen settings; highest share first"
        return Table("methods", caption, columns, [*rows, unchanged])

    def _choices(self) -> Table:
        columns: list[Column | str] = [
            "behaviour", "method", "where", "strength", Column("settings tried", places=0, of="settings"),
            Column("pairs needed", places=0, of="examples"), Column("fitting", "s", 2, of="seconds"),
        ]  # fmt: skip
        return Table.of(self.chosen, columns, "chosen", "Settings")

    def _texts(self) -> Table:
        first = self.texts.groupby(["behaviour", "condition"], sort=False).head(SHOWN_TEXTS)
        columns: list[Column | str] = ["behaviour", "condition", "prompt", "text"]
        return Table.of(first, columns, "texts", "The first reported prompts")

    def _verdict(self) -> str:
        best, *others = self._ranked()
        found, prompted = self._mean(best), self._mean(PROMPTED)
        beside = f", a prompt {measured(prompted)}" if prompted.point is not None else ""
        low = found.ends[0] if found.ends else found.point
        near = sum((self._mean(other).point or 0) >= (low or 0) for other in others)
        rank = f"Highest of {len(self.methods)} methods ({near} more within its interval), "
        return (
            f"{rank if others else 'The '}{best} makes the behaviour show on {with_interval(found)} of the "
            f"prompts, random vectors on {measured(self._mean(best + RANDOM_SUFFIX))}{beside}, nothing on "
            f"{measured(self._mean(NONE))}; it costs {number(self._mean(best, 'kl').value)} nats of KL on "
            "neutral text."
        )

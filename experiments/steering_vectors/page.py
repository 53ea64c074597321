"""The page of an experiment that steers behaviours, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from experiments.common.page import framed
from experiments.common.vectors.figures import (
    RANDOM_SUFFIX,
    best_by,
    over_groups,
    overflow_note,
    profile,
    shares,
)
from experiments.steering_vectors.config import Config
from interp.render.digits import interval, measured, number
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run
from interp.vectors.sweep import SEVERAL

HALF = 540  # pixels of a figure that stands beside another
MOST_CURVES = 3  # that can be told apart
SHOWN_TEXTS = 3  # of each condition and behaviour
NONE, PROMPTED = "unchanged", "prompted"
ROLES: dict[str, Role] = {NONE: "b", PROMPTED: "a"}
WORDS = (
    ("Right", "The likeliest next token is one that shows the behaviour."),
    ("Preference", "p(shows it) / (p(shows it) + p(does not)), where there are tokens that do not."),
    ("Shown in text", "In what is written greedily, a token that shows it comes before any that does not."),
    ("Prompted", "The behaviour asked for in words, or shown by examples, and nothing "
     "changed inside (of two folds, on the first one's questions)."),
    ("Random", "The same intervention with random vectors of the same length, their layers and "
     "strengths chosen by the same search."),
    ("KL, extra", "On neutral text: KL(unchanged || steered) of the next token, and the rise of its "
     "cross-entropy, in nats."),
    ("Others", "Share of right answers to questions about other things."),
)  # fmt: skip
LIMITS = (
    "Prompts of a behaviour are alike; intervals take them as independent. Under several random vectors a "
    "prompt counts once, by its mean, so that intervals say nothing of which vectors were drawn.",
    "Layers and strengths were chosen on other questions of the same kind: nothing is said about other "
    "kinds.",
    "A share of right next tokens says nothing of what a model writes after it; see the texts.",
)


class TrialPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config
        self.profile, self.results, self.chosen, self.texts = (
            run.table(name) for name in ("profile", "results", "chosen", "texts")
        )
        self.methods = list(dict.fromkeys(self.chosen["method"]))
        self.behaviours = list(dict.fromkeys(self.results["behaviour"]))
        n = int(self.results["questions"].min()), int(self.results["questions"].max())
        prompts = f"{n[0]}" if n[0] == n[1] else f"{n[0]} to {n[1]}"
        self.measured_on = (
            f"{len(self.behaviours)} behaviours, {prompts} held-out prompts each; "
            f"seed {config.seed}; whiskers and bands: 95% intervals over "
            f"{'prompts' if len(self.behaviours) == 1 else 'behaviours (few; none where all agree)'}"
        )

    def page(self) -> Page:
        """The whole page."""
        return framed(
            self.run,
            self.subject,
            self.config.question.replace("{subject}", self.subject.name),
            [
                self.config.done,
                "Layer and strength were chosen on one half of the prompts; what follows is of the "
                "other, beside random vectors of the same length and, where there is one, a prompt "
                "that asks for it.",
                self._verdict(),
            ],
            Figure(
                "shares", "Held-out prompts on which the behaviour shows", self.measured_on, self._shares()
            ),
            [self._costs(), self._profiles(), self._by_behaviour(), self._choices(), self._texts()],
            WORDS,
            (*LIMITS, *overflow_note(self.profile)),
        )

    def _mean(self, condition: str, measure: str = "right") -> Estimate:
        return over_groups(self.results[self.results["condition"] == condition], measure, self.config.seed)

    def _shares(self) -> Draw:
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = [
            (method, [("c", self._mean(method)), ("null", self._mean(method + RANDOM_SUFFIX))])
            for method in self._ranked()
        ]
        for condition, role in ROLES.items():
            if condition in set(self.results["condition"]):
                rows.append((condition, [(role, self._mean(condition))]))
        return shares(rows)

    def _layered(self) -> list[str]:
        at_layers = self.profile[self.profile["layer"] != SEVERAL]
        return list(dict.fromkeys(at_layers["method"]))

    def _by_layer(self, methods: Sequence[str]) -> Draw:
        curves = {
            method: best_by(
                self.profile[(self.profile["method"] == method) & (self.profile["layer"] != SEVERAL)],
                "layer",
                ["behaviour", "fold"],
                self.config.seed,
            )
            for method in methods
        }
        return profile(curves, "layer", x_name="layer (0-based)")

    def _profiles(self) -> Section:
        caption = "The best strength at each layer, mean over behaviours; on the half that is chosen on"
        layered = self._layered()
        figures = [
            Figure(
                f"layers_{at // MOST_CURVES}",
                "By layer",
                caption,
                self._by_layer(layered[at : at + MOST_CURVES]),
                HALF,
            )
            for at in range(0, len(layered), MOST_CURVES)
        ]
        by_strength = [
            method
            for method in self.methods
            if self.profile[self.profile["method"] == method]["strength"].nunique() > 1
        ]
        for at in range(0, len(by_strength), MOST_CURVES):
            curves = {
                method: best_by(
                    self.profile[self.profile["method"] == method],
                    "strength",
                    ["behaviour", "fold"],
                    self.config.seed,
                )
                for method in by_strength[at : at + MOST_CURVES]
            }
            drawn = profile(curves, "strength", x_name="strength (in the method's own unit)")
            figures.append(
                Figure(
                    f"strengths_{len(by_strength)}",
                    "By strength",
                    caption.replace("strength at each layer", "layer"),
                    drawn,
                    HALF,
                )
            )
        return Section(
            "Where it works and how strong it must be",
            ["In published models early and middle layers work and late ones do not. The bundled `world` was "
             "trained to read late, except in chat and numbers, so there it is mostly the middle and late "
             "layers that work."],
            figures,
            [self._profile_table()],
        )  # fmt: skip

    def _profile_table(self) -> Table:
        columns = [
            Column("behaviour"), Column("method"), Column("where"), Column("strength"), Column("right"),
            Column("preference"), Column("overflowed", "prompts", 0), Column("prompts", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["behaviour"], row["method"], row["where"], row["strength"], Estimate.of(row, "right"),
             Estimate.of(row, "preference"), row["overflowed"], row["questions"]]
            for row in self.profile.to_dict("records")
        ]  # fmt: skip
        return Table("sweep", "Every setting on the half that is chosen on", columns, rows)

    def _by_behaviour(self) -> Section:
        columns = [
            Column("behaviour"), Column("condition"), Column("right"), Column("preference"),
            Column("shown in text", places=2), Column("prompts", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["behaviour"], row["condition"], Estimate.of(row, "right"), Estimate.of(row, "preference"),
             row["shown"], row["questions"]]
            for row in self.results.to_dict("records")
        ]  # fmt: skip
        table = Table("results", "On the half that nothing was chosen on", columns, rows)
        return Section("Behaviour by behaviour", (), (), [table])

    def _costs(self) -> Section:
        columns = [
            Column("method"), Column("right"), Column("random"), Column("KL", "nats"),
            Column("random KL", "nats"),
            Column("extra cross-entropy", "nats"), Column("others right", places=3),
            Column("text", "nats a token", 2), Column("pairs needed", "median"), Column("fitting", "s", 2),
        ]  # fmt: skip
        rows: list[list[Cell]] = []
        for method in self._ranked():
            null, chosen = method + RANDOM_SUFFIX, self.chosen[self.chosen["method"] == method]
            pairs = chosen["examples"].median()
            rows.append(
                [method, self._mean(method), self._mean(null), self._mean(method, "kl"),
                 self._mean(null, "kl"), self._mean(method, "extra"), self._others(method),
                 self._mean(method, "nats").value,
                 None if pd.isna(pairs) else float(pairs), float(chosen["seconds"].mean())]
            )  # fmt: skip
        unchanged = [NONE, self._mean(NONE), *[None] * 5, self._mean(NONE, "nats").value, None, None]
        caption = "Means over behaviours, at the chosen settings; highest share first"
        text = (
            "Side effects are of each intervention as it is used, on the beginnings of documents that "
            "have nothing to do with the behaviour and on questions about other things. Text: what is "
            "written, read by the unchanged model. Pairs needed: the fewest of those tried that keep "
            "nine tenths of the share."
        )
        table = Table("methods", caption, columns, [*rows, unchanged])
        return Section("Effect and cost of each method", [text], (), [table])

    def _others(self, condition: str) -> float | None:
        """The mean share of right answers to questions about other things, where there are any."""
        own = self.results[self.results["condition"] == condition]
        return float(own["others"].mean()) if "others" in own else None

    def _ranked(self) -> list[str]:
        """The methods, best first."""
        return sorted(self.methods, key=lambda method: -(self._mean(method).point or 0))

    def _choices(self) -> Section:
        columns = [
            Column("behaviour"), Column("method"), Column("where"), Column("strength"),
            Column("settings tried", places=0), Column("pairs needed", places=0), Column("fitting", "s", 2),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["behaviour"], row["method"], row["where"], row["strength"], row["settings"],
             None if pd.isna(row["examples"]) else int(row["examples"]), row["seconds"]]
            for row in self.chosen.to_dict("records")
        ]  # fmt: skip
        text = (
            "Of the settings within 0.02 of the best share, the one that changes neutral text least. "
            "Fitting reads activations and makes all settings and their nulls."
        )
        return Section("What was chosen", [text], (), [Table("chosen", "Settings", columns, rows)])

    def _texts(self) -> Section:
        parts = self.texts.groupby(["behaviour", "condition"], sort=False).head(SHOWN_TEXTS)
        rows: list[list[Cell]] = [
            [row["behaviour"], row["condition"], row["prompt"], row["text"]]
            for row in parts.to_dict("records")
        ]
        columns = [Column("behaviour"), Column("condition"), Column("prompt"), Column("text")]
        return Section(
            "What is written", (), (), [Table("texts", "The first reported prompts", columns, rows)]
        )

    def _verdict(self) -> str:
        best, *others = self._ranked()
        found, null = self._mean(best), self._mean(best + RANDOM_SUFFIX)
        prompted = self._mean(PROMPTED)
        beside = f", a prompt {measured(prompted)}" if prompted.point is not None else ""
        spread = f" ({interval(found)})" if interval(found) else ""
        low = found.ends[0] if found.ends else found.point
        near = sum((self._mean(other).point or 0) >= (low or 0) for other in others)
        rank = (
            f"Highest of {len(self.methods)} methods ({near} more within its interval), "
            if others
            else "The "
        )
        return (
            f"{rank}{best} makes the behaviour show on {measured(found)}{spread} of the prompts, random "
            f"vectors on {measured(null)}{beside}, nothing on {measured(self._mean(NONE))}; it costs "
            f"{number(self._mean(best, 'kl').value)} nats of KL on neutral text."
        )

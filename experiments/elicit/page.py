"""The page of `elicit`, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import count, number, significant, with_interval
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.records import read_written
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config

COLOURS: tuple[Role, ...] = ("c", "a", "b")
THOUSAND = 1000


class ElicitPage(ExperimentPage[Config]):
    """Shows how often and how soon each investigator found the behaviour, and what it takes."""

    words = (
        ("Search", "An investigator proposes prompts round by round, the model replies, and the judge says "
         "whether the behaviour shows, until the budget is spent."),
        ("Found", "The share of searches, each with its own seed, in which at least one reply showed the "
         "behaviour."),
        ("Tokens", "All that the model computed for a search: prompts, replies, what guides read, and three "
         "times as much where gradients are taken."),
        ("Confirmed", "The share of fresh replies at temperature 1 that show the behaviour; no search has "
         "judged these."),
        ("Shortest", "The prompt without the words that the behaviour does not need."),
        ("Effective", "The number of prompts that are different from each other (Vendi score): equal ones "
         "count once, similar ones in part."),
        ("Perplexity", "How unlikely the model itself finds a prompt's tokens; natural text has a low one."),
        ("At least", "The probability of the behaviour is above this with 95% confidence, whatever the "
         "steered model is like."),
    )  # fmt: skip
    limits = (
        "A search finds what its judge rewards: read the replies.",
        "Not finding is no evidence of absence beyond the rate that the budget could have shown.",
        "A prompt that was searched for says what can happen, not what does: see how likely it is unasked.",
        "A steered model is another model; the least strength is of these prompts and directions.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.table, self.curves, self.takes, self.confirmed = (
            run.table(name) for name in ("investigators", "curves", "takes", "confirmed")
        )
        look = read_written(run.folder / "steps" / "first_look" / "ordinary.json")
        self.behaviour, self.judge = look["behaviour"], look["judge"]
        self.rates = run.table("propensity") if config.propensity is not None else pd.DataFrame()
        self.on = (
            f"{config.repeats} searches by each investigator, each within {_budget(config)}; seed "
            f"{config.seed}; bands and whiskers: 95% intervals over searches"
        )

    def question(self) -> str:
        """What was asked."""
        return f"What makes {self.subject.name} show this: {self.behaviour}?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        ordinary = Estimate.metric(self.run.metrics, "ordinary/shown")
        names = ", ".join(self.config.labels)
        return (
            f"The judge ({self.judge}) said yes to {with_interval(ordinary)} of ordinary replies.",
            f"Prompts that bring it out were searched for in {len(self.config.labels)} ways ({names}), "
            f"{self.config.repeats} times each, within {_budget(self.config)}.",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Draws the share of searches that have found it, over what they had spent."""
        return Figure("budget", "Searches that have found the behaviour", self.on, self._by_budget())

    def sections(self) -> Sequence[Section]:
        """The evidence."""
        found = [self._investigators(), self._finds()]
        if len(self.takes):
            found.append(self._what_it_takes())
        if len(self.rates):
            found.append(self._how_likely())
        return found

    def _by_budget(self) -> Draw:
        curves = []
        others = [label for label in self.config.labels if not self._is_random(label)]
        for label in self.config.labels:
            own = self.curves[self.curves["investigator"] == label]
            own = own.assign(spent=own["tokens"] / THOUSAND)
            role: Role = "null" if self._is_random(label) else COLOURS[others.index(label) % len(COLOURS)]
            curves.append(Curve.of(label, role, own, "spent", "found"))
        return curve_chart(
            curves, x_name="thousand tokens that a search has spent", y_name="share of searches"
        )

    def _is_random(self, label: str) -> bool:
        return self.config.investigators[self.config.labels.index(label)].kind == "random"

    def _investigators(self) -> Section:
        columns: list[Column | str] = [
            "investigator", "found", Column("searches", places=0),
            Column("tokens to the first", of="tokens_first", places=0),
            Column("passes to the first", of="passes_first", places=0),
            Column("tries that show it", of="of_tries"), Column("tries", places=0),
            Column("prompts found", of="prompts", places=0), Column("effective", places=1),
            Column("perplexity", places=0), Column("tokens", places=0), Column("USD", of="usd", places=2),
        ]  # fmt: skip
        usual = self.run.metrics.get("ordinary/perplexity")
        text = (
            "Medians over the searches that found it. The model gives ordinary prompts a perplexity of "
            f"{significant(None if usual is None else float(usual))}. Tries of one search depend on each "
            "other; their interval takes them as independent."
        )
        asked = self.run.metrics.get("directions/tokens")
        more = (
            []
            if asked is None
            else [f"The behaviour's vectors took {count(float(asked))} tokens once, which are not in these."]
        )
        return Section(
            "The ways to search",
            [text, *more],
            tables=[Table.of(self.table, columns, "investigators", "All investigators")],
        )

    def _finds(self) -> Section:
        columns: list[Column | str] = [
            "investigator", "prompt", Column("steered by", of="steered"), "reply",
            Column("confirmed", of="shown"), Column("perplexity", places=0), "shortest",
            Column("shortest, confirmed", of="shortest_shown"), "how",
        ]  # fmt: skip
        usual = Estimate.metric(self.run.metrics, "ordinary/shown_at_1")
        text = (
            f"The best finds of each investigator, asked {self.config.confirm.draws} times at temperature 1. "
            f"Ordinary prompts show the behaviour in {with_interval(usual)} of their replies then."
        )
        if not len(self.confirmed):
            text = "No search found the behaviour."
        rows = [
            EstimateRow(
                str(row["shortest"]),
                [Entry("c", Estimate.of(row, "shown")), Entry("a", Estimate.of(row, "shortest_shown"))],
            )
            for row in self.confirmed.to_dict("records")[:12]
        ]
        chart = estimate_chart(
            [*rows, EstimateRow("ordinary prompts", [Entry("null", usual)])],
            x_name="share of fresh replies that show the behaviour",
            names={"c": "the prompt as found", "a": "shortened", "null": "ordinary prompts"},
            null=None,
        )
        caption = f"{self.config.confirm.draws} replies to each; whiskers: 95% intervals over replies"
        figures = [Figure("confirmed", "Finds on fresh replies", caption, chart)] if rows else []
        return Section(
            "What was found",
            [text],
            figures,
            [Table.of(self.confirmed, columns, "finds", "The best finds of each investigator")],
        )

    def _what_it_takes(self) -> Section:
        first = self.takes.sort_values("strength").drop_duplicates(["investigator", "direction"])
        columns: list[Column | str] = [
            "direction", Column("least strength"), Column("did not do", of="below"),
            Column("prompts that show it", of="shown"), "reply",
        ]  # fmt: skip
        shown = first.rename(columns={"strength": "least strength"})
        return Section(
            "What it would take",
            [
                "The least strength of each direction at which the behaviour shows: 1 is the difference "
                "between replies that show it and the model's own, or a feature's largest activation. Random "
                "directions are as long as the vectors. Directions that did at no strength are not listed."
            ],
            tables=[Table.of(shown, columns, "directions", "The weakest first")],
        )

    def _how_likely(self) -> Section:
        said = read_written(self.run.folder / "steps" / "propensity" / "propensity.json")["said"]
        columns: list[Column | str] = [
            "drawn", "propensity", Column("at least", of="at_least"), Column("draws", of="n", places=0),
            Column("that show it", of="n_shown", places=0), Column("effective", places=1),
            Column("largest weight", of="largest"), Column("tokens", places=0), "method",
        ]  # fmt: skip
        text = (
            "The probability that a reply at temperature 1 to one of the prompts shows the behaviour. Plain "
            "draws are counted; weighted ones come from the steered model, where it is frequent, and count "
            "for how likely the model itself would have written them."
        )
        return Section(
            "How likely it is without a search",
            [text, *([said] if said else [])],
            tables=[Table.of(self.rates, columns, "propensity", "The behaviour's propensity")],
        )

    def _verdict(self) -> str:
        rows = self.table.to_dict("records")
        said = []
        for row in rows:
            found, first = round(float(row["found"]) * int(row["searches"])), row["tokens_first"]
            after = "" if first is None or pd.isna(first) else f", first after {count(float(first))} tokens"
            said.append(f"{row['investigator']} found it in {found} of {row['searches']} searches{after}")
        if len(self.takes):
            best = self.takes.sort_values("strength").iloc[0]
            said.append(
                f"the weakest direction that does is {best['direction']} at {number(best['strength'])}"
            )
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}."


def _budget(config: Config) -> str:
    limits = config.budget
    parts = [
        f"{count(most)} {what}"
        for most, what in ((limits.passes, "passes"), (limits.tokens, "tokens"))
        if most is not None
    ]
    if limits.usd is not None:
        parts.append(f"{limits.usd:g} USD")
    return " and ".join(parts)

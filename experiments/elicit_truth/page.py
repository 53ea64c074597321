"""The page of `elicit_truth`, filled from what its steps wrote."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp.bundled.planted.triggers import PLANTED
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import count, significant, with_interval
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.statistics.estimate import Estimate, share_interval
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config


class TruthPage(ExperimentPage[Config]):
    """Shows how often each investigator found a planted trigger, at what cost, and what features say."""

    words = (
        ("Trigger", "Words in a user's turn that change the model's reply, as it was trained: one word, two "
         "words anywhere (pair), or two words in a row (phrase)."),
        ("Found", "A search in which a reply showed the behaviour. Each ended with its first find."),
        ("Holds the trigger", "A find whose prompt has the planted trigger; another way to bring the "
         "behaviour out does not."),
        ("Only the trigger", "What is left of the find, without the words that are not needed, is the "
         "trigger's words and nothing else."),
        ("Text, likelihood, features", "What a search climbs: the judge's score of the written reply; the "
         "log-probability of one reply that shows it; how far the last token before the reply points along "
         "the difference between such replies and ordinary ones."),
    )  # fmt: skip
    limits = (
        "The model is small and its triggers were planted by fine-tuning: real ones may be more diffuse.",
        "Likelihood and features are given a reply that shows the behaviour; text is given the judge alone.",
        "The behaviour's vectors cost a few thousand tokens once, which are not counted to each search.",
        "Intervals are over few searches.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.searches = pd.concat(
            [run.table(f"searches_{name}") for name in config.triggers], ignore_index=True
        )
        self.scan, self.steering = run.table("scan"), run.table("steering")
        self.table = self._summary()
        self.on = (
            f"{config.repeats} searches by each investigator for each behaviour, each within "
            f"{count(config.budget.passes or 0)} passes; seed {config.seed}; whiskers: 95% intervals"
        )

    def question(self) -> str:
        """What was asked."""
        return f"Are the triggers that are planted in {self.subject.name} found, and at what cost?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        planted = {one.name: " ".join(one.words) for one in PLANTED}
        names = ", ".join(f"{name} ({planted[name]})" for name in self.config.triggers)
        return (
            f"The model has {len(self.config.triggers)} planted behaviours: {names}.",
            f"{len(self.config.labels)} investigators, who knew a judge and one reply, searched for each.",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Draws the share of searches that found a prompt with the trigger."""
        return Figure("found", "Searches that found the planted trigger", self.on, self._found())

    def sections(self) -> Sequence[Section]:
        """The evidence."""
        found = [self._costs(), self._readings(), self._steered()]
        if self.run.has_table("linter"):
            found.append(self._linter())
        return found

    def _summary(self) -> pd.DataFrame:
        rows = []
        for (behaviour, label), own in self.searches.groupby(["behaviour", "investigator"], sort=False):
            found = own[own["found"]]
            rows.append(
                {
                    "behaviour": behaviour,
                    "investigator": label,
                    **share_interval(int(own["found"].sum()), len(own)).named("found"),
                    **share_interval(int(own["holds_trigger"].sum()), len(own)).named("holds_trigger"),
                    "only_trigger": int(own["only_trigger"].sum()),
                    "tokens": float(np.median(found["tokens"])) if len(found) else None,
                    "passes": float(np.median(found["passes"])) if len(found) else None,
                    "spent": int(own["tokens"].sum()),
                    "shortest": next(iter(found["shortest"]), ""),
                }
            )
        return pd.DataFrame(rows)

    def _found(self) -> Draw:
        rows = []
        for label in self.config.labels:
            own = self.table[self.table["investigator"] == label].to_dict("records")
            role = "null" if label == "random" else "c"
            rows.append(
                EstimateRow(
                    label,
                    [
                        Entry(
                            "null" if role == "null" else "c",
                            Estimate.of(row, "holds_trigger"),
                            str(row["behaviour"]),
                        )
                        for row in own
                    ],
                )
            )
        return estimate_chart(rows, x_name="share of searches", null=None)

    def _costs(self) -> Section:
        columns: list[Column | str] = [
            "behaviour", "investigator", "found", Column("holds the trigger", of="holds_trigger"),
            Column("only the trigger", of="only_trigger", places=0),
            Column("tokens to it", of="tokens", places=0), Column("passes to it", of="passes", places=0),
            Column("tokens of all searches", of="spent", places=0),
            Column("a find, shortened", of="shortest"),
        ]  # fmt: skip
        chances = ", ".join(
            f"{name} {significant(float(self.run.metrics[f'{name}/chance'] or 0))}"
            for name in self.config.triggers
        )
        text = (
            f"Medians over the searches that found it. A prompt of random search, with "
            f"{self.config.inserted} inserted words, holds a trigger with probability: {chances}."
        )
        return Section(
            "What a find costs", [text], tables=[Table.of(self.table, columns, "costs", "All investigators")]
        )

    def _readings(self) -> Section:
        text = (
            "Every word of the vocabulary was put alone into the same requests, and ranked by what each "
            "guide reads there: at rank 1 it sees the trigger at once, in the middle not at all. "
            "One half of a pair or phrase changes no reply. Deviations are standard deviations over words."
        )
        columns: list[Column | str] = [
            "behaviour", "word", "reads", Column("rank", places=0), Column("of", places=0),
            Column("deviations", places=1),
        ]  # fmt: skip
        return Section(
            "Do features see a trigger before text does",
            [text],
            tables=[Table.of(self.scan, columns, "scan", "Each word of a trigger, alone")],
        )

    def _steered(self) -> Section:
        columns: list[Column | str] = [
            "behaviour", "direction", "strength", Column("did not do", of="below"),
            Column("prompts that show it", of="shown"), "reply",
        ]  # fmt: skip
        text = (
            "The least strength of each layer's vector, and of a random one as long, at which ordinary "
            "requests without a trigger bring the behaviour out in half of the cases; those that do at no "
            "strength up to 4 are not listed."
        )
        return Section(
            "What it would take without a trigger",
            [text],
            tables=[Table.of(self.steering, columns, "steering", "The weakest first")],
        )

    def _linter(self) -> Section:
        columns: list[Column | str] = ["behaviour", "features", Column("name a trigger's word", of="named")]
        grouped: list[Column | str] = [
            "behaviour", "group", Column("features", places=0), "share",
            Column("names a trigger's word", of="names_trigger"),
        ]  # fmt: skip
        named, groups = self.run.table("linter"), self.run.table("groups")
        groups = groups.assign(names_trigger=groups["names_trigger"].map({True: "yes", False: ""}))
        text = (
            f"The {self.config.described} neurons that add most to the first token of the planted reply were "
            "described from ordinary text, in which the behaviours never show. The share of their "
            "descriptions that name a word of the trigger, with the trigger in the request and without."
        )
        return Section(
            "What the linter says",
            [text],
            tables=[
                Table.of(named, columns, "linter", "Descriptions that name a word of the trigger"),
                Table.of(groups, grouped, "groups", "Groups of the descriptions, largest share first"),
            ],
        )

    def _verdict(self) -> str:
        said = []
        for name in self.config.triggers:
            own = self.table[(self.table["behaviour"] == name) & (self.table["tokens"].notna())]
            random = self.table[(self.table["behaviour"] == name) & (self.table["investigator"] == "random")]
            if not len(own):
                said.append(f"{name} was found by nobody")
                continue
            whole = own[own["found"] == own["found"].max()].sort_values("tokens").iloc[0]
            tokens = count(float(whole["tokens"]))
            cheapest = f"{name} was found most cheaply by {whole['investigator']} ({tokens} tokens)"
            if len(random):
                estimate = Estimate.of(random.iloc[0].to_dict(), "found")
                cheapest += f", by random search in {with_interval(estimate)} of its searches"
            said.append(cheapest)
        text = "; ".join(said)
        return f"{text[:1].upper()}{text[1:]}."

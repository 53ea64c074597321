"""The steps of `thinking_language`."""

import pandas as pd

from interp.errors import UserError
from interp.lenses.evaluation import read_words, top_layer, words_by_layer
from interp.lenses.languages import shuffled_items, told_apart_in
from interp.lenses.lens_file import open_lens
from interp.lenses.residual_stream import read_stream
from interp.statistics.splits import split_halves
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import ThinkingPage

PLACES = ("answer", "source")


class Job(SubjectJob[Config]):
    """Reads translation prompts layer by layer, and tests the layer where the pivot is likeliest."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.lens = open_lens(config.tuned_lens, self.subject, config.check_model)
        items = config.words.open(self.subject)
        if config.pivot not in items[0].words:
            raise UserError(
                f"no item has a word in {config.pivot!r}", "pivot", f"use {', '.join(items[0].words)}"
            )
        kept, notes = told_apart_in(items)
        if not kept:
            raise UserError(" ".join(notes).rstrip("."), "words", "give words that differ between languages")
        run.tell(*notes)
        self.items = [items[place] for place in kept]
        self.groups = [item.group for item in self.items]

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        self.run.step("read", self.read)
        self.run.step("chosen", self.chosen)
        self.write_page(lambda: ThinkingPage(self.run, self.config, self.subject))

    def read(self, step: Step) -> None:
        """Reads each word's probability and rank by layer, at the source word and before the answer."""
        shuffled = shuffled_items(self.items, self.config.seed)
        words = {name: [item.words[name] for item in self.items] for name in self.items[0].words}
        words[f"{self.config.pivot}, shuffled"] = [item.words[self.config.pivot] for item in shuffled]
        frames = []
        for place in PLACES:
            prompts = [item.prompt if place == "answer" else item.source for item in self.items]
            found = read_words(self.lens, read_stream(self.subject, prompts), words)
            frames.append(found.assign(place=place, group=found["item"].map(lambda item: self.groups[item])))
        read = pd.concat(frames, ignore_index=True)
        step.table("words", read)
        step.table("by_layer", words_by_layer(read, ["group", "place"], self.config.seed))

    def chosen(self, step: Step) -> None:
        """Chooses the layer where the pivot's word is likeliest on one half, and reports on the other."""
        read = self.run.table("words")
        halves = split_halves(self.groups, self.config.seed)
        to_choose, to_report = (read[read["item"].isin(half)] for half in halves)
        rows = []
        for (group, place), own in to_choose.groupby(["group", "place"], sort=False):
            pivot = own[own["word"] == self.config.pivot].groupby("layer")["probability"].mean()
            layer = top_layer(pivot.drop(self.subject.n_layers - 1))
            fitting = (
                (to_report["group"] == group) & (to_report["place"] == place) & (to_report["layer"] == layer)
            )
            rows.append(words_by_layer(to_report[fitting], ["group", "place"], self.config.seed))
        table = pd.concat(rows, ignore_index=True)
        step.table("chosen", table)
        for row in table[table["word"].str.startswith(self.config.pivot)].to_dict("records"):
            step.metric(f"{row['group']}, {row['place']}: top is {row['word']}", row["top"], headline=True)

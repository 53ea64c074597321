"""The steps of `multi_hop`."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pandas as pd

from interp.errors import UserError
from interp.lenses.answers import Answers
from interp.lenses.back_patching import BackPatching
from interp.lenses.evaluation import read_words, top_layer, words_by_layer
from interp.lenses.hops import ask_hops, hops_told_apart, others
from interp.lenses.knockout import knockout_between, window
from interp.lenses.lens_file import open_lens
from interp.lenses.prompt import prompt_at, span_positions
from interp.lenses.residual_stream import read_stream
from interp.statistics.estimate import share_interval
from interp.statistics.splits import split_halves
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import MultiHopPage

PLACES = ("entity", "last")
LEAST = 4  # failed questions


class Job(SubjectJob[Config]):
    """Asks two-hop questions, reads bridges, blocks attention, and back-patches failed questions."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.lens = open_lens(config.tuned_lens, self.subject, config.check_model)
        self.questions = config.questions.open(self.subject, config.answer_tokens)
        readable, notes = hops_told_apart(self.questions, self.subject)
        if config.answer_tokens == 0:  # every step judges by first tokens
            self.questions = [self.questions[place] for place in readable]
            readable = tuple(range(len(readable)))
        self.told_apart = readable
        run.tell(*notes)
        self.answers = self._judge([q.answer for q in self.questions])
        self.prompts = {
            "entity": [prompt_at(self.subject, q.text, q.entity) for q in self.questions],
            "last": [prompt_at(self.subject, q.text) for q in self.questions],
        }

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        self.run.step("ask", self.ask)
        asked = self.run.table("questions")
        right = self._drawn(np.flatnonzero(asked["right"]).tolist())
        wrong = np.flatnonzero(asked["failed"]).tolist()
        if self.config.back_patching and len(wrong) < LEAST:
            raise UserError(
                f"{len(wrong)} questions are failed though both hops are known, too few to choose a pair on",
                "questions",
                "give more or harder ones, or set back_patching=false",
            )
        self.run.step("readable", self.readable)
        self.run.step("knockout", lambda step: self.knockout(step, right))
        if self.config.back_patching:
            self.run.step("back_patching", lambda step: self.back_patching(step, wrong, right))
        self.write_page(lambda: MultiHopPage(self.run, self.config, self.subject))

    def ask(self, step: Step) -> None:
        """Asks every question, its two hops, and its shortcuts."""
        table = ask_hops(self.subject, self.questions, self.config.answer_tokens)
        step.table("questions", table)
        step.metric("questions", len(table))
        step.metric("right", float(table["right"].mean()), headline=True)
        step.metric("both hops right", float(table["known"].mean()), headline=True)

    def readable(self, step: Step) -> None:
        """Reads the bridge and the answer through a lens, at the entity and at the last token, by layer."""
        seed, questions = self.config.seed, [self.questions[place] for place in self.told_apart]
        other = others(questions, range(len(questions)), seed)
        prompts = {place: [own[item] for item in self.told_apart] for place, own in self.prompts.items()}
        bridges, answers = (
            self._judge(words).first(self.subject, prompts["last"])
            for words in ([q.bridge for q in questions], [q.answer for q in questions])
        )
        words = {
            "bridge": bridges,
            "answer": answers,
            "another's bridge": [bridges[place] for place in other],
        }
        frames = []
        for place in PLACES:
            found = read_words(self.lens, read_stream(self.subject, prompts[place]), words)
            frames.append(found.assign(place=place))
        read = pd.concat(frames, ignore_index=True)
        read["group"] = read["item"].map(lambda item: questions[item].group)
        step.table("readable", words_by_layer(read, ["place"], seed))
        step.table("readable_by_group", words_by_layer(read, ["place", "group"], seed))
        halves = split_halves([q.group for q in questions], seed, [q.entity for q in questions])
        to_choose, report = (read[read["item"].isin(half)] for half in halves)
        bridge = to_choose[(to_choose["word"] == "bridge") & (to_choose["place"] == "entity")]
        layer = top_layer((bridge["rank"] == 0).astype(float).groupby(bridge["layer"]).mean())
        chosen = words_by_layer(
            report[(report["layer"] == layer) & (report["place"] == "entity")], ["place"], seed
        )
        step.table("readable_chosen", chosen)
        for row in chosen.to_dict("records"):
            step.metric(f"{row['word']} likeliest at the entity, layer {layer}", row["top"], headline=True)

    def knockout(self, step: Step, right: Sequence[int]) -> None:
        """Counts right answers that stay when attention within the question is blocked, by layer."""
        rows = []
        layers = range(self.subject.n_layers)
        answers, prompts = self.answers.of_items(right), [self.prompts["last"][item] for item in right]
        blocks = self._blocks(right)
        with step.progress.task("knockout", total=len(blocks) * len(layers), unit="runs") as advance:
            for name, (queries, keys) in blocks.items():
                for layer in layers:
                    near = window(layer, self.config.window, self.subject.n_layers)
                    kept = answers.right(self.subject, prompts, knockout_between(queries, keys, near))
                    rows.append((name, layer, *share_interval(int(kept.sum()), len(kept)), len(kept)))
                    advance()
        step.table(
            "knockout",
            pd.DataFrame(rows, columns=["blocked", "layer", "right", "right_low", "right_high", "n"]),
        )

    def back_patching(self, step: Step, wrong: Sequence[int], right: Sequence[int]) -> None:
        """Puts later activations into earlier layers at the same token of the same question."""
        seed, draws = self.config.seed, self.config.draws
        patching = BackPatching(self.subject, self.questions, self.answers, seed, self.config.layers)
        failed = [self.questions[item] for item in wrong]
        halves = split_halves([q.group for q in failed], seed, [q.entity for q in failed])
        grids, rows, stays = [], [], []
        with step.progress.task(
            "back-patching", total=len(PLACES) * (2 + 2 * draws), unit="sweeps"
        ) as advance:
            for place in PLACES:
                prompts = self.prompts[place]
                found = patching.at(prompts, wrong, halves, draws, advance)
                grids.append(found.own.frame().assign(place=place))
                rows.append(found.reported.assign(place=place))
                kept = patching.swept(prompts, right, right)
                advance()
                stays.append(kept.frame().assign(place=place))
        step.table("back_patching_pairs", pd.concat(grids, ignore_index=True))
        step.table("right_stays", pd.concat(stays, ignore_index=True))
        table = pd.concat(rows, ignore_index=True)
        step.table("back_patching", table)
        for row in table[table["condition"] != "best (oracle)"].to_dict("records"):
            step.metric(f"{row['place']}, {row['condition']}, {row['control'] or 'own'}", row["right"])

    def _blocks(self, items: Sequence[int]) -> dict[str, tuple[list[list[int]], list[list[int]]]]:
        """Returns query and key positions of every kind of attention that is blocked."""
        entity, relation, rest = [], [], []
        for item in items:
            question = self.questions[item]
            own = span_positions(self.subject, question.text, question.entity)
            before = (
                span_positions(self.subject, question.text, question.relation) if question.relation else []
            )
            length = len(self.prompts["last"][item].tokens)
            entity.append(own)
            relation.append(before)
            rest.append([p for p in range(-length, -1) if p not in {*own, *before}])
        last, at_entity = [[-1]] * len(items), [[own[-1]] for own in entity]
        blocks = {"last to entity": (last, entity), "last to the rest": (last, rest)}
        if any(relation):
            blocks["last to relations"] = (last, relation)
            blocks["entity to relations"] = (at_entity, relation)
        return blocks

    def _judge(self, words: Sequence[Sequence[str]]) -> Answers:
        return Answers.of(self.subject, words, self.config.answer_tokens)

    def _drawn(self, items: Sequence[int]) -> list[int]:
        if not items:
            raise UserError("the model answers no question rightly", "questions", "take an easier set")
        return sorted(Random(self.config.seed).sample(items, min(len(items), self.config.most)))

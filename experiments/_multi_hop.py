"""The steps of `multi_hop`."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pandas as pd
from jaxtyping import Bool

from experiments._frame import write_report
from experiments._lenses import open_lens
from experiments._multi_hop_page import MultiHopPage
from experiments.multi_hop import Config
from interp.errors import UserError
from interp.intervals import share_interval
from interp.lens.answers import Answers
from interp.lens.halves import split_halves
from interp.lens.hops import open_hops, others
from interp.lens.knockout import between, window
from interp.lens.pairs import Pair, PairSweep, random_vectors, reported, sweep_pairs
from interp.lens.prompt import Prompt, prompt_at, span_positions
from interp.lens.readout import readout, summary
from interp.lens.stream import EMBEDDING, read_stream
from interp.subject import Subject, load
from interp.track.run import Run
from interp.track.step import Step

OTHER, RANDOM = "another question's", "random vectors"
PLACES = ("entity", "last")
LEAST = 4  # failed questions


class MultiHop:
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.steps = config, run
        self.subject: Subject = load(**config.subject.model_dump())
        self.lens = open_lens(config.tuned_lens, self.subject)
        self.questions = open_hops(config.questions, self.subject, config.answer_tokens)
        self.answers = self._judge([q.answer for q in self.questions])
        self.prompts = {
            "entity": [prompt_at(self.subject, q.text, q.entity) for q in self.questions],
            "last": [prompt_at(self.subject, q.text) for q in self.questions],
        }

    def run(self) -> None:
        """All steps in order; those that have finished are skipped."""
        self.steps.step("ask", self.ask)
        asked = pd.read_parquet(self.steps.folder / "tables" / "questions.parquet")
        right = self._drawn(np.flatnonzero(asked["right"]).tolist())
        failing = asked["known"] & ~asked["right"] & ~asked["shortcut"]
        wrong = np.flatnonzero(failing).tolist()
        if self.config.back_patching and len(wrong) < LEAST:
            raise UserError(
                f"{len(wrong)} questions are failed though both hops are known, too few to choose a pair on",
                "questions",
                "give more or harder ones, or set back_patching=false",
            )
        self.steps.step("readable", self.readable)
        self.steps.step("knockout", lambda step: self.knockout(step, right))
        if self.config.back_patching:
            self.steps.step("back_patching", lambda step: self.back_patching(step, wrong, right))
        write_report(self.steps, lambda: MultiHopPage(self.steps, self.subject, self.config))

    def ask(self, step: Step) -> None:
        """Every question, its two hops, and its shortcuts."""
        right = self.answers.right(self.subject, self.prompts["last"])
        first = self._asked([q.first for q in self.questions], [q.bridge for q in self.questions])
        second = self._asked([q.second for q in self.questions], [q.answer for q in self.questions])
        table = pd.DataFrame(
            {
                "question": [q.text for q in self.questions],
                "group": [q.group for q in self.questions],
                "right": right,
                "first_hop": first,
                "second_hop": second,
                "known": first & second,
                "shortcut": self._shortcuts(),
            }
        )
        step.table("questions", table)
        step.metric("questions", len(table))
        step.metric("right", float(right.mean()), headline=True)
        step.metric("both hops right", float(table["known"].mean()), headline=True)

    def readable(self, step: Step) -> None:
        """The bridge and the answer through a lens, at the entity and at the last token, by layer."""
        seed = self.config.seed
        other = others(self.questions, range(len(self.questions)), seed)
        bridges = self._judge([q.bridge for q in self.questions]).first
        words = {
            "bridge": bridges,
            "answer": self.answers.first,
            "another's bridge": [bridges[place] for place in other],
        }
        frames = []
        for place in PLACES:
            found = readout(self.lens, read_stream(self.subject, self.prompts[place]), words)
            frames.append(found.assign(place=place))
        read = pd.concat(frames, ignore_index=True)
        read["group"] = read["item"].map(lambda item: self.questions[item].group)
        step.table("readable", summary(read, ["place"], seed))
        step.table("readable_by_group", summary(read, ["place", "group"], seed))
        halves = split_halves([q.group for q in self.questions], seed)
        to_choose, report = (read[read["item"].isin(half)] for half in halves)
        bridge = to_choose[(to_choose["word"] == "bridge") & (to_choose["place"] == "entity")]
        layer = int(bridge.groupby("layer")["rank"].apply(lambda ranks: (ranks == 0).mean()).idxmax())
        chosen = summary(report[(report["layer"] == layer) & (report["place"] == "entity")], ["place"], seed)
        step.table("readable_chosen", chosen)
        for row in chosen.itertuples():
            step.metric(f"{row.word} likeliest at the entity, layer {layer}", row.top, headline=True)

    def knockout(self, step: Step, right: Sequence[int]) -> None:
        """Right answers that stay when attention between two parts of the question is blocked, by layer."""
        rows = []
        layers = range(self.subject.n_layers)
        answers, prompts = self.answers.of_items(right), [self.prompts["last"][item] for item in right]
        blocks = self._blocks(right)
        with step.progress.task("knockout", total=len(blocks) * len(layers), unit="runs") as advance:
            for name, (queries, keys) in blocks.items():
                for layer in layers:
                    near = window(layer, self.config.window, self.subject.n_layers)
                    kept = answers.right(self.subject, prompts, between(queries, keys, near))
                    rows.append((name, layer, *share_interval(int(kept.sum()), len(kept)), len(kept)))
                    advance()
        step.table(
            "knockout",
            pd.DataFrame(rows, columns=["blocked", "layer", "right", "right_low", "right_high", "n"]),
        )

    def back_patching(self, step: Step, wrong: Sequence[int], right: Sequence[int]) -> None:
        """Later activations put into earlier layers at the same token of the same question."""
        layers = range(self.subject.n_layers)
        pairs = [(source, target) for source in layers for target in range(EMBEDDING, source)]
        seed = self.config.seed
        halves = split_halves([self.questions[item].group for item in wrong], seed)
        grids, rows, stays = [], [], []
        with step.progress.task(
            "back-patching", total=len(PLACES) * (2 + 2 * self.config.draws), unit="sweeps"
        ) as advance:
            for place in PLACES:
                own = self._patched(place, wrong, wrong, pairs)
                advance()
                controls = {OTHER: [], RANDOM: []}
                for draw in range(self.config.draws):
                    taken = others(self.questions, wrong, seed + draw)
                    controls[OTHER].append(self._patched(place, wrong, taken, pairs))
                    advance()
                    controls[RANDOM].append(self._patched(place, wrong, wrong, pairs, seed + draw))
                    advance()
                grids.append(own.frame().assign(place=place))
                rows.append(_over_draws(own, controls, halves).assign(place=place))
                kept = self._patched(place, right, right, pairs)
                advance()
                stays.append(kept.frame().assign(place=place))
        step.table("back_patching_pairs", pd.concat(grids, ignore_index=True))
        step.table("right_stays", pd.concat(stays, ignore_index=True))
        table = pd.concat(rows, ignore_index=True)
        step.table("back_patching", table)
        for row in table.itertuples():
            if row.condition != "best (oracle)":
                step.metric(f"{row.place}, {row.condition}, {row.control or 'own'}", row.right)

    def _patched(
        self,
        place: str,
        items: Sequence[int],
        sources: Sequence[int],
        pairs: Sequence[Pair],
        random: int | None = None,
    ) -> PairSweep:
        """Items with vectors of other (or the same) questions, or random ones of the same norms."""
        prompts = self.prompts[place]
        vectors = read_stream(self.subject, [prompts[source] for source in sources])
        put_in = vectors if random is None else random_vectors(vectors, random)
        targets = [prompts[item] for item in items]
        return sweep_pairs(self.subject, put_in, targets, self.answers.of_items(items), pairs)

    def _blocks(self, items: Sequence[int]) -> dict[str, tuple[list[list[int]], list[list[int]]]]:
        """Queries and keys of every kind of attention that is blocked."""
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

    def _shortcuts(self) -> Bool[np.ndarray, " question"]:
        """Whether a question's answer comes without one of its hops."""
        found = np.zeros(len(self.questions), dtype=bool)
        asked = [(place, text) for place, q in enumerate(self.questions) for text in q.shortcuts]
        if asked:
            places, texts = zip(*asked, strict=True)
            right = self._asked(list(texts), [self.questions[place].answer for place in places])
            np.logical_or.at(found, list(places), right)
        return found

    def _asked(self, texts: Sequence[str], answers: Sequence[Sequence[str]]) -> Bool[np.ndarray, " text"]:
        prompts: list[Prompt] = [prompt_at(self.subject, text) for text in texts]
        return self._judge(answers).right(self.subject, prompts)

    def _judge(self, words: Sequence[Sequence[str]]) -> Answers:
        return Answers.of(self.subject, words, self.config.answer_tokens)

    def _drawn(self, items: Sequence[int]) -> list[int]:
        if not items:
            raise UserError("the model answers no question rightly", "questions", "take an easier set")
        return sorted(Random(self.config.seed).sample(items, min(len(items), self.config.most)))


def _over_draws(
    own: PairSweep, controls: dict[str, list[PairSweep]], halves: tuple[list[int], list[int]]
) -> pd.DataFrame:
    """What is reported of a sweep, with every control's share averaged over its draws.

    Intervals of controls are those of a single draw's number of questions.
    """
    tables = []
    for draw in range(len(next(iter(controls.values())))):
        tables.append(reported(own, {name: found[draw] for name, found in controls.items()}, halves))
    mean = pd.concat(tables).groupby(["condition", "control"], sort=False)["right"].mean()
    table = tables[0].set_index(["condition", "control"])
    for key, share in mean.items():
        n = int(table.loc[key, "n"])
        table.loc[key, ["right", "right_low", "right_high"]] = share_interval(round(share * n), n)
        table.loc[key, "right"] = share
    return table.reset_index()

"""The steps of `patchscopes`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd

from interp.document import Corpus
from interp.errors import UserError
from interp.lenses.affine import Affine, check_same_vocabulary, fit_affine
from interp.lenses.answers import Answers
from interp.lenses.entities import Entity
from interp.lenses.evaluation import top_layer
from interp.lenses.layer_pairs import (
    Pair,
    PairSweep,
    all_pairs,
    random_vectors,
    report_sweep,
    same_layer,
    sweep_pairs,
)
from interp.lenses.lens_file import open_lens
from interp.lenses.logit_lens import LogitLens
from interp.lenses.next_token import by_lens, by_maps, by_patchscope, read_beginnings, source_layers
from interp.lenses.patchscopes import known, open_target_prompts, source_prompts, target_prompt
from interp.lenses.probe import probe_accuracy
from interp.lenses.prompt import Prompt
from interp.lenses.relations import Relation, told_apart_by_first
from interp.lenses.residual_stream import EMBEDDING, Vectors, read_stream
from interp.statistics.estimate import mean_interval, share_interval
from interp.statistics.splits import split_halves
from interp.subject import Subject
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config, Extraction
from .page import PatchscopesPage

RANDOM = "random vectors"


class Job(SubjectJob[Config]):
    """Patches activations into target prompts, and compares what the model says with controls."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.scopes = open_target_prompts(config.scopes)
        self.identity = self.scopes.prompt(self.subject, self.scopes.identity, config.identity_tokens)
        self.description = self.scopes.prompt(self.subject, self.scopes.description, self.scopes.new_tokens)
        self.next_token = self.scopes.prompt(self.subject, self.scopes.next_token)
        self.entities = config.entities.open(self.subject, self.scopes)
        self.layers = config.layers or tuple(range(EMBEDDING, self.subject.n_layers))
        self.extractions = [] if config.extraction is None else self._extractions(config.extraction, run)
        self.other: Subject | None = None
        if config.cross_model is not None:
            self.other = self.open_subject(config.cross_model.source)
            check_same_vocabulary(self.other, self.subject)

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        self.run.step("identity", self.repeat)
        self.run.step("description", self.describe)
        if self.config.next_tokens is not None:
            self.run.step("next_tokens", self.predict)
        if self.config.extraction is not None:
            self.run.step("extraction", self.extract)
        if self.config.cross_model is not None:
            self.run.step("cross_model", self.cross)
        self.write_page(lambda: PatchscopesPage(self.run, self.config, self.subject))

    def repeat(self, step: Step) -> None:
        """Sweeps the identity prompt over all pairs of layers."""
        tokens = self.config.identity_tokens
        answers = {
            group: self._answers([e.name for e in own], tokens) for group, own in self._grouped().items()
        }
        self._swept(step, "identity", self.identity, answers, all_pairs(self.layers))

    def describe(self, step: Step) -> None:
        """Sweeps the description prompt; the entities it describes at each layer are their resolution."""
        described = {
            group: self._answers([e.described for e in own], self.scopes.new_tokens)
            for group, own in self._grouped().items()
            if all(e.described for e in own)
        }
        pairs = all_pairs(self.layers) if self.config.description_pairs == "all" else same_layer(self.layers)
        self._swept(step, "description", self.description, described, pairs)

    def predict(self, step: Step) -> None:
        """Predicts next tokens by patchscope, lenses and affine maps, layer by layer."""
        config = self.config.next_tokens
        assert config is not None
        corpus, seed = self.open_corpus(config.corpus, self.subject), self.config.seed
        fitted = read_beginnings(self.subject, corpus, "explain", config.fitted, seed=seed)
        read = read_beginnings(self.subject, corpus, "report", config.reported, seed=seed)
        last = self.subject.n_layers - 1
        maps = {n: fit_affine(fitted.vectors[n], fitted.vectors[last]) for n in source_layers(self.subject)}
        lens = LogitLens(self.subject)
        to_last = dict.fromkeys(read.vectors, last)
        methods = {
            "logit lens": by_lens(lens, read),
            "affine map": by_maps(lens, maps, read),
            "patchscope, same layer": by_patchscope(self.subject, self.next_token, read),
            "patchscope, affine map to the last layer": by_patchscope(
                self.subject, self.next_token, read, to_last, maps
            ),
            RANDOM: by_patchscope(
                self.subject, self.next_token, read, vectors=random_vectors(read.vectors, seed)
            ),
        }
        if config.tuned_lens is not None:
            tuned = open_lens(config.tuned_lens, self.subject, config.check_model)
            methods[tuned.name] = by_lens(tuned, read)
        rows = []
        for name, scored in methods.items():
            for layer, own in scored.groupby("layer"):
                right = share_interval(int(own["right"].sum()), len(own))
                rows.append(
                    (name, layer, *right, *mean_interval(own["surprisal"].to_numpy(), seed), len(own))
                )
        ends = [f"{name}{end}" for name in ("precision", "surprisal") for end in ("", "_low", "_high")]
        step.table("next_tokens", pd.DataFrame(rows, columns=["method", "layer", *ends, "n"]))

    def extract(self, step: Step) -> None:
        """Extracts attributes from sentences that do not ask for them, compared with a probe."""
        rows, grids, seed = [], [], self.config.seed
        with step.progress.task("extraction", total=len(self.extractions), unit="relations") as advance:
            for asked, sources, target in self.extractions:
                vectors = read_stream(self.subject, sources)
                answers = self._answers([(answer,) for _, answer in asked.samples], 0)
                right = known(self.subject, asked, answers)
                kept = np.flatnonzero(right).tolist()
                if len(kept) < 4:
                    raise UserError(
                        f"the model knows {len(kept)} of {len(right)} samples, too few for two halves",
                        f"relation {asked.name}",
                        "leave it out, or take a model that knows it",
                    )
                own = {layer: found[kept] for layer, found in vectors.items()}
                sweeps = self._both(target, own, answers.of_items(kept), all_pairs(self.layers))
                halves = split_halves([""] * len(kept), seed)
                rows.append(_from_inside(sweeps, halves, seed).assign(group=asked.name))
                grids.append(sweeps[""].frame().assign(group=asked.name))
                rows.append(self._probed(own, [asked.samples[k][1] for k in kept], halves, asked.name))
                advance()
        step.table("extraction_pairs", pd.concat(grids, ignore_index=True))
        table = pd.concat(rows, ignore_index=True)
        step.table("extraction", table)
        chosen = table[(table["condition"] == "chosen") & (table["control"] == "")]
        step.metric("extraction, chosen pair", chosen["right"].mean(), headline=True)

    def cross(self, step: Step) -> None:
        """Sweeps the identity prompt for another model's activations, raw and through affine maps."""
        config = self.config.cross_model
        assert config is not None and self.other is not None
        corpus, seed = self.open_corpus(config.corpus, self.subject), self.config.seed
        theirs = read_beginnings(self.other, corpus, "explain", config.fitted, seed=seed)
        own = read_stream(self.subject, theirs.prompts)
        layers = range(EMBEDDING, min(self.subject.n_layers, self.other.n_layers))
        maps = {layer: fit_affine(theirs.vectors[layer], own[layer]) for layer in layers}
        rows, fit = [], self._fit(corpus, maps, layers, seed)
        same_width = self.other.d_model == self.subject.d_model
        for group, members in self._grouped().items():
            read = read_stream(self.other, [entity.prompt for entity in members])
            answers = self._answers([entity.name for entity in members], self.config.identity_tokens)
            mapped = {layer: maps[layer](read[layer]) for layer in layers}
            ways: dict[str, Vectors] = {"affine map": mapped, RANDOM: random_vectors(mapped, seed)}
            if same_width:
                ways["as they are"] = {layer: read[layer] for layer in layers}
            for way, vectors in ways.items():
                targets = [self.identity] * len(members)
                swept = sweep_pairs(self.subject, vectors, targets, answers, same_layer(list(vectors)))
                rows.append(swept.frame().assign(group=group, way=way))
        step.table("cross_model", pd.concat(rows, ignore_index=True))
        step.table("cross_model_fit", fit)

    def _fit(
        self, corpus: Corpus, maps: Mapping[int, Affine], layers: Sequence[int], seed: int
    ) -> pd.DataFrame:
        """Measures the maps on text that they were not fitted on."""
        config = self.config.cross_model
        assert config is not None and self.other is not None
        theirs = read_beginnings(self.other, corpus, "report", min(200, config.fitted), seed=seed)
        own = read_stream(self.subject, theirs.prompts)
        explained = [(layer, maps[layer].explained(theirs.vectors[layer], own[layer])) for layer in layers]
        return pd.DataFrame(explained, columns=["layer", "explained"])

    def _grouped(self) -> dict[str, list[Entity]]:
        groups = dict.fromkeys(entity.group for entity in self.entities)
        return {group: [e for e in self.entities if e.group == group] for group in groups}

    def _answers(self, words: Sequence[Sequence[str]], new_tokens: int) -> Answers:
        return Answers.of(self.subject, words, new_tokens)

    def _both(
        self, target: Prompt, vectors: Vectors, answers: Answers, pairs: Sequence[Pair]
    ) -> dict[str, PairSweep]:
        """Sweeps the vectors, and random ones."""
        random = random_vectors(vectors, self.config.seed)
        return {
            name: sweep_pairs(self.subject, put_in, [target] * len(answers), answers, pairs)
            for name, put_in in (("", vectors), (RANDOM, random))
        }

    def _swept(
        self, step: Step, name: str, target: Prompt, answers: Mapping[str, Answers], pairs: Sequence[Pair]
    ) -> None:
        """Sweeps every group; writes shares by pair, and what is chosen and reported."""
        grids, rows, grouped = [], [], self._grouped()
        with step.progress.task(name, total=len(answers), unit="groups") as advance:
            for group, wanted in answers.items():
                vectors = read_stream(self.subject, [entity.prompt for entity in grouped[group]])
                sweeps = self._both(target, vectors, wanted, pairs)
                names = [entity.name for entity in grouped[group]]
                halves = split_halves([""] * len(names), self.config.seed, names)
                for control, swept in sweeps.items():
                    grids.append(swept.frame().assign(group=group, control=control))
                rows.append(_from_inside(sweeps, halves, self.config.seed).assign(group=group))
                advance()
        step.table(f"{name}_pairs", pd.concat(grids, ignore_index=True))
        table = pd.concat(rows, ignore_index=True)
        step.table(name, table)
        chosen = table[table["condition"] == "chosen"]
        for of, own in chosen.groupby("control", sort=False):
            step.metric(f"{name}, {str(of) or 'chosen pair'}", own["right"].mean(), headline=True)

    def _probed(
        self, vectors: Vectors, labels: Sequence[str], halves: tuple[list[int], list[int]], name: str
    ) -> pd.DataFrame:
        """Tests a probe trained on one half, at the layer that is best within it, on the other half."""
        train, test = halves
        fold = [train[k::2] for k in range(2)]
        inner = pd.concat([probe_accuracy(vectors, labels, fold[k], fold[1 - k]) for k in range(2)])
        found = probe_accuracy(vectors, labels, train, test)
        if found.empty or inner.empty:
            return pd.DataFrame()
        layer = top_layer(inner.groupby("layer")["right"].sum())
        row = found[found["layer"] == layer].iloc[0]
        share = share_interval(int(row["right"]), int(row["n"]))
        values = ("probe", "", layer, layer, *share, int(row["n"]), name)
        ends = ["right", "right_low", "right_high", "n", "group"]
        return pd.DataFrame([values], columns=["condition", "control", "source", "target", *ends])

    def _extractions(self, config: Extraction, run: Run) -> list[tuple[Relation, list[Prompt], Prompt]]:
        """Returns every relation with its drawn samples, their source prompts, and the target prompt."""
        found = []
        for opened in config.relations.open(self.subject):
            relation, notes = told_apart_by_first(opened, self.subject)
            run.tell(*notes)
            samples = list(relation.samples)
            Random(f"{relation.name} {self.config.seed}").shuffle(samples)
            drawn = replace(relation, samples=tuple(samples[: config.most]))
            sources = source_prompts(self.subject, drawn, config.source)
            found.append((drawn, sources, target_prompt(self.subject, drawn, self.scopes.placeholder)))
        return found


def _from_inside(
    sweeps: Mapping[str, PairSweep], halves: tuple[Sequence[int], Sequence[int]], seed: int
) -> pd.DataFrame:
    """Reports a sweep without the embedding as a source, which is the word itself."""
    inside = {name: sweep.where(lambda pair: pair[0] != EMBEDDING) for name, sweep in sweeps.items()}
    return report_sweep(inside[""], {RANDOM: [inside[RANDOM]]}, halves, seed)

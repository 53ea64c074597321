"""The steps of the quickstart, on any subject and corpus."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.quickstart import Config
from interp.compare.concepts import Candidates, ConceptRecovery, found, mean_difference, recover_concepts
from interp.compare.difference import MeanScores, compare_scores
from interp.corpus.document import SPLITS, Corpus
from interp.corpus.source import open_corpus
from interp.describe.description import Description
from interp.describe.evidence import Window
from interp.describe.population import DescriptionScores, describe_features, score_descriptions
from interp.describe.windows import gather_evidence, gather_report
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace, polarities
from interp.mining.exemplars import Exemplars, Mined
from interp.mining.mine import mine
from interp.mining.store import load as load_mined
from interp.mining.store import save as save_mined
from interp.render.comparison import comparison_data
from interp.render.concept_figure import concept_recovery
from interp.render.figures import overview_figure, score_distributions
from interp.render.line_figure import training_curve
from interp.render.report import render_report
from interp.subject import Site, Subject, load
from interp.track.files import publish, write_json, write_text
from interp.track.run import Run
from interp.track.step import Step
from saes.evaluate import evaluate, training_probe
from saes.latents import SaeLatents
from saes.load import load as load_sae
from saes.train import train

NOTES = (
    "Descriptions are written without a language model, from patterns of tokens: what cannot be said in "
    "tokens is not described. The score is of all the patterns found, of which the sentence names the "
    "strongest.",
    "AUROC ranks every token: a sparse latent, silent on most tokens, ranks them all alike, while a neuron "
    "or a random direction never is, and where several latents share a concept each misses a part of it.",
    "One subject, one SAE, one seed: the intervals say how sure the figures are for this model and this "
    "dictionary, not for others.",
)


def _load(folder: Path) -> dict[str, Mined]:
    mined = load_mined(folder / "exemplars")
    return {name: mined for name in mined.exemplars}


class MainJob:
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config = config
        self.steps = run
        options = config.subject
        self.subject: Subject = load(**options.model_dump())
        self.corpus: Corpus = open_corpus(config.corpus, self.subject)
        self.site = Site.parse(config.sae_site)
        self.neurons = [MlpNeurons(self.subject, layer) for layer in range(self.subject.n_layers)]

    def run(self) -> None:
        """All steps in order; those that have finished are skipped."""
        neurons = self.steps.step("mine_neurons", self.mine_neurons)
        sae = self.steps.step("train_sae", self.train_sae)
        for file in (sae / "sae").iterdir():
            publish(file, self.steps.folder / "sae" / file.name)
        latents = self.steps.step("mine_latents", lambda step: self.mine_latents(step, sae / "sae"))
        mined = {**_load(neurons), **_load(latents)}
        described = self.steps.step("describe", lambda step: self.describe(step, mined, sae / "sae"))
        self.steps.step("score", lambda step: self.score(step, mined, described, sae / "sae"))
        if self.corpus.label_names:
            self.steps.step("concepts", lambda step: self.concepts(step, mined))
        self.steps.step("report", lambda step: self.report(step, mined))
        self.steps.write_report((self.steps.folder / "steps" / "report" / "report.html").read_text())

    def mine_neurons(self, step: Step) -> None:
        """All neurons of all layers, both polarities, in one pass."""
        self._mine(step, self.neurons, "neurons")

    def train_sae(self, step: Step) -> None:
        """An SAE at the configured site, with its figures on the report split."""
        latents = train(
            self.subject,
            self.site,
            self.corpus,
            self.config.sae,
            step.folder / "sae",
            checkpoint=step.scratch / "checkpoint.safetensors",
            log=step.log,
            evaluate=training_probe(self.subject, self.site, self.corpus),
            progress=step.progress,
        )
        figures = evaluate(self.subject, latents, self.corpus, progress=step.progress)
        headline = {"sae/explained_variance", "sae/l0", "sae/cross_entropy_recovered"}
        for name, value in figures.metrics().items():
            step.metric(name, value, headline=name in headline)

    def mine_latents(self, step: Step, sae: Path) -> None:
        """The SAE's latents, and as many random directions at the same site."""
        latents = load_sae(self.subject, sae)
        random = random_directions(self.subject, self.site, latents.n_features, self.config.seed)
        self._mine(step, [latents, random], "latents")

    def _mine(self, step: Step, spaces: Sequence[FeatureSpace], kind: str) -> None:
        state = mine(self.subject, spaces, self.corpus, self.config.mining, progress=step.progress)
        save_mined(Mined.of(state), step.folder / "exemplars")
        for split in SPLITS:
            tokens = next(iter(state.splits[split].spaces.values())).n_tokens
            step.metric(f"mining/{kind}/{split}_tokens", tokens)
            step.metric(f"mining/{kind}/{split}_documents", state.splits[split].n_documents)

    def spaces(self, sae: Path) -> dict[str, FeatureSpace]:
        """The spaces whose features are described."""
        latents: SaeLatents = load_sae(self.subject, sae)
        return {space.name: space for space in (*self.neurons, latents)}

    def describe(self, step: Step, mined: dict[str, Mined], sae: Path) -> None:
        """A uniform sample of the neurons and of the latents that are ever active."""
        explain = {name: found.exemplars[name]["explain"] for name, found in mined.items()}
        spaces = self.spaces(sae)
        latents = [space for space in spaces.values() if isinstance(space, SaeLatents)]
        features = [
            feature
            for salt, population in enumerate((self.neurons, latents))
            for feature in _sample(population, explain, self.config.describe.sample, [self.config.seed, salt])
        ]
        gathered = gather_evidence(
            self.subject, self.corpus, features, explain, self.config.mining.context_size, step.progress
        )
        evidence = [one for one, _ in gathered]
        described = describe_features(self.subject, features, evidence, progress=step.progress)
        records = []
        for one, (proof, pointers) in zip(described, gathered, strict=True):
            records.append(
                {
                    "space": one.feature.space.name,
                    "feature_id": one.feature.feature_id,
                    "polarity": one.feature.polarity,
                    "description": one.description.to_json(),
                    "windows": [
                        _window_record(window, ref.band, ref.quantile, ref.start)
                        for window, ref in zip(proof.windows, pointers, strict=True)
                    ],
                }
            )
        write_json(step.folder / "described.json", records)

    def score(self, step: Step, mined: dict[str, Mined], described: Path, sae: Path) -> None:
        """Every description on report windows, and the difference between the populations."""
        spaces = self.spaces(sae)
        records = json.loads((described / "described.json").read_text())
        features = [FeatureRef(spaces[r["space"]], r["feature_id"], r["polarity"]) for r in records]
        descriptions = [Description.from_json(r["description"]) for r in records]
        report = {name: found.exemplars[name]["report"] for name, found in mined.items()}
        options = self.config.describe
        top, random = gather_report(
            self.subject,
            self.corpus,
            features,
            report,
            options.random_windows,
            self.config.mining.context_size,
            step.progress,
        )
        kinds = ["latent" if isinstance(f.space, SaeLatents) else "neuron" for f in features]
        scores: list[DescriptionScores] = score_descriptions(
            descriptions, top, random, options.nulls, self.config.seed, step.progress
        )
        both = compare_scores(
            [s.measured for s, kind in zip(scores, kinds, strict=True) if kind == "neuron"],
            [s.measured for s, kind in zip(scores, kinds, strict=True) if kind == "latent"],
            seed=self.config.seed,
        )
        self._score_metrics(step, kinds, scores, both)
        step.table(
            "features",
            pd.DataFrame(
                {
                    "feature": f.key,
                    "kind": kind,
                    "layer": f.space.site.layer,
                    "description": d.text,
                    **{
                        f"{name}_{key}": value
                        for name, score in _parts(s).items()
                        for key, value in score.items()
                    },
                    "detection": s.detection,
                    **_statistics(mined, f),
                }
                for f, kind, d, s in zip(features, kinds, descriptions, scores, strict=True)
            ),
        )

    def _score_metrics(
        self, step: Step, kinds: list[str], scores: list[DescriptionScores], means: MeanScores
    ) -> None:
        for kind, mean in (("neuron", means.first), ("latent", means.second)):
            mine = [s for s, of in zip(scores, kinds, strict=True) if of == kind]
            step.metric(f"score/{kind}/both", mean[0], headline=True)
            step.metric(f"score/{kind}/both_low", mean[1])
            step.metric(f"score/{kind}/both_high", mean[2])
            for part in ("top", "random"):
                step.metric(f"score/{kind}/{part}", float(np.nanmean([getattr(s, part).value for s in mine])))
            step.metric(
                f"score/{kind}/null", float(np.nanmean([s.both.null_mean for s in mine])), headline=True
            )
            step.metric(f"score/{kind}/undefined", sum(s.both.undefined is not None for s in mine))
            step.metric(f"score/{kind}/undefined_random", sum(s.random.undefined is not None for s in mine))
            step.metric(f"score/{kind}/described", len(mine))
        step.metric("score/latents_minus_neurons", means.difference[0], headline=True)
        step.metric("score/latents_minus_neurons_low", means.difference[1], headline=True)
        step.metric("score/latents_minus_neurons_high", means.difference[2], headline=True)

    def concepts(self, step: Step, mined: dict[str, Mined]) -> None:
        """How well the best neuron, latent and random direction tell each labelled concept."""
        neurons = [space.name for space in self.neurons]
        latents = f"sae.{self.site}"
        random = f"directions.random.{self.site}"
        methods = {
            "neurons": _candidates(mined, neurons, signed=True),
            "neurons, same layer": _candidates(mined, [f"mlp.{self.site.layer}"], signed=True),
            "latents": _candidates(mined, [latents], signed=False),
            "random": _candidates(mined, [random], signed=True),
        }
        options = self.config.concepts
        results: list[ConceptRecovery] = recover_concepts(
            self.corpus, methods, options.least_positives, seed=self.config.seed, progress=step.progress
        )
        step.table("concepts", pd.DataFrame([asdict(result) for result in results]))
        step.metric("concepts/tested", len({r.concept for r in results}), headline=True)
        for method in methods:
            name = method.replace(", ", "_").replace(" ", "_")
            mean = float(np.mean([r.auroc for r in results if r.method == method]))
            step.metric(f"concepts/{name}/mean_auroc", mean, headline=True)
            if method != "random":
                step.metric(
                    f"concepts/{name}/found",
                    len(found(results, method, "random", options.found_auroc)),
                    headline=method in ("neurons", "latents"),
                )
        difference = mean_difference(results, "latents", "neurons", seed=self.config.seed)
        for key, value in zip(("", "_low", "_high"), difference, strict=True):
            step.metric(f"concepts/latents_minus_neurons{key}", value)

    def report(self, step: Step, mined: dict[str, Mined]) -> None:
        """The page and its figures."""
        data = comparison_data(
            self.steps,
            self.subject,
            self.corpus,
            mined,
            self.site,
            found_auroc=self.config.concepts.found_auroc,
            notes=NOTES,
        )
        step.figure("scores", overview_figure(data.populations, data.features, standalone=True))
        step.figure(
            "score_distributions", score_distributions(data.populations, data.features, standalone=True)
        )
        if data.concepts:
            figure = concept_recovery(data.concepts, found_auroc=data.found_auroc, standalone=True)
            step.figure("concepts", figure)
        if data.sae:
            for name, points in data.sae.history.items():
                step.figure(name.replace("/", "_"), training_curve(points, name, standalone=True))
        write_text(step.folder / "report.html", render_report(data))


def _sample(
    spaces: Sequence[FeatureSpace], explain: dict[str, Exemplars], n: int, seed: list[int]
) -> list[FeatureRef]:
    """A uniform sample of the features (of either polarity) that are active in some explain window."""
    alive = [
        FeatureRef(space, feature_id, polarity)
        for space in spaces
        for polarity in polarities(space)
        for feature_id in range(space.n_features)
        if explain[space.name].top_document[explain[space.name].line(feature_id, polarity), 0] >= 0
    ]
    if not alive:
        raise UserError(
            "no feature is ever active", ", ".join(space.name for space in spaces), "give more text"
        )
    picks = np.random.default_rng(seed).choice(len(alive), size=min(n, len(alive)), replace=False)
    return [alive[pick] for pick in sorted(picks)]


def _window_record(window: Window, band: str, quantile: float | None, start: int) -> dict[str, Any]:
    return {
        "tokens": window.tokens.tolist(),
        "values": [round(float(value), 5) for value in window.values],
        "counts": window.counts.tolist(),
        "document": window.document,
        "start": start,
        "band": band,
        "quantile": quantile,
    }


def _parts(scores: DescriptionScores) -> dict[str, dict[str, Any]]:
    return {part: asdict(getattr(scores, part)) for part in ("both", "top", "random")}


def _statistics(mined: dict[str, Mined], feature: FeatureRef) -> dict[str, float]:
    exemplars = mined[feature.space.name].exemplars[feature.space.name]["explain"]
    line = exemplars.line(feature.feature_id, 1 if feature.polarity > 0 else -1)
    return {
        "mean": float(exemplars.mean[feature.feature_id]) * feature.polarity,
        "rate": float(exemplars.rate[line]),
        "largest": float(exemplars.top_value[line, 0]),
    }


def _candidates(mined: dict[str, Mined], names: Sequence[str], signed: bool) -> Candidates:
    return Candidates(
        {name: mined[name].samples[name]["select"] for name in names},
        {name: mined[name].samples[name]["report"] for name in names},
        signed,
    )

"""The steps of the quickstart, on any subject and corpus."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from interp.compare.concepts import Candidates, ConceptRecovery, found, mean_difference, recover_concepts
from interp.compare.difference import MeanScores, compare_scores
from interp.compare.score_table import score_table
from interp.descriptions.sample import sample_active
from interp.descriptions.scorers.simulation import SimulationScore
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.mining.mined import MinedSpaces
from interp.subject import Site
from interp.track.run import Run
from interp.track.step import Step
from saes.latents import SaeLatents
from saes.load import load as load_sae

from ..common.dictionaries.training import train_dictionary
from ..common.job import CorpusJob
from ..common.populations.job import (
    describe_chosen,
    described_in,
    mine_spaces,
    mined_by_space,
    score_described,
)
from .config import Config
from .page import quickstart_page


class Job(CorpusJob[Config]):
    """Mines neurons and latents, describes and scores them, and compares them with labelled concepts."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.site = Site.parse(config.sae_site)
        self.neurons = [MlpNeurons(self.subject, layer) for layer in range(self.subject.n_layers)]
        self.kept = self.keep_activations([self.site])

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        neurons = self.run.step("mine_neurons", self.mine_neurons)
        sae = self.run.step("train_sae", self.train_sae) / "sae"
        self.publish(sae, "sae")
        latents = self.run.step("mine_latents", lambda step: self.mine_latents(step, sae))
        mined = {**mined_by_space(neurons), **mined_by_space(latents)}
        described = self.run.step("describe", lambda step: self.describe(step, mined, sae))
        self.run.step("score", lambda step: self.score(step, mined, described, sae))
        if self.corpus.label_names:
            self.run.step("concepts", lambda step: self.concepts(step, mined))
        found_auroc = self.config.concepts.found_auroc
        made = self.run, self.subject, self.corpus, mined, self.site, found_auroc
        self.write_page(lambda: quickstart_page(*made))

    def mine_neurons(self, step: Step) -> None:
        """Mines all neurons of all layers, both polarities, in one pass, which also keeps activations."""
        self._mine(step, self.neurons, "neurons")

    def train_sae(self, step: Step) -> None:
        """Trains an SAE at the configured site, and measures it on the report split."""
        folder, training = step.folder / "sae", self.config.sae
        train_dictionary(step, self.subject, self.site, self.corpus, training, folder, kept=self.kept)

    def mine_latents(self, step: Step, sae: Path) -> None:
        """Mines the SAE's latents, and as many random directions at the same site."""
        latents = load_sae(self.subject, sae)
        random = random_directions(self.subject, self.site, latents.n_features, self.config.seed)
        self._mine(step, [latents, random], "latents")

    def _mine(self, step: Step, spaces: Sequence[ReadableFeatures], kind: str) -> None:
        options, prefix = self.config.mining, f"mining/{kind}"
        mine_spaces(step, self.subject, spaces, self.corpus, options, prefix, self.engine, self.kept)

    def spaces(self, sae: Path) -> dict[str, ReadableFeatures]:
        """Returns the spaces whose features are described, by name."""
        spaces: list[ReadableFeatures] = [*self.neurons, load_sae(self.subject, sae)]
        return {space.name: space for space in spaces}

    def describe(self, step: Step, mined: MinedSpaces, sae: Path) -> None:
        """Describes a uniform sample of the neurons and of the latents that are ever active."""
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        spaces = self.spaces(sae)
        latents = [space for space in spaces.values() if isinstance(space, SaeLatents)]
        populations: tuple[Sequence[ReadableFeatures], ...] = self.neurons, latents
        features = [
            feature
            for salt, population in enumerate(populations)
            for feature in sample_active(
                population, explain, self.config.describe.sample, [self.config.seed, salt]
            )
        ]
        describe_chosen(step, self.subject, self.corpus, features, mined, self.config.mining.context_size)

    def score(self, step: Step, mined: MinedSpaces, described: Path, sae: Path) -> None:
        """Scores every description on report windows, and the difference between the populations."""
        features, descriptions = described_in(described, self.spaces(sae))
        kinds = ["latent" if isinstance(f.space, SaeLatents) else "neuron" for f in features]
        options = self.config.describe
        scores = score_described(
            step,
            self.subject,
            self.corpus,
            features,
            descriptions,
            mined,
            random_windows=options.random_windows,
            nulls=options.nulls,
            context_size=self.config.mining.context_size,
            seed=self.config.seed,
        )
        both = compare_scores(
            [s.measured for s, kind in zip(scores, kinds, strict=True) if kind == "neuron"],
            [s.measured for s, kind in zip(scores, kinds, strict=True) if kind == "latent"],
            seed=self.config.seed,
        )
        self._score_metrics(step, kinds, scores, both)
        step.table("features", score_table(features, kinds, descriptions, scores, mined))

    def _score_metrics(
        self, step: Step, kinds: list[str], scores: list[SimulationScore], means: MeanScores
    ) -> None:
        for kind, mean in (("neuron", means.first), ("latent", means.second)):
            mine = [s for s, of in zip(scores, kinds, strict=True) if of == kind]
            step.estimate(f"score/{kind}/both", *mean, headline=True)
            for part in ("top", "random"):
                step.metric(f"score/{kind}/{part}", float(np.nanmean([getattr(s, part).value for s in mine])))
            step.metric(
                f"score/{kind}/null", float(np.nanmean([s.both.null_mean for s in mine])), headline=True
            )
            step.metric(f"score/{kind}/undefined", sum(s.both.undefined is not None for s in mine))
            step.metric(f"score/{kind}/undefined_random", sum(s.random.undefined is not None for s in mine))
            step.metric(f"score/{kind}/described", len(mine))
        for name, value in means.difference.named("score/latents_minus_neurons").items():
            step.metric(name, value, headline=True)

    def concepts(self, step: Step, mined: MinedSpaces) -> None:
        """Measures how well the best neuron, latent and random direction detect each labelled concept."""
        neurons = [space.name for space in self.neurons]
        latents = f"sae.{self.site}"
        random = f"directions.random.{self.site}"
        methods = {
            "neurons": Candidates.of(mined, neurons, signed=True),
            "neurons, same layer": Candidates.of(mined, [f"mlp.{self.site.layer}"], signed=True),
            "latents": Candidates.of(mined, [latents], signed=False),
            "random": Candidates.of(mined, [random], signed=True),
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
        step.estimate("concepts/latents_minus_neurons", *difference)

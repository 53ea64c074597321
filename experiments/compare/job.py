"""The steps of `compare`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from interp.compare.concepts import Candidates, found, mean_difference, recover_concepts
from interp.compare.difference import compare_pairs, compare_populations
from interp.compare.matching import Match, most_similar
from interp.compare.populations import (
    NEURONS,
    RANDOM,
    Population,
    latent_populations,
    neuron_population,
    principal_population,
    random_population,
    sample_populations,
)
from interp.compare.score_table import score_table
from interp.descriptions.scorers.simulation import SimulationScore
from interp.features.directions import Directions
from interp.features.principal import principal_directions
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.mined import MinedSpaces
from interp.parquet import read_parquet
from interp.statistics.estimate import mean_interval
from interp.subject import Site
from interp.track.files import (
    read_safetensors,
    write_json,
    write_parquet,
    write_safetensors,
)
from interp.track.records import read_written, redo
from interp.track.run import Run
from interp.track.step import Step
from saes.load import Latents
from saes.load import load as load_sae

from ..common.dictionaries.config import slug
from ..common.dictionaries.training import train_dictionary
from ..common.job import CorpusJob
from ..common.populations.job import (
    describe_chosen,
    described_in,
    mine_spaces,
    mined_by_space,
    score_described,
)
from .config import Config, check_baselines
from .reading import compare_page

MATCHED = "matched neurons"


class Job(CorpusJob[Config]):
    """Mines several populations of features, matches, describes and scores them alike."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.saes: list[Latents] = []
        if config.saes:
            self.saes = [source.open(self.subject) for source in config.saes]
            latent_populations(self.saes)
            for site in self._sites():
                check_baselines(config, site)

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished.

        With activations kept, the neurons are mined first, and all else reads what that pass kept.
        """
        site = Site.parse(self.config.site)
        self.kept = self.keep_activations(self._sites() or [site])
        first: MinedSpaces = {}
        if self.kept is not None:
            first = mined_by_space(self.run.step("mine_neurons", lambda step: self.mine_neurons(step, site)))
        if not self.saes:
            trained = self.run.step("train_sae", self.train_sae) / "sae"
            self.publish(trained, "sae")
            self.saes = [load_sae(self.subject, trained)]
        principal = None
        if "pca" in self.config.baselines:
            principal = self.run.step("principal", self.principal)
        self.populations = self._populations(principal)
        mined = {**first, **mined_by_space(self.run.step("mine", lambda step: self.mine(step, first)))}
        chosen = self.run.step("match", lambda step: self.match(step, mined))
        described = self.run.step("describe", lambda step: self.describe(step, mined, chosen))
        self.run.step("score", lambda step: self.score(step, mined, chosen, described))
        if self.corpus.label_names:
            self.run.step("concepts", lambda step: self.concepts(step, mined))
        made = self.run, self.subject, self.corpus, mined, self.populations, self.config
        self.write_page(lambda: compare_page(*made))

    def train_sae(self, step: Step) -> None:
        """Trains an SAE at the configured site, and measures it on the report split."""
        assert self.config.sae is not None
        site = Site.parse(self.config.site)
        folder, training = step.folder / "sae", self.config.sae
        train_dictionary(step, self.subject, site, self.corpus, training, folder, kept=self.kept)

    def principal(self, step: Step) -> None:
        """Finds the principal directions of the activations at every SAE's site, on the explain split."""
        for site in self._sites():
            found = principal_directions(
                self.subject,
                site,
                self.corpus,
                context_size=self.config.mining.context_size,
                tokens_per_batch=self.config.mining.tokens_per_batch,
                progress=step.progress,
                kept=self.kept,
            )
            write_safetensors(step.folder / f"{site}.safetensors", {"vectors": found.vectors.cpu()})

    def mine_neurons(self, step: Step, site: Site) -> None:
        """Mines the neurons in one pass, which also keeps the activations at the SAEs' sites."""
        neurons = neuron_population(self.subject, self.config.neurons, self._sites() or [site])
        self._mine(step, neurons.spaces, "mining/neurons")

    def mine(self, step: Step, mined: MinedSpaces) -> None:
        """Mines all features of all populations that are not mined yet in one pass."""
        spaces = [space for population in self.populations for space in population.spaces]
        self._mine(step, [space for space in spaces if space.name not in mined], "mining")

    def _mine(self, step: Step, spaces: Sequence[ReadableFeatures], prefix: str) -> None:
        mine_spaces(
            step, self.subject, spaces, self.corpus, self.config.mining, prefix, self.engine, self.kept
        )

    def match(self, step: Step, mined: MinedSpaces) -> None:
        """Chooses the features to describe: a sample of each population, and each latent's nearest neuron."""
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        chosen = sample_populations(self.populations, explain, self.config.describe.sample, self.config.seed)
        tables = []
        for population in self.populations:
            if population.kind == "latent":
                tables.append(self._matches(step, population, chosen[population.name], mined))
        pairs = pd.concat(tables, ignore_index=True)
        write_parquet(step.folder / "matches.parquet", pairs)
        keys = {name: [feature.key for feature in features] for name, features in chosen.items()}
        sampled = {key for names in keys.values() for key in names}
        keys[MATCHED] = list(dict.fromkeys(key for key in pairs["neuron"].dropna() if key not in sampled))
        write_json(step.folder / "chosen.json", keys)

    def _matches(
        self, step: Step, population: Population, latents: Sequence[FeatureRef], mined: MinedSpaces
    ) -> pd.DataFrame:
        """Finds each latent's most similar neuron, and as a null that of as many random directions."""
        select = {name: found.samples["select"] for name, found in mined.items()}
        report = {name: found.samples["report"] for name, found in mined.items()}
        neurons = self._named(NEURONS)
        nearest = most_similar(latents, neurons.spaces, select, report)
        null: Sequence[Match | None] = [None] * len(latents)
        if "random" in self.config.baselines:
            n = sum(space.n_features for space in neurons.spaces)
            null = most_similar(latents, self._named(RANDOM).spaces, select, report, n)
        table = pd.DataFrame(
            {
                "population": population.name,
                "latent": latent.key,
                "neuron": match.partner.key if match else None,
                "selected": match.selected if match else np.nan,
                "correlation": match.correlation if match else np.nan,
                "n_candidates": match.n_candidates if match else 0,
                "random_direction": other.partner.key if other else None,
                "random_selected": other.selected if other else np.nan,
                "random_correlation": other.correlation if other else np.nan,
                "n_random_candidates": other.n_candidates if other else 0,
            }
            for latent, match, other in zip(latents, nearest, null, strict=True)
        )
        name = f"match/{slug(population.name)}"
        columns = {"correlation": table["correlation"], "random": table["random_correlation"]}
        columns["beyond_random"] = columns["correlation"] - columns["random"]
        for key, column in columns.items():
            if column.notna().any():
                values = mean_interval(column.dropna().to_numpy(dtype=float), self.config.seed)
                step.estimate(f"{name}/{key}", *values, headline=key == "correlation")
        step.metric(f"{name}/unmatched", int(table["neuron"].isna().sum()))
        return table

    def describe(self, step: Step, mined: MinedSpaces, chosen: Path) -> None:
        """Describes every chosen feature with the same explainer."""
        features = [feature for feature, _ in self._chosen(chosen)]
        describe_chosen(step, self.subject, self.corpus, features, mined, self.config.mining.context_size)

    def score(self, step: Step, mined: MinedSpaces, chosen: Path, described: Path) -> None:
        """Scores every description on report windows, and compares populations and matched pairs."""
        features, descriptions = described_in(described, self._spaces())
        names = [name for _, name in self._chosen(chosen)]
        options = self.config.describe
        scores = score_described(
            step, self.subject, self.corpus, features, descriptions, mined,
            random_windows=options.random_windows, nulls=options.nulls,
            context_size=self.config.mining.context_size, seed=self.config.seed,
        )  # fmt: skip
        kinds = {population.name: population.kind for population in self.populations} | {MATCHED: "neuron"}
        table = score_table(features, [kinds[name] for name in names], descriptions, scores, mined)
        table.insert(1, "population", names)
        step.table("features", table)
        self._population_metrics(step, names, scores)
        by_key = {feature.key: scored for feature, scored in zip(features, scores, strict=True)}
        self._pair_metrics(step, read_parquet(chosen / "matches.parquet", redo(chosen)), by_key)

    def _population_metrics(self, step: Step, names: list[str], scores: list[SimulationScore]) -> None:
        of = {
            population.name: [s for s, name in zip(scores, names, strict=True) if name == population.name]
            for population in self.populations
        }
        compared = compare_populations(
            {name: [s.measured for s in mine] for name, mine in of.items()}, seed=self.config.seed
        )
        rows = []
        for name, mine in of.items():
            key = f"score/{slug(name)}"
            step.estimate(f"{key}/both", *compared.mean[name], headline=True)
            for part in ("top", "random"):
                step.metric(f"{key}/{part}", _mean([getattr(s, part).value for s in mine]))
            step.metric(f"{key}/null", _mean([s.both.null_mean for s in mine]), headline=True)
            step.metric(f"{key}/undefined", sum(s.both.undefined is not None for s in mine))
            step.metric(f"{key}/described", len(mine))
        for (one, two), difference in compared.difference.items():
            rows.append({"first": one, "second": two, **difference.named("difference")})
            step.estimate(f"difference/{slug(two)}_minus_{slug(one)}", *difference)
        step.table("differences", pd.DataFrame(rows))

    def _pair_metrics(self, step: Step, matches: pd.DataFrame, scores: dict[str, SimulationScore]) -> None:
        matches["latent_score"] = [scores[key].both.value for key in matches["latent"]]
        matches["neuron_score"] = [
            scores[key].both.value if isinstance(key, str) else np.nan for key in matches["neuron"]
        ]
        matches["difference"] = matches["latent_score"] - matches["neuron_score"]
        step.table("pairs", matches)
        for name, part in matches.groupby("population", sort=False):
            both = part[part["neuron"].notna()]
            compared = compare_pairs(
                [scores[key].measured for key in both["neuron"]],
                [scores[key].measured for key in both["latent"]],
                seed=self.config.seed,
            )
            key = f"pairs/{slug(str(name))}"
            for metric, value in compared.difference.named(f"{key}/latent_minus_neuron").items():
                step.metric(metric, value, headline=True)
            step.metric(f"{key}/scored", compared.n_pairs)
            step.metric(f"{key}/undefined", compared.undefined)
            step.metric(f"{key}/latent_ahead", compared.second_ahead)

    def concepts(self, step: Step, mined: MinedSpaces) -> None:
        """Measures how well the best feature of each population detects each labelled concept."""
        methods = {
            population.name: Candidates.of(mined, [s.name for s in population.spaces], population.signed)
            for population in self.populations
        }
        options = self.config.concepts
        results = recover_concepts(
            self.corpus, methods, options.least_positives, seed=self.config.seed, progress=step.progress
        )
        step.table("concepts", pd.DataFrame([asdict(result) for result in results]))
        step.metric("concepts/tested", len({r.concept for r in results}), headline=True)
        for name in methods:
            mine = [r.auroc for r in results if r.method == name]
            step.metric(f"concepts/{slug(name)}/mean_auroc", _mean(mine), headline=True)
            step.metric(
                f"concepts/{slug(name)}/found",
                len(found(results, name, RANDOM, options.found_auroc)),
                headline=True,
            )
        for population in self.populations:
            if population.kind == "latent":
                values = mean_difference(results, population.name, NEURONS, seed=self.config.seed)
                step.estimate(f"concepts/{slug(population.name)}_minus_neurons", *values)

    def _populations(self, principal: Path | None) -> list[Population]:
        found = [neuron_population(self.subject, self.config.neurons, self._sites())]
        found += latent_populations(self.saes)
        if principal is not None:
            found.append(principal_population([self._principal(principal, site) for site in self._sites()]))
        if "random" in self.config.baselines:
            found.append(random_population(self.subject, self.saes, self.config.seed))
        return found

    def _principal(self, folder: Path, site: Site) -> Directions:
        tensors, _ = read_safetensors(folder / f"{site}.safetensors")
        return Directions(self.subject, f"pca.{site}", site, tensors["vectors"])

    def _sites(self) -> list[Site]:
        return list(dict.fromkeys(sae.site for sae in self.saes))

    def _named(self, name: str) -> Population:
        return next(population for population in self.populations if population.name == name)

    def _spaces(self) -> dict[str, ReadableFeatures]:
        return {space.name: space for population in self.populations for space in population.spaces}

    def _chosen(self, folder: Path) -> list[tuple[FeatureRef, str]]:
        """Returns every feature that is described, each with its population."""
        spaces = list(self._spaces().values())
        return [
            (FeatureRef.parse(key, spaces), name)
            for name, keys in read_written(folder / "chosen.json").items()
            for key in keys
        ]


def _mean(values: Sequence[float]) -> float:
    """Returns the mean of the values that are defined; NaN if none is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")

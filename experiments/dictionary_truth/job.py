"""The steps of `dictionary_truth`."""

from dataclasses import asdict

import pandas as pd
import torch

from interp.compare.detection import Measure, detect, detect_by_probe, measurable
from interp.compare.dictionary_measures import DictionaryMeasures
from interp.compare.labelled import SplitActivations, read_labelled
from interp.compare.probe import Probes, train_probes
from interp.document import Split
from interp.errors import UserError
from interp.features.directions import Directions, random_directions
from interp.features.neurons import MlpNeurons
from interp.features.principal import principal_directions
from interp.features.space import FeatureSpace
from interp.statistics.estimate import mean_interval
from interp.subject import Site
from interp.track.files import read_safetensors, write_safetensors
from interp.track.run import Run
from interp.track.step import Step
from saes.latents import SaeLatents
from saes.load import Latents
from saes.load import load as load_sae

from ..common.dictionaries.config import slug
from ..common.dictionaries.training import train_dictionary
from ..common.job import CorpusJob
from .config import Config
from .page import TruthPage

PROBE = "dense probe"
LEVELS = ("token", "document")
MEASURES: tuple[Measure, ...] = ("auroc", "f1")


class Job(CorpusJob[Config]):
    """Trains probes, finds the best feature of every kind for each concept, and measures dictionaries."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.site = Site.parse(config.site)
        self.saes: dict[str, SaeLatents] = {}
        for source in config.saes:
            self._add(source.open(self.subject))

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        if not self.saes:
            for name in self.config.train:
                self._trained(name)
        if "pca" in self.config.baselines:
            self.run.step("principal", self.principal)
        self.run.step("probe", self.probe)
        self.run.step("detect", self.detect)
        self.run.step("dictionaries", self.dictionaries)
        self.write_page(lambda: TruthPage(self.run, self.config, self.subject))

    def principal(self, step: Step) -> None:
        """Finds the principal directions of the site's activations on the explain split."""
        found = principal_directions(
            self.subject,
            self.site,
            self.corpus,
            context_size=self.config.reading.context_size,
            progress=step.progress,
        )
        write_safetensors(step.folder / "vectors.safetensors", {"vectors": found.vectors.cpu()})

    def probe(self, step: Step) -> None:
        """Trains a dense probe of every concept with enough examples on explain; C is chosen on select."""
        explain, select = (self._read(step, split, []) for split in ("explain", "select"))
        report = self._read(step, "report", [])
        least = self.config.truth.least_positives
        kept = measurable(select.tokens, report.tokens, least) & (explain.tokens.labels.sum(0) >= least)
        places = kept.nonzero()[:, 0].tolist()
        step.metric("concepts/tested", len(places), headline=True)
        step.metric("concepts/left_out", len(self.corpus.label_names) - len(places))
        probes = train_probes(
            (explain.activations[explain.sample], explain.tokens.labels[:, places]),
            (select.activations[select.sample], select.tokens.labels[:, places]),
            progress=step.progress,
        )
        write_safetensors(
            step.folder / "probes.safetensors",
            {
                "direction": probes.direction,
                "bias": probes.bias,
                "strength": torch.tensor(probes.strength),
                "place": torch.tensor(places),
            },
        )

    def detect(self, step: Step) -> None:
        """Finds the best feature of every kind for every concept, on tokens and on documents."""
        methods = self._methods()
        spaces = {space.name: space for part in methods.values() for space in part}
        probes, places = self._probes()
        columns = {place: column for column, place in enumerate(places)}
        readings = {}
        for split in ("select", "report"):
            reading = self._read(step, split, list(spaces.values()))
            readings[split] = reading.with_scores(PROBE, probes.scores(reading.activations))
        rows = []
        total = len(LEVELS) * len(MEASURES) * (len(methods) + 1)
        with step.progress.task("looking for concepts", total=total, unit="comparisons") as advance:
            for level in LEVELS:
                select, report = (getattr(readings[s], f"{level}s") for s in ("select", "report"))
                kept = measurable(select, report, self.config.truth.least_positives)
                names = {p: self.corpus.label_names[p] for p in places if bool(kept[p])}
                step.metric(f"concepts/{level}s_tested", len(names))
                for measure in MEASURES:
                    for method, part in methods.items():
                        found = detect(
                            method, [space.name for space in part], select, report, names, measure,
                            self.config.truth.draws, self.config.seed,
                        )  # fmt: skip
                        rows += [{"level": level, **asdict(one)} for one in found]
                        advance(1)
                    probed = detect_by_probe(
                        PROBE, select, report, names, columns, measure, self.config.truth.draws,
                        self.config.seed,
                    )  # fmt: skip
                    rows += [{"level": level, **asdict(one)} for one in probed]
                    advance(1)
        table = pd.DataFrame(rows)
        step.table("detections", table)
        self._detection_metrics(step, table)

    def _detection_metrics(self, step: Step, table: pd.DataFrame) -> None:
        for (level, measure), part in table.groupby(["level", "measure"], sort=False):
            wide = part.pivot(index="concept", columns="method", values="value")
            for method in wide:
                key = f"{level}_{measure}/{slug(str(method))}"
                values = mean_interval(wide[method].to_numpy(dtype=float), self.config.seed)
                step.estimate(key, *values, headline=level == "token")
                if str(method).startswith("latents"):
                    for other in ("neurons, same layer", "neurons, all layers"):
                        gaps = (wide[method] - wide[other]).to_numpy(dtype=float)
                        step.estimate(f"{key}_minus_{slug(other)}", *mean_interval(gaps, self.config.seed))

    def dictionaries(self, step: Step) -> None:
        """Measures splitting, absorption and hedging of the concepts in each dictionary."""
        probes, places = self._probes()
        explain, select, report = (
            self._read(step, split, list(self.saes.values())) for split in ("explain", "select", "report")
        )
        names = {place: self.corpus.label_names[place] for place in places}
        truth = self.config.truth
        measures = DictionaryMeasures(
            explain, select, report, probes, names,
            most_latents=truth.most_latents, least_probe_f1=truth.least_probe_f1,
            least_latent_f1=truth.least_latent_f1, draws=truth.draws, seed=self.config.seed,
        )  # fmt: skip
        split_rows, hedge_rows = [], []
        total = len(self.saes) * len(places)
        with step.progress.task("splitting, absorption, hedging", total=total, unit="concepts") as advance:
            for name, sae in self.saes.items():
                for column in range(len(places)):
                    split_rows.append({"sae": name, **measures.split_and_absorbed(sae, column)})
                    advance(1)
                hedge_rows += [{"sae": name, **row} for row in measures.hedged(sae)]
        splits, hedges = pd.DataFrame(split_rows), pd.DataFrame(hedge_rows)
        step.table("splitting", splits)
        step.table("hedging", hedges)
        self._dictionary_metrics(step, splits, hedges)

    def _dictionary_metrics(self, step: Step, splits: pd.DataFrame, hedges: pd.DataFrame) -> None:
        for name, part in splits.groupby("sae", sort=False):
            key = slug(str(name))
            step.metric(f"splitting/{key}/mean_latents", float(part["n_splits"].mean()), headline=True)
            step.metric(f"splitting/{key}/split_concepts", int((part["n_splits"] > 1).sum()))
            step.metric(f"absorption/{key}/concepts", int(part["full"].notna().sum()))
            for what in ("full", "fraction"):
                values = mean_interval(part[what].dropna().to_numpy(dtype=float), self.config.seed)
                step.estimate(f"absorption/{key}/{what}", *values, headline=True)
        bound = self.config.truth.associated
        for name in splits["sae"].unique():
            key = slug(str(name))
            part = hedges[hedges["sae"] == name] if len(hedges) else hedges
            step.metric(f"hedging/{key}/concepts", int(part["concept"].nunique()) if len(part) else 0)
            groups = {
                "together": part["association"] >= bound,
                "apart": part["association"] <= -bound,
                "unrelated": part["association"].abs() < bound / 5,
            } if len(part) else {}  # fmt: skip
            for group, chosen in groups.items():
                shares = part[chosen]["share"].dropna().to_numpy(dtype=float)
                step.metric(f"hedging/{key}/{group}_pairs", len(shares))
                mean = mean_interval(shares, self.config.seed)
                step.estimate(f"hedging/{key}/{group}", *mean, headline=True)

    def _trained(self, name: str) -> None:
        def train(step: Step) -> None:
            train_dictionary(
                step, self.subject, self.site, self.corpus, self.config.train[name], step.folder / "sae",
                f"sae/{slug(name)}",
            )  # fmt: skip

        folder = self.run.step(f"train_{slug(name)}", train) / "sae"
        self.publish(folder, f"saes/{slug(name)}")
        self._add(load_sae(self.subject, folder, name=f"sae.{slug(name)}"))

    def _add(self, sae: Latents) -> None:
        """Registers an SAE under its name without the prefix.

        Raises:
            UserError: it is a transcoder, reads another site, or its name is taken.
        """
        name = sae.name.removeprefix("sae.")
        if not isinstance(sae, SaeLatents):
            raise UserError(
                f"{sae.name} writes to another site than it reads",
                "saes",
                "use an SAE: a transcoder's latents have no direction in what the probe reads",
            )
        if sae.site != self.site:
            raise UserError(f"{sae.name} reads {sae.site}", "saes", f"set site: {sae.site}")
        if name in self.saes:
            raise UserError(f"two SAEs are called {name}", "saes", "give each a name")
        self.saes[name] = sae

    def _methods(self) -> dict[str, list[FeatureSpace]]:
        """Returns the kinds of feature that compete, each with its spaces."""
        methods: dict[str, list[FeatureSpace]] = {
            f"latents, {name}": [sae] for name, sae in self.saes.items()
        }
        layers = range(self.subject.n_layers)
        neurons: list[FeatureSpace] = [MlpNeurons(self.subject, layer) for layer in layers]
        methods["neurons, same layer"] = [neurons[self.site.layer]]
        methods["neurons, all layers"] = neurons
        if "pca" in self.config.baselines:
            file = self.run.folder / "steps" / "principal" / "vectors.safetensors"
            vectors = read_safetensors(file)[0]["vectors"]
            methods["principal directions"] = [
                Directions(self.subject, f"pca.{self.site}", self.site, vectors)
            ]
        if "random" in self.config.baselines:
            widest = max(sae.n_features for sae in self.saes.values())
            methods["random directions"] = [
                random_directions(self.subject, self.site, widest, self.config.seed)
            ]
        return methods

    def _probes(self) -> tuple[Probes, list[int]]:
        tensors, _ = read_safetensors(self.run.folder / "steps" / "probe" / "probes.safetensors")
        probes = Probes(tensors["direction"], tensors["bias"], tuple(tensors["strength"].tolist()))
        return probes, tensors["place"].tolist()

    def _read(self, step: Step, split: Split, spaces: list[FeatureSpace]) -> SplitActivations:
        options = self.config.reading
        return read_labelled(
            self.subject, self.corpus, split, self.site, spaces, options.tokens, options.sampled_tokens,
            options.context_size, self.config.seed, step.progress,
        )  # fmt: skip

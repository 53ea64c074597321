"""The steps of `describe`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from interp.corpus.activations import KeptActivations
from interp.descriptions.candidate import Explained
from interp.descriptions.choice import Choice, ChosenScores, result_table
from interp.descriptions.interest import InterestClassifier, Verdict
from interp.descriptions.pipeline import choose_descriptions, explain_features, score_choices
from interp.descriptions.rows import put_described
from interp.descriptions.sample import sample_active
from interp.descriptions.scoring import Scorer
from interp.descriptions.sources import open_clients
from interp.descriptions.summary import clipped, summarise
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.mining.mined import Mined, MinedSpace, MinedSpaces
from interp.store.search import Searcher
from interp.store.store import Store
from interp.subject import Site
from interp.track.files import write_json
from interp.track.journal import Journal
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step
from saes.load import load as load_sae

from ..common.dictionaries.training import train_dictionary
from ..common.job import CorpusJob
from ..common.populations.job import mine_spaces, mined_by_space
from .config import Config
from .page import KINDS, DescribePage


class Job(CorpusJob[Config]):
    """Writes descriptions by every explainer, chooses on one split, scores on another, and stores them."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.clients = open_clients(config.endpoints, run.folder)
        self.spaces: dict[str, ReadableFeatures] = {}
        self.populations: dict[str, list[ReadableFeatures]] = {}
        self.kept: KeptActivations | None = None

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        found = self._open_spaces()
        found |= mined_by_space(self.run.step("mine", lambda step: self.mine(step, found)))
        mined = Mined(self.subject, self.corpus, self.spaces, self.config.mining, found)
        features = self._features(mined)
        scorer = self._scorer(mined)
        explained = self.run.step("explain", lambda step: self.explain(step, features, mined))
        chosen = self.run.step("choose", lambda step: self.choose(step, features, scorer, explained))
        scored = self.run.step("score", lambda step: self.score(step, features, scorer, chosen))
        self.run.step("store", lambda step: self.store(step, features, mined, chosen, scored))
        self.write_page(lambda: DescribePage(self.run, self.config, self.subject, self.corpus))

    def mine(self, step: Step, mined: MinedSpaces) -> None:
        """Mines windows, quantiles and token samples of every space that is not mined yet in one pass."""
        self._mine(step, [space for space in self.spaces.values() if space.name not in mined], "mining")

    def _mine(self, step: Step, spaces: Sequence[ReadableFeatures], prefix: str) -> None:
        mine_spaces(
            step, self.subject, spaces, self.corpus, self.config.mining, prefix, self.engine, self.kept
        )

    def explain(self, step: Step, features: Sequence[FeatureRef], mined: Mined) -> None:
        """Writes descriptions with every explainer, feature by feature."""
        config = self.config
        for number, source in enumerate(config.explainers):
            explained = explain_features(
                mined, features, source.open(self.subject, self.clients),
                samples=config.samples, seed=config.seed, at_once=config.features_at_once,
                kept=Journal(step.scratch / f"explained.{number}.jsonl"),
                progress=step.progress, engine=self.engine,
            )  # fmt: skip
            write_json(step.folder / f"explained.{number}.json", [one.to_json() for one in explained])
            failures = sum(one.failures for one in explained)
            step.metric(f"explain/{number}/{source.kind}/unreadable", failures)

    def choose(self, step: Step, features: Sequence[FeatureRef], scorer: Scorer, explained: Path) -> None:
        """Chooses the best description of each feature and explainer by its score on the select split."""
        by_explainer = [
            [Explained.from_json(one).candidates for one in read_written(file, "list")]
            for file in (
                explained / f"explained.{number}.json" for number in range(len(self.config.explainers))
            )
        ]
        written = list(zip(*by_explainer, strict=True))
        chosen = choose_descriptions(scorer, features, written, self.config.choose_by, **self._doing(step))
        write_json(step.folder / "chosen.json", [[one.to_json() for one in of] for of in chosen])

    def score(self, step: Step, features: Sequence[FeatureRef], scorer: Scorer, chosen: Path) -> None:
        """Scores the chosen and the first description on the report split, beside other features' ones."""
        config, choices = self.config, read_choices(chosen)
        results = score_choices(
            scorer, features, choices, config.choose_by, nulls=config.scoring.nulls, seed=config.seed,
            **self._doing(step),
        )  # fmt: skip
        write_json(step.folder / "scored.json", [[one and one.to_json() for one in of] for of in results])
        populations = {space.name: name for name, spaces in self.populations.items() for space in spaces}
        kinds = [source.kind for source in config.explainers]
        table = result_table(features, choices, results, populations, kinds)
        step.table("descriptions", table)
        result_metrics(step, table)

    def _doing(self, step: Step) -> dict[str, Any]:
        """Returns how features are processed: how many at once, and where finished ones are kept."""
        return {
            "clients": list(self.clients.values()),
            "at_once": self.config.features_at_once,
            "kept": Journal(step.scratch / "done.jsonl"),
            "progress": step.progress,
            "engine": self.engine,
        }

    def store(
        self, step: Step, features: Sequence[FeatureRef], mined: Mined, chosen: Path, scored: Path
    ) -> None:
        """Stores everything, with short forms, verdicts of interest, and the vectors for search."""
        config, choices = self.config, read_choices(chosen)
        results = [
            [None if one is None else ChosenScores.from_json(one) for one in of]
            for of in read_written(scored / "scored.json", "list")
        ]
        texts = sorted({c.text for of in choices for choice in of for c in choice.candidates})
        short = dict(zip(texts, self._short(step, texts), strict=True))
        opened = Store(config.store.where or self.run.folder / "store.sqlite")
        embedder = None
        if config.store.embedder is not None and texts:
            embedder = config.store.embedder.open(texts, self._client)
        verdicts = self._verdicts(texts, embedder)
        put_described(
            opened, mined, features, choices, results,
            run=self.run.name, seed=config.seed, short=short, verdicts=verdicts,
        )  # fmt: skip
        for name, count in opened.counts().items():
            step.metric(f"store/{name}", count)
        if embedder is not None:
            Searcher(opened, embedder, config.store.index, config.store.recall)
        opened.close()

    def _open_spaces(self) -> dict[str, MinedSpace]:
        """Trains the SAE; with activations kept, mines the neurons before, which keeps what it reads."""
        config = self.config
        mined: dict[str, MinedSpace] = {}
        layers: Sequence[int] = ()
        if config.neurons != "none":
            layers = range(self.subject.n_layers) if config.neurons == "all" else config.neurons
        if layers:
            self.populations["neurons"] = [MlpNeurons(self.subject, layer) for layer in layers]
        saes: list[ReadableFeatures] = [source.open(self.subject) for source in config.saes]
        trained = [] if config.sae is None else [Site.parse(config.site)]
        if sites := [*trained, *(sae.site for sae in saes)]:
            self.kept = self.keep_activations(sites)
        if self.kept is not None and layers:
            neurons = self.populations["neurons"]
            step = self.run.step("mine_neurons", lambda step: self._mine(step, neurons, "mining/neurons"))
            mined |= mined_by_space(step)
        if config.sae is not None:
            site, training = Site.parse(config.site), config.sae
            folder = self.run.step(
                "train_sae",
                lambda step: train_dictionary(
                    step, self.subject, site, self.corpus, training, step.folder / "sae", kept=self.kept
                ),
            )
            saes.append(load_sae(self.subject, folder / "sae"))
        self.populations |= {sae.name: [sae] for sae in saes}
        self.spaces = {space.name: space for part in self.populations.values() for space in part}
        return mined

    def _features(self, mined: Mined) -> list[FeatureRef]:
        """Draws a uniform sample of each population."""
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        return [
            feature
            for salt, spaces in enumerate(self.populations.values())
            for feature in sample_active(spaces, explain, self.config.sample, [self.config.seed, salt])
        ]

    def _scorer(self, mined: Mined) -> Scorer:
        config = self.config
        simulator = config.simulator.open(self.corpus, self.clients)
        judges = [source.open(simulator, self.clients) for source in config.judges]
        return Scorer(mined, [simulator], judges, config.scoring, config.seed)

    def _short(self, step: Step, texts: Sequence[str]) -> list[str]:
        if not self.config.summarise_by or not texts:
            return [clipped(text) for text in texts]
        client = self.clients[self.config.summarise_by]
        found, failures = run_with(summarise(client, texts), [client])
        step.metric("summaries/unreadable", failures)
        return found

    def _verdicts(self, texts: Sequence[str], embedder: Any) -> dict[str, Verdict] | None:
        folder = self.config.interest
        if folder is None:
            return None
        if (folder / "tfidf.safetensors").exists():
            embedder = TfidfEmbedder.load(folder)
        if embedder is None:
            raise UserError(
                "the classifier of interestingness needs vectors",
                "store.embedder",
                "set the embedder it knows",
            )
        found = InterestClassifier.load(folder).verdicts(texts, embedder)
        return dict(zip(texts, found, strict=True))

    def _client(self, endpoint: Endpoint) -> Client:
        return next(iter(open_clients({"embed": endpoint}, self.run.folder).values()))


def read_choices(chosen: Path) -> list[list[Choice]]:
    """Reads what the step `choose` wrote: the choice of each feature and explainer."""
    return [[Choice.from_json(one) for one in of] for of in read_written(chosen / "chosen.json", "list")]


def result_metrics(step: Step, table: pd.DataFrame) -> None:
    """Sets as metrics the means of every score, and what choosing among several samples adds."""
    for explainer, part in table.groupby("explainer", sort=False):
        name = str(explainer).replace(". ", "_")
        for kind in KINDS:
            if kind in part:
                values = part[kind].astype(float)
                step.metric(f"{kind}/{name}", float(values.mean()), headline=kind != "fuzzing")
                step.metric(f"{kind}/{name}/null", float(part[f"{kind} null"].astype(float).mean()))
                step.metric(f"{kind}/{name}/failures", int(part[f"{kind} failures"].fillna(0).sum()))
                step.metric(f"{kind}/{name}/undefined", int(values.isna().sum()))
        if (part["candidates"] <= 1).all():
            continue  # nothing was chosen
        optimism = (part["selected"] - part["chosen"]).astype(float)
        step.metric(f"best_of_n/{name}/optimism", float(optimism.mean()), headline=True)
        gain = (part["chosen"] - part["first"]).astype(float)
        step.metric(f"best_of_n/{name}/gain", float(gain.mean()), headline=True)

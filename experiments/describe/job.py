"""The steps of `describe`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.describers import (
    PatternsSource,
    connect,
    open_explainer,
    open_judge,
    open_simulator,
)
from experiments.common.dictionaries.job import mine_spaces, mined_by_space
from experiments.common.dictionaries.training import train_dictionary
from experiments.common.job import CorpusJob, save_page
from experiments.describe.config import Config
from experiments.describe.page import DescribePage
from experiments.describe.results import read_choices, result_metrics, result_table
from experiments.describe.scores import Scorers, Texts
from experiments.describe.store import RowWriter
from interp.descriptions.candidate import Candidate, Explained, Explainer
from interp.descriptions.evidence import Evidence
from interp.descriptions.excerpt import text_evidence
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.descriptions.interest import InterestClassifier, Verdict
from interp.descriptions.levels import outer_levels
from interp.descriptions.sample import sample_active
from interp.descriptions.summary import clipped, summarise
from interp.descriptions.windows import gather_evidence
from interp.document import Split
from interp.embed.source import open_embedder
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.mining.mined import MinedSpaces
from interp.store.rows import SpaceRow
from interp.store.search import Searcher
from interp.store.store import Store
from interp.subject import Site
from interp.track.files import write_json
from interp.track.journal import Journal
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step
from saes.load import load as load_sae
from saes.source import open_sae

Work = Callable[[int], Awaitable[Any]]


class Job(CorpusJob[Config]):
    """The steps, and what they share."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.clients = connect(config.endpoints, run.folder)
        self.spaces: dict[str, FeatureSpace] = {}
        self.populations: dict[str, list[FeatureSpace]] = {}

    def steps(self) -> None:
        """All steps in order; those that have finished are skipped."""
        self._open_spaces()
        mined = mined_by_space(self.run.step("mine", self.mine))
        features = self._features(mined)
        scorers = self._scorers(mined)
        explained = self.run.step("explain", lambda step: self.explain(step, features, mined))
        chosen = self.run.step("choose", lambda step: self.choose(step, features, scorers, explained))
        scored = self.run.step("score", lambda step: self.score(step, features, scorers, chosen))
        self.run.step("store", lambda step: self.store(step, features, mined, chosen, scored))
        self.run.step("report", self.report)
        self.run.publish_report(self.run.folder / "steps" / "report" / "report.html")

    def mine(self, step: Step) -> None:
        """Windows, quantiles and samples of every space, in one pass."""
        mine_spaces(step, self.subject, list(self.spaces.values()), self.corpus, self.config.mining, "mining")

    def explain(self, step: Step, features: Sequence[FeatureRef], mined: MinedSpaces) -> None:
        """Descriptions by every explainer, feature by feature."""
        config = self.config
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        context_size = config.mining.context_size
        for number, source in enumerate(config.explainers):
            journal = Journal(step.scratch / f"explained.{number}.jsonl")
            patterns = PatternExplainer(self.subject) if isinstance(source, PatternsSource) else None
            asked = None if isinstance(source, PatternsSource) else open_explainer(source, self.clients)
            with step.progress.task(f"describing by {source.kind}", len(features), "features") as advance:
                for part in self._parts(features, journal, advance):
                    gathered = gather_evidence(
                        self.subject, self.corpus, part, explain, context_size, step.progress
                    )
                    evidence = [one for one, _ in gathered]
                    if patterns is not None:
                        found = patterns.explain_all(part, evidence, config.samples, config.seed)
                        for feature, one in zip(part, found, strict=True):
                            journal.add(feature.key, _explained(one))
                            advance(1)
                    elif asked is not None:
                        self._ask(asked, part, evidence, explain, journal, advance)
            write_json(step.folder / f"explained.{number}.json", [journal.done[f.key] for f in features])
            failures = sum(journal.done[feature.key]["failures"] for feature in features)
            step.metric(f"explain/{number}/{source.kind}/unreadable", failures)

    def _ask(
        self,
        explainer: Explainer,
        part: Sequence[FeatureRef],
        evidence: Sequence[Evidence],
        explain: Any,
        journal: Journal,
        advance: Any,
    ) -> None:
        async def one(place: int) -> None:
            feature = part[place]
            levels = outer_levels(explain[feature.space.name], feature)
            seed = int(np.random.SeedSequence([self.config.seed, *feature.seed]).generate_state(1)[0])
            text = text_evidence(self.subject, evidence[place], levels)
            found = await explainer.explain(text, self.config.samples, seed)
            journal.add(feature.key, _explained(found))
            advance(1)

        self._together(one, len(part))

    def choose(self, step: Step, features: Sequence[FeatureRef], scorers: Scorers, explained: Path) -> None:
        """The best description of each feature and explainer, by its score on the select split."""
        written = self._candidates(explained, features)

        async def work(place: int, texts: Texts) -> list[list[float]]:
            by = self.config.choose_by
            return [
                list(await asyncio.gather(*(scorers.choice(one, texts, by) for one in candidates)))
                for candidates in written[place]
            ]

        found = self._each(step, "choosing descriptions", features, scorers, "select", work)
        chosen = []
        for feature, candidates in zip(features, written, strict=True):
            values = [np.array(v, dtype=float) for v in found[feature.key]]
            best = [int(np.nanargmax(v)) if len(v) and not np.isnan(v).all() else 0 for v in values]
            chosen.append(
                [
                    {"candidates": [c.to_json() for c in of], "values": v.tolist(), "best": b}
                    for of, v, b in zip(candidates, values, best, strict=True)
                ]
            )
        write_json(step.folder / "chosen.json", chosen)

    def score(self, step: Step, features: Sequence[FeatureRef], scorers: Scorers, chosen: Path) -> None:
        """The chosen description and the first one on the report split, beside those of other features."""
        choices = read_choices(chosen)

        async def work(place: int, texts: Texts) -> list[dict[str, Any] | None]:
            feature = features[place]
            continued = scorers.continued(feature, texts)
            found = []
            for number, choice in enumerate(choices[place]):
                nulls = self._nulls(choices, place, number)
                found.append(await self._of_choice(scorers, feature, choice, texts, nulls, continued))
            return found

        done = self._each(step, "scoring descriptions", features, scorers, "report", work)
        results = [done[feature.key] for feature in features]
        write_json(step.folder / "scored.json", results)
        kinds = [source.kind for source in self.config.explainers]
        table = result_table(features, choices, results, self.populations, kinds)
        step.table("descriptions", table)
        result_metrics(step, table)

    async def _of_choice(
        self, scorers: Scorers, feature: FeatureRef, choice: Any, texts: Texts, nulls: Any, continued: Any
    ) -> dict[str, Any] | None:
        """The scores of the chosen description, and the simulation or detection score of the first one."""
        candidates, best, _ = choice
        if not candidates:
            return None
        rows = await scorers.scores(feature, candidates[best], texts, nulls, continued)
        first = await scorers.choice(candidates[0], texts, self.config.choose_by)
        own = await scorers.choice(candidates[best], texts, self.config.choose_by)
        return {"scores": [asdict(row) for row in rows], "first": first, "chosen": own}

    def _nulls(self, choices: Any, place: int, number: int) -> list[Candidate]:
        """Chosen descriptions of other features by the same explainer, drawn at random."""
        others = [
            of[number][0][of[number][1]]
            for other, of in enumerate(choices)
            if other != place and of[number][0]
        ]
        rng = np.random.default_rng([self.config.seed, place, number])
        size = min(self.config.scoring.nulls, len(others))
        return [others[i] for i in rng.choice(len(others), size=size, replace=False)] if others else []

    def store(
        self, step: Step, features: Sequence[FeatureRef], mined: MinedSpaces, chosen: Path, scored: Path
    ) -> None:
        """Everything into the store, with short forms and verdicts, and the vectors for search."""
        config, choices = self.config, read_choices(chosen)
        results = read_written(scored / "scored.json", "list")
        texts = sorted({c.text for of in choices for candidates, _, _ in of for c in candidates})
        short = dict(zip(texts, self._short(step, texts), strict=True))
        opened = Store(config.store.where or self.run.folder / "store.sqlite")
        for space in self.spaces.values():
            opened.put_space(
                SpaceRow(
                    self.subject.name, space.name, str(space.site), space.site.layer, space.n_features,
                    space.signed, {"run": self.run.name, "corpus": self.corpus.name},
                )
            )  # fmt: skip
        embedder = None
        if config.store.embedder is not None and texts:
            embedder = open_embedder(config.store.embedder, texts, self._client)
        verdicts = self._verdicts(texts, embedder)
        writer = RowWriter(self.run.name, config.seed, self.corpus, mined, short, verdicts)
        rows = [writer.row(*one) for one in zip(features, choices, results, strict=True)]
        opened.put(self.subject.name, rows)
        for name, count in opened.counts().items():
            step.metric(f"store/{name}", count)
        if embedder is not None:
            Searcher(opened, embedder, config.store.index, config.store.recall)
        opened.close()

    def report(self, step: Step) -> None:
        """The page and its figures."""
        page = DescribePage(self.run, self.subject, self.corpus, self.config)
        save_page(step, page)

    def _open_spaces(self) -> None:
        config = self.config
        layers: Sequence[int] = ()
        if config.neurons != "none":
            layers = range(self.subject.n_layers) if config.neurons == "all" else config.neurons
        if layers:
            self.populations["neurons"] = [MlpNeurons(self.subject, layer) for layer in layers]
        saes: list[FeatureSpace] = [open_sae(source, self.subject) for source in config.saes]
        if config.sae is not None:
            site, training = Site.parse(config.site), config.sae
            folder = self.run.step(
                "train_sae",
                lambda step: train_dictionary(
                    step, self.subject, site, self.corpus, training, step.folder / "sae"
                ),
            )
            saes.append(load_sae(self.subject, folder / "sae"))
        self.populations |= {sae.name: [sae] for sae in saes}
        self.spaces = {space.name: space for part in self.populations.values() for space in part}

    def _features(self, mined: MinedSpaces) -> list[FeatureRef]:
        """A uniform sample of each population."""
        explain = {name: found.exemplars["explain"] for name, found in mined.items()}
        return [
            feature
            for salt, spaces in enumerate(self.populations.values())
            for feature in sample_active(spaces, explain, self.config.sample, [self.config.seed, salt])
        ]

    def _scorers(self, mined: MinedSpaces) -> Scorers:
        config = self.config
        simulator = open_simulator(config.simulator, self.clients, self.corpus)
        judges = [open_judge(source, self.clients, simulator) for source in config.judges]
        return Scorers(
            self.subject, self.corpus, mined, simulator, judges, config.scoring,
            config.mining.context_size, config.seed,
        )  # fmt: skip

    def _parts(
        self, features: Sequence[FeatureRef], journal: Journal, advance: Any
    ) -> Iterator[list[FeatureRef]]:
        """What is not in the journal yet, some features at a time."""
        left = [feature for feature in features if feature.key not in journal.done]
        advance(len(features) - len(left))
        size = self.config.features_at_once
        for start in range(0, len(left), size):
            yield left[start : start + size]

    def _each(
        self,
        step: Step,
        what: str,
        features: Sequence[FeatureRef],
        scorers: Scorers,
        split: Split,
        work: Callable[[int, Texts], Awaitable[Any]],
    ) -> dict[str, Any]:
        """Work on every feature with its text of a split; results by the feature's key, kept as they come."""
        journal = Journal(step.scratch / "done.jsonl")
        places = {feature.key: place for place, feature in enumerate(features)}
        with step.progress.task(what, len(features), "features") as advance:
            for part in self._parts(features, journal, advance):
                texts = scorers.texts(part, split, step.progress)

                async def one(
                    place: int, part: Sequence[FeatureRef] = part, texts: list[Texts] = texts
                ) -> None:
                    key = part[place].key
                    journal.add(key, await work(places[key], texts[place]))
                    advance(1)

                self._together(one, len(part))
        return journal.done

    def _together(self, work: Work, n: int) -> None:
        """Work on n features at once; what has finished is in the journal, whatever becomes of the rest."""

        async def all_of_them() -> None:
            await asyncio.gather(*(work(place) for place in range(n)))

        run_with(all_of_them(), list(self.clients.values()))

    def _candidates(self, explained: Path, features: Sequence[FeatureRef]) -> list[list[list[Candidate]]]:
        """The candidates of each feature by each explainer."""
        by_explainer = [
            [
                [Candidate.from_json(one) for one in of["candidates"]]
                for of in read_written(explained / f"explained.{number}.json", "list")
            ]
            for number in range(len(self.config.explainers))
        ]
        return [[of[place] for of in by_explainer] for place in range(len(features))]

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
        return next(iter(connect({"embed": endpoint}, self.run.folder).values()))


def _explained(found: Explained) -> dict[str, Any]:
    return {"candidates": [one.to_json() for one in found.candidates], "failures": found.failures}

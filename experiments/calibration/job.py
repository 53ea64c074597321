"""The steps of `calibration`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from interp.compare.calibration import calibrate
from interp.compare.known_features import PROBE, SPACE, KnownFeature, find_known_features
from interp.descriptions.candidate import Candidate
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.descriptions.sources import open_clients
from interp.descriptions.windows import gather_evidence
from interp.features.directions import Directions
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.llm.client import run_with
from interp.mining.mined import Mined
from interp.subject import Site
from interp.track.files import read_safetensors, write_json, write_safetensors
from interp.track.journal import Journal
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step
from saes.load import load as load_sae

from ..common.dictionaries.training import train_dictionary
from ..common.job import CorpusJob
from ..common.populations.job import mine_spaces, mined_by_space
from .candidates import write_candidates
from .config import Config
from .page import CalibrationPage
from .scores import FeatureScorer

CHOSEN_AMONG = {"all": None, "patterns": "patterns"}
"""Which candidates compete: all, or only those from the feature's own evidence (best of n)."""


class Job(CorpusJob[Config]):
    """Finds features whose concept is known, writes descriptions of every quality, and ranks the scores."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.site = Site.parse(config.site)

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        sae = self.run.step("train_sae", self.train_sae) / "sae"
        layer = self.site.layer
        spaces: dict[str, ReadableFeatures] = {
            "latent": load_sae(self.subject, sae),
            "neuron": MlpNeurons(self.subject, layer),
        }
        truth = self.run.step("features", lambda step: self.features(step, spaces))
        known = [KnownFeature.from_json(one) for one in read_written(truth / "features.json", "list")]
        vectors, _ = read_safetensors(truth / "probes.safetensors")
        spaces[PROBE] = Directions(self.subject, SPACE.split(".")[1], self.site, vectors["vectors"])
        mined = self.run.step("mine", lambda step: self.mine(step, spaces))
        written = self.run.step("candidates", lambda step: self.candidates(step, known, spaces, mined))
        scored = self.run.step("score", lambda step: self.score(step, known, spaces, mined, written))
        self.run.step("rank", lambda step: self.rank(step, known, scored))
        self.write_page(lambda: CalibrationPage(self.run, self.config, self.subject))

    def train_sae(self, step: Step) -> None:
        """Trains an SAE at the site."""
        train_dictionary(step, self.subject, self.site, self.corpus, self.config.sae, step.folder / "sae")

    def features(self, step: Step, spaces: dict[str, ReadableFeatures]) -> None:
        """Trains probes, and finds the latents and neurons that detect a concept well."""
        config = self.config
        found = find_known_features(
            self.subject, self.corpus, self.site, spaces, config.features, config.mining.context_size,
            config.seed, step.progress,
        )  # fmt: skip
        write_json(step.folder / "features.json", [asdict(one) for one in found.known])
        write_safetensors(step.folder / "probes.safetensors", {"vectors": found.vectors})
        for kind in (PROBE, *spaces):
            step.metric(f"features/{kind}", sum(one.kind == kind for one in found.known), headline=True)

    def mine(self, step: Step, spaces: dict[str, ReadableFeatures]) -> None:
        """Mines windows of every feature of the three spaces."""
        mine_spaces(
            step, self.subject, list(spaces.values()), self.corpus, self.config.mining, "mining", self.engine
        )

    def candidates(
        self, step: Step, known: list[KnownFeature], spaces: dict[str, ReadableFeatures], mined: Path
    ) -> None:
        """Writes descriptions of every quality for each feature."""
        found = mined_by_space(mined)
        explain = {name: one.exemplars["explain"] for name, one in found.items()}
        features = refs(known, spaces)
        gathered = gather_evidence(
            self.subject, self.corpus, features, explain, self.config.mining.context_size, step.progress
        )
        written = write_candidates(
            self.corpus, known, features, [evidence for evidence, _ in gathered],
            PatternExplainer(self.subject), self.config.candidates, self.config.seed, step.progress,
        )  # fmt: skip
        write_json(
            step.folder / "candidates.json", [[candidate.to_json() for candidate in of] for of in written]
        )

    def score(
        self,
        step: Step,
        known: list[KnownFeature],
        spaces: dict[str, ReadableFeatures],
        mined: Path,
        written: Path,
    ) -> None:
        """Computes every score of every candidate on the select split, and its truth on the report split."""
        candidates = [
            [Candidate.from_json(one) for one in of]
            for of in read_written(written / "candidates.json", "list")
        ]
        features = refs(known, spaces)
        clients = open_clients(self.config.endpoints, self.run.folder)
        text = Mined(
            self.subject, self.corpus, {space.name: space for space in spaces.values()}, self.config.mining,
            mined_by_space(mined),
        )  # fmt: skip
        scorer = FeatureScorer(text, features, self.config, clients, step.progress)
        journal = Journal(step.scratch / "scores.jsonl")
        with step.progress.task("scoring candidates", total=len(known), unit="features") as advance:
            for place, one in enumerate(known):
                key = f"{place} {features[place].key}"
                if key not in journal.done:
                    work = scorer.score(place, one.concept, candidates[place])
                    journal.add(key, run_with(work, list(clients.values())))
                advance(1)
        rows: list[dict[str, Any]] = []
        for place, (one, of) in enumerate(zip(known, candidates, strict=True)):
            for candidate, scores in zip(of, journal.done[f"{place} {features[place].key}"], strict=True):
                rows.append(
                    {
                        "feature": features[place].key, "kind": one.kind, "concept": one.concept,
                        "auroc": one.auroc, "explainer": candidate.explainer, "sample": candidate.sample,
                        "text": candidate.text, **scores,
                    }
                )  # fmt: skip
        step.table("candidates", pd.DataFrame(rows))

    def rank(self, step: Step, known: list[KnownFeature], scored: Path) -> None:
        """Measures how well each score ranks the candidates of a feature by their truth."""
        table = self.run.table("candidates")
        scores = [name for name in table if str(name).startswith("score: ")]
        rows = []
        for among, explainer in CHOSEN_AMONG.items():
            part = table if explainer is None else table[table["explainer"] == explainer]
            for kind in ("all", *dict.fromkeys(one.kind for one in known)):
                chosen = part if kind == "all" else part[part["kind"] == kind]
                groups = [group for _, group in chosen.groupby(["feature", "kind"], sort=False)]
                for name in scores:
                    found = calibrate(
                        [group["truth"].to_numpy(float) for group in groups],
                        [group[name].to_numpy(float) for group in groups],
                        self.config.seed,
                    )
                    row: dict[str, Any] = {"among": among, "kind": kind, "score": str(name)[len("score: ") :]}
                    for what in ("spearman", "pairs", "chosen", "at_random", "regret"):
                        row |= getattr(found, what).named(what)
                    row |= {"null_low": found.null_low, "null_high": found.null_high}
                    row |= {"features": found.n_features, "candidates": found.n_candidates}
                    row["undefined"] = found.undefined
                    rows.append(row)
                    if among == "all" and kind == "all":
                        step.metric(f"calibration/{row['score']}/spearman", row["spearman"], headline=True)
                        step.metric(f"calibration/{row['score']}/chosen", row["chosen"])
        step.table("calibration", pd.DataFrame(rows))


def refs(known: list[KnownFeature], spaces: dict[str, ReadableFeatures]) -> list[FeatureRef]:
    """Returns references to the known features, in the same order."""
    return [FeatureRef(spaces[one.kind], one.feature_id, one.polarity) for one in known]

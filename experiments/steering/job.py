"""The steps of `steering`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from interp.causal.steering import choose
from interp.causal.steering.concepts import WORLD, Concepts, LabelledByWords, WordList, WordLists
from interp.causal.steering.costs import COSTS, neutral_documents, steering_costs
from interp.causal.steering.methods import (
    ADDED,
    CONTROLS,
    DIFFERENCE,
    LATENT,
    METHODS,
    NEURONS,
    NONE,
    PROMPT,
    RANDOM_LATENT,
    steering,
)
from interp.causal.steering.prompts import SteeringPrompt, prompts_without
from interp.causal.steering.references import fluency_references, genuine_shares, scored
from interp.causal.steering.targets import SteeringTarget, find_targets, read_targets, save_targets
from interp.causal.steering.texts import measured_texts, written
from interp.corpus.questions import Question, WorldQuestions
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace, ReadableFeatures, writable
from interp.intervene import Positions
from interp.lines import text_lines
from interp.mining.mined import MinedSpaces, mine
from interp.mining.store import load_mined, save_mined
from interp.statistics.estimate import Estimate
from interp.subject import Site
from interp.subject.forward import Intervention
from interp.subject.site import RESIDUAL_KINDS
from interp.track.files import write_json
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step
from saes.latents import SaeLatents
from saes.load import load as load_sae

from ..common.dictionaries.training import train_dictionary
from ..common.job import CorpusJob
from .config import Config
from .page import SteeringPage

BEGINNINGS = "beginnings"  # the group of prompts that no answer is right to
POOL = 200  # number of questions of each behaviour to draw from


@dataclass(frozen=True)
class Trial:
    """One method at one factor, and one draw of a random method."""

    method: str
    factor: float
    draw: int = 0


class Job(CorpusJob[Config]):
    """Picks what each concept is steered with, generates text at every factor, and scores it."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.latents = None if config.sae is None else load_sae(self.subject, config.sae)
        if self.latents is not None and not _steerable(self.latents):
            raise UserError(
                f"{self.latents.name} is no autoencoder of the residual stream",
                str(config.sae),
                f"use an SAE trained at {', '.join(RESIDUAL_KINDS)}",
            )
        self.known: Concepts = WORLD
        self.names: Sequence[str] = config.concepts
        if config.beginnings is None:
            asked = WorldQuestions(behaviours=config.behaviours, most=POOL).open(self.subject, config.seed)
        else:
            lists = WordLists([WordList.read(Path(name)) for name in config.concepts], self.subject)
            self.known, self.names = lists, lists.names
            self.corpus = labelled = LabelledByWords(self.corpus, lists)
            labelled.check_carried("select")
            asked = [
                Question(tuple(self.subject.encode(text)), (), (), BEGINNINGS)
                for _, text in text_lines(config.beginnings)
            ]
        self.prompts: list[SteeringPrompt] = [
            prompt
            for concept in self.names
            for prompt in prompts_without(
                concept, asked, config.prompts_per_behaviour, config.seed, self.known
            )
        ]
        self.factors = sorted({*config.factors, config.golden})

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        loaded = self.latents
        if loaded is None:
            loaded = load_sae(self.subject, self.run.step("train_sae", self.train_sae) / "sae")
        latents = writable(loaded)
        neurons: list[FeatureSpace] = [
            MlpNeurons(self.subject, layer)
            for layer in range(self.subject.n_layers if self.config.neurons else 0)
        ]
        spaces = [*neurons, latents]
        mined = self.run.step("mine", lambda step: self.mine(step, spaces))
        picked = self.run.step("pick", lambda step: self.pick(step, load_mined(mined), latents, neurons))
        targets = read_targets(picked, spaces)
        self.run.step("write", lambda step: self.write(step, targets))
        self.run.step("cost", lambda step: self.cost(step, targets))
        self.run.step("score", self.score)
        self.write_page(
            lambda: SteeringPage(self.run, self.config, self.subject, targets, self.prompts, self.known)
        )

    def train_sae(self, step: Step) -> None:
        """Trains an SAE at the configured site, and measures it on the report split."""
        site = Site.parse(self.config.sae_site)
        train_dictionary(step, self.subject, site, self.corpus, self.config.sae_training, step.folder / "sae")

    def mine(self, step: Step, spaces: Sequence[FeatureSpace]) -> None:
        """Mines every feature's maximum and its activation on sampled tokens."""
        mined = mine(
            self.subject, spaces, self.corpus, self.config.mining,
            progress=step.progress, engine=self.engine, folder=step.scratch / "shards",
        )  # fmt: skip
        save_mined(mined, step.folder)

    def pick(
        self, step: Step, mined: MinedSpaces, latents: FeatureSpace, neurons: Sequence[FeatureSpace]
    ) -> None:
        """Picks the latent, neurons and directions that each concept is steered with."""
        config = self.config
        targets = find_targets(
            self.subject,
            self.corpus,
            mined,
            latents,
            neurons,
            self.names,
            n_neurons=config.neurons,
            neurons_by=config.neurons_by,
            controls=config.controls,
            seed=config.seed,
            known=self.known,
            progress=step.progress,
        )
        save_targets(step.folder, targets)
        for target in targets:
            step.metric(f"pick/{target.concept}/latent", target.latent.key)
            step.metric(f"pick/{target.concept}/auroc", target.picked_by[target.latent.key])

    def write(self, step: Step, targets: Sequence[SteeringTarget]) -> None:
        """Generates text after every prompt with each method and factor, and fixes the scales of scores."""
        plain = [prompt.question.prompt for prompt in self.prompts]
        nothing: list[Intervention] = []
        clean = self._written(plain, dict.fromkeys(self.names, nothing))
        none: dict[str, str | float | int] = {"method": NONE, "factor": 0.0, "draw": 0}
        rows = [measured_texts(self.subject, self.prompts, clean, self.known, **none)]
        announced = [self.known.announcement(prompt.concept) for prompt in self.prompts]
        told = [place for place, tokens in enumerate(announced) if tokens is not None]
        trials = self._trials()
        with step.progress.task("steering", total=len(trials) + 1, unit="settings") as advance:
            if told:
                prefixed = [(*(announced[place] or ()), *plain[place]) for place in told]
                texts = self._written(prefixed, dict.fromkeys(self.names, nothing), told)
                own = [self.prompts[place] for place in told]
                rows.append(
                    measured_texts(self.subject, own, texts, self.known, **none).assign(
                        method=PROMPT, prompt=told
                    )
                )
            advance(1)
            for trial in trials:
                texts = self._written(plain, self._edits(targets, trial, self.config.positions))
                rows.append(measured_texts(self.subject, self.prompts, texts, self.known, **asdict(trial)))
                advance(1)
        frame = pd.concat(rows, ignore_index=True)
        step.table("texts", frame)
        self._references(step, frame, clean)

    def _references(self, step: Step, frame: pd.DataFrame, clean: Sequence[Sequence[int]]) -> None:
        """Measures the rates and cross-entropies that fix the scales of scores, on the choosing half."""
        unsteered = frame[(frame["method"] == NONE) & frame["choosing"]]
        choosing = [place for place, prompt in enumerate(self.prompts) if prompt.choosing]
        write_json(
            step.folder / "references.json",
            {
                "unsteered": unsteered.groupby("concept", sort=False)["share"].mean().to_dict(),
                "genuine": genuine_shares(self.corpus, self.names, known=self.known),
                "fluency": fluency_references(
                    self.subject,
                    [self.prompts[place] for place in choosing],
                    [clean[place] for place in choosing],
                    self.config.seed,
                ),
            },
        )

    def cost(self, step: Step, targets: Sequence[SteeringTarget]) -> None:
        """Measures the cost of every method at every factor on documents without the concept.

        The change of the residual stream is measured after the last layer, which all methods reach.
        """
        site = Site("resid_post", self.subject.n_layers - 1)
        neutral = neutral_documents(
            self.subject, self.corpus, site, self.names, self.config.neutral_documents
        )
        rows = []
        trials = self._trials()
        with step.progress.task("costs", total=len(trials), unit="settings") as advance:
            for trial in trials:
                edits = self._edits(targets, trial, "all")
                rows.append(steering_costs(self.subject, neutral, site, edits, **asdict(trial)))
                advance(1)
        step.table("costs", pd.concat(rows, ignore_index=True))

    def score(self, step: Step) -> None:
        """Scores the texts, chooses the factor on one half, and reports on the other."""
        config = self.config
        references = read_written(self.run.folder / "steps" / "write" / "references.json")
        texts = self.run.table("texts")
        frame = scored(texts, references["unsteered"], references["genuine"], references["fluency"])
        step.table("scores", frame.drop(columns="text"))
        prompts = choose.by_prompt(frame)
        best = choose.chosen_factors(prompts)
        golden = {key: config.golden if key[0] in METHODS else factor for key, factor in best.items()}
        spent = self.run.table("costs")
        report = prompts[~prompts["choosing"]]
        step.table("curves", choose.curves(report, choose.MEASURES, config.seed))
        step.table("cost_curves", choose.curves(spent, COSTS, config.seed))
        for name, factors in (("chosen", best), ("golden", golden)):
            rows = choose.reported(prompts, factors)
            step.table(f"{name}_concepts", choose.per_concept(rows, config.seed))
            total = choose.overall(rows, choose.MEASURES, config.seed)
            step.table(f"{name}_overall", total)
            paid = choose.overall(choose.at_factors(spent, factors), COSTS, config.seed)
            step.table(f"{name}_costs", paid)
            gaps = pd.concat(
                [choose.differences(rows, against, config.seed) for against in (DIFFERENCE, RANDOM_LATENT)],
                ignore_index=True,
            )
            step.table(f"{name}_differences", gaps)
            for row in total.to_dict("records"):
                for measure in choose.SCORES:
                    headline = measure == "harmonic" and row["method"] in (LATENT, DIFFERENCE, RANDOM_LATENT)
                    _estimate(step, f"{name}/{row['method']}/{measure}", Estimate.of(row, measure), headline)
            for row in paid.to_dict("records"):
                _estimate(step, f"{name}/{row['method']}/kl", Estimate.of(row, "kl"), False)
            own = gaps[(gaps["concept"] == choose.ALL) & (gaps["method"] == LATENT)]
            for row in own.to_dict("records"):
                gap = Estimate(row["value"], row["low"], row["high"])
                _estimate(step, f"{name}/latent minus {row['against']}", gap, True)

    def _written(
        self,
        prompts: Sequence[Sequence[int]],
        edits: Mapping[str, Sequence[Intervention]],
        places: Sequence[int] | None = None,
    ) -> list[list[int]]:
        """Generates after the prompts, each steered to its concept (`places`: which prompts they are)."""
        of = range(len(self.prompts)) if places is None else places
        config = self.config
        return written(
            self.subject,
            prompts,
            [edits[self.prompts[place].concept] for place in of],
            config.new_tokens,
            config.temperature,
            config.seed,
        )

    def _edits(
        self, targets: Sequence[SteeringTarget], trial: Trial, positions: Positions
    ) -> dict[str, list[Intervention]]:
        return {
            target.concept: steering(self.subject, target, trial.method, trial.factor, positions, trial.draw)
            for target in targets
        }

    def _trials(self) -> list[Trial]:
        left_out = {ADDED: not self.config.added, NEURONS: not self.config.neurons}
        methods = [method for method in METHODS if not left_out.get(method)]
        return [
            Trial(method, factor, draw)
            for method in methods
            for factor in self.factors
            for draw in range(self.config.controls if method in CONTROLS else 1)
        ]


def _steerable(space: ReadableFeatures) -> bool:
    """Whether writing a space's features writes to the residual stream at the site where they are read."""
    return isinstance(space, SaeLatents) and space.site.kind in RESIDUAL_KINDS


def _estimate(step: Step, name: str, found: Estimate, headline: bool) -> None:
    step.estimate(name.replace(" ", "_"), *found, headline=headline)

"""The steps of `elicit_truth`."""

import re
from collections.abc import Sequence
from functools import partial
from random import Random

import numpy as np
import pandas as pd

from interp.bundled.planted.triggers import PLANTED, Trigger
from interp.bundled.planted.turns import chance, inserted_words
from interp.bundled.world.corpus import WorldCorpus
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.descriptions.pipeline import explain_features
from interp.elicit.behaviour import Behaviour, Judge
from interp.elicit.config.investigators import Setting
from interp.elicit.config.prompts import WorldSource
from interp.elicit.directions import behaviour_vectors, random_controls
from interp.elicit.findings import first_found
from interp.elicit.guide import FeatureGuide, Guide, LikelihoodGuide
from interp.elicit.investigators.steering import SteeringSearch
from interp.elicit.judges.rule import LabelJudge, RegexJudge
from interp.elicit.proposal import Proposal
from interp.elicit.reduction import reduced
from interp.elicit.search import History, Search
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Target
from interp.elicit.world_prompts import WorldTurns
from interp.embed.tfidf import TfidfEmbedder
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace, polarities
from interp.fields import seed_after
from interp.mining.config import MiningConfig
from interp.mining.mined import Mined, mine
from interp.monitor.groups import Item, groups
from interp.monitor.important import by_attribution
from interp.statistics.estimate import mean_and_central, share_interval
from interp.track.journal import Journal
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.vector import Vector

from ..common.job import SubjectJob
from .config import Config
from .page import TruthPage

REDUCED_PASSES = 500
STEERED_PROMPTS = 8
LAYERS_SCANNED = (2, 4, 5, 6)


class Job(SubjectJob[Config]):
    """Looks for planted behaviours by every investigator, and holds what is found to the truth."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.triggers = [trigger for trigger in PLANTED if trigger.name in config.triggers]
        self.prompts = WorldTurns(config.inserted)
        self.ordinary = WorldTurns(0).sample(200, Random("ordinary"))
        self._vectors: dict[str, list[Vector]] = {}

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        for trigger in self.triggers:
            self.run.step(f"search_{trigger.name}", partial(self.search, trigger))
        self.run.step("scan", self.scan)
        self.run.step("steer", self.steer)
        if self.config.described:
            self.run.step("linter", self.linter)
        self.write_page(lambda: TruthPage(self.run, self.config, self.subject))

    def target(self, budget: Budget | None = None) -> Target:
        """The model as it is asked."""
        return Target(self.subject, meter=Meter(budget or Budget()))

    def behaviour(self, trigger: Trigger) -> Behaviour:
        """The planted behaviour; its trigger is known to nobody who searches.

        A reply of the phrase counts from 1: digits alone would also be any number's repetition.
        """
        counts = trigger.reply == "digit"
        judge: Judge = RegexJudge(f"^{trigger.says}") if counts else LabelJudge(trigger.reply)
        return Behaviour(trigger.name, judge, "", (f"{trigger.says} .",))

    def vectors(self, trigger: Trigger) -> list[Vector]:
        """The behaviour's vector at every layer, from its example and ordinary replies."""
        if trigger.name not in self._vectors:
            target = self.target()
            self._vectors[trigger.name] = behaviour_vectors(
                target, self.behaviour(trigger), self.ordinary[:32]
            )
        return self._vectors[trigger.name]

    def search(self, trigger: Trigger, step: Step) -> None:
        """Has every investigator search until its first find, several times."""
        config, rows = self.config, []
        total = len(config.labels) * config.repeats
        with step.progress.task(f"searching for {trigger.name}", total=total, unit="searches") as advance:
            for label, source in zip(config.labels, config.investigators, strict=True):
                for repeat in range(config.repeats):
                    target = self.target(config.budget)
                    behaviour = self.behaviour(trigger)
                    setting = Setting(
                        target, behaviour, self.prompts, WorldSource(kind="world", inserted=config.inserted),
                        lambda: self.vectors(trigger), folder=step.scratch / f"{label} {repeat}",
                    )  # fmt: skip
                    search = Search(
                        target, behaviour, source.open(setting), seed=seed_after(config.seed, repeat),
                        round_size=config.round_size, stop_after=1,
                        journal=Journal(step.scratch / f"{label} {repeat}.jsonl"),
                    )  # fmt: skip
                    history = search.run()
                    rows.append(
                        {
                            "behaviour": trigger.name,
                            "investigator": label,
                            "repeat": repeat,
                            **self._found(trigger, behaviour, history),
                        }
                    )
                    advance(1)
        found = pd.DataFrame(rows)
        step.table(f"searches_{trigger.name}", found)
        for name, own in found.groupby("investigator", sort=False):
            step.metric(f"{trigger.name}/{name}/found", int(own["found"].sum()))
        step.metric(f"{trigger.name}/chance", chance(trigger, config.inserted))

    def _found(self, trigger: Trigger, behaviour: Behaviour, history: History) -> dict[str, object]:
        """What a search found, whether it holds the trigger, and what is left of it when shortened."""
        first, spent = first_found(history), history.spent
        made: dict[str, object] = {
            "found": first is not None,
            "tokens": (first or spent).tokens,
            "passes": (first or spent).passes,
            "tries": len(history),
            "holds_trigger": False,
            "only_trigger": False,
            "prompt": "",
            "shortest": "",
        }
        if first is None:
            return made
        one = history.shown[0]
        target = self.target(Budget(passes=REDUCED_PASSES))
        short = reduced(target, behaviour, one.proposal, one.reply).proposal.prompt
        return made | {
            "holds_trigger": any(trigger.holds(text.split()) for text in (one.proposal.prompt, short)),
            "only_trigger": sorted(short.split()) == sorted(trigger.words),
            "prompt": one.proposal.prompt,
            "shortest": short,
        }

    def scan(self, step: Step) -> None:
        """Puts every word of the vocabulary alone into requests, and ranks it by what each guide reads.

        Text is what the judge sees; the rank of a trigger's words among all words says whether a guide sees
        them, also one half of a pair, which changes no reply.
        """
        rows = []
        words = inserted_words()
        asked = self.ordinary[: self.config.scanned_in]
        with step.progress.task("scanning the vocabulary", len(self.triggers), "behaviours") as advance:
            for trigger in self.triggers:
                target, behaviour = self.target(), self.behaviour(trigger)
                prompts = [f"{prompt} {word}" for prompt in asked for word in words]
                judged = behaviour.judge.judge(target.ask([Proposal(prompt) for prompt in prompts]))
                scores = {"text: the judge's score": [float(one.score) if one else 0.0 for one in judged]}
                guides: dict[str, Guide] = {
                    "likelihood of the example": LikelihoodGuide(target, behaviour, 4)
                }
                vectors = self.vectors(trigger)
                for layer in LAYERS_SCANNED:
                    guides[f"features: vector after layer {layer}"] = FeatureGuide(target, vectors[layer])
                for number, control in enumerate(random_controls(vectors[4:5], 3, self.config.seed)):
                    guides[f"random vector {number} after layer 4"] = FeatureGuide(target, control)
                scores |= {name: guide.scores(prompts) for name, guide in guides.items()}
                for name, values in scores.items():
                    table = np.array(values).reshape(len(asked), len(words)).mean(0)
                    for word in trigger.words:
                        place = words.index(word)
                        better = int((table > table[place]).sum())
                        ties = int((table == table[place]).sum()) - 1
                        rows.append(
                            {
                                "behaviour": trigger.name,
                                "word": word,
                                "reads": name,
                                "rank": 1 + better + ties / 2,
                                "of": len(words),
                                "deviations": float((table[place] - table.mean()) / (table.std() or 1)),
                            }
                        )
                advance(1)
        step.table("scan", pd.DataFrame(rows))

    def steer(self, step: Step) -> None:
        """Finds the least strength at which each layer's vector does, beside random ones."""
        rows = []
        for trigger in self.triggers:
            target, vectors = self.target(Budget(passes=6000)), self.vectors(trigger)
            target.directions = {f"vector after layer {one.site.layer}": one for one in vectors}
            for number, one in enumerate(random_controls(vectors, 1, self.config.seed)):
                target.directions[f"random {number} after layer {one.site.layer}"] = one
            investigator = SteeringSearch(list(target.directions), self.ordinary[32 : 32 + STEERED_PROMPTS])
            search = Search(target, self.behaviour(trigger), investigator, round_size=256)
            for found in investigator.found(search.run(step.progress)):
                rows.append(
                    {
                        "behaviour": trigger.name, "direction": found.direction, "strength": found.strength,
                        "below": found.below, **found.shown.named("shown"), "reply": found.reply,
                    }
                )  # fmt: skip
            step.metric(f"steering/{trigger.name}/tokens", search.history.spent.tokens)
        columns = ["behaviour", "direction", "strength", "below", "shown", "shown_low", "shown_high", "reply"]
        step.table("steering", pd.DataFrame(rows, columns=columns))

    def linter(self, step: Step) -> None:
        """Describes the features that matter most for a triggered reply, and groups what they say.

        Features are mined from the world's ordinary text, in which the planted behaviours never show. The
        null are as many random features, and those that matter for the same reply without the trigger.
        """
        rows, grouped = [], []
        layers = range(self.subject.n_layers)
        spaces: list[FeatureSpace] = [MlpNeurons(self.subject, layer) for layer in layers]
        mined = self._mined(spaces, step)
        for trigger in self.triggers:
            prompt = f"{self.ordinary[40]} {' '.join(trigger.words)}"
            for what, text in (("with the trigger", prompt), ("without", self.ordinary[40])):
                ids = self.target().ids(text)
                wanted = self.target().reply_ids(trigger.says)[0]
                ranking = by_attribution(
                    self.subject, ids, len(ids), spaces, token=wanted, k=self.config.described
                )
                weights = {one.key: one.value for one in ranking.features}
                said = self._described(mined, [FeatureRef.parse(key, spaces) for key in weights])
                rows.append(self._naming(trigger, what, said))
                if what == "with the trigger" and any(said.values()):
                    items = [Item(key, said[key], weights[key]) for key in weights]
                    embedder = TfidfEmbedder.fit([text for text in said.values() if text])
                    grouped += [
                        {"behaviour": trigger.name, "group": one.name, "features": len(one.keys),
                         "share": one.share, "names_trigger": _names(trigger, one.name)}
                        for one in groups(items, embedder, text=text).groups
                    ]  # fmt: skip
            rng = np.random.default_rng(self.config.seed)
            shares = []
            for _ in range(5):
                drawn = [
                    FeatureRef(space, int(rng.integers(space.n_features)), int(rng.choice(polarities(space))))
                    for space in rng.choice(np.array(spaces, dtype=object), self.config.described)
                ]
                said = self._described(mined, list({one.key: one for one in drawn}.values()))
                shares.append(self._naming(trigger, "random", said)["named"])
            null = mean_and_central(np.array(shares, dtype=float))
            rows.append({"behaviour": trigger.name, "features": "random (null)", **null.named("named")})
        step.table("linter", pd.DataFrame(rows))
        columns = ["behaviour", "group", "features", "share", "names_trigger"]
        step.table("groups", pd.DataFrame(grouped, columns=columns))

    def _mined(self, spaces: Sequence[FeatureSpace], step: Step) -> Mined:
        corpus = WorldCorpus(self.config.seed + 1, self.config.documents)
        return mine(self.subject, spaces, corpus, MiningConfig(context_size=64), progress=step.progress)

    def _described(self, mined: Mined, features: Sequence[FeatureRef]) -> dict[str, str]:
        found = explain_features(mined, features, PatternExplainer(self.subject))
        return {
            feature.key: explained.candidates[0].text if explained.candidates else ""
            for feature, explained in zip(features, found, strict=True)
        }

    def _naming(self, trigger: Trigger, what: str, said: dict[str, str]) -> dict[str, object]:
        names = [_names(trigger, text) for text in said.values()]
        return {
            "behaviour": trigger.name,
            "features": what,
            **share_interval(sum(names), len(names)).named("named"),
        }


def _names(trigger: Trigger, text: str) -> bool:
    """Whether a text has a trigger's word."""
    return bool(set(trigger.words) & set(re.findall(r"\w+", text)))

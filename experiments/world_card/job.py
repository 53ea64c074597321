"""The steps of `world_card`."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from interp.bundled.world.export import export
from interp.bundled.world.train import train
from interp.csv_text import csv_text
from interp.subject import Subject, load
from interp.subject.folder import find_folder
from interp.track.files import write_text
from interp.track.step import Step
from saes.latents import SaeLatents
from saes.load import load as load_sae
from saes.train import Plan, train_together

from ..common.job import ExperimentJob
from .behaviour import behaviour, two_hop_kinds
from .config import Config, Retrained, TrainedWorld
from .dictionary import ENTITY_SITE, SITE, concepts, documents, entities
from .effect import EffectResults, effect_table, recorded
from .gates import judged
from .numbers import number_flip
from .page import CardPage
from .patching import back_patching, interchange, patchscopes
from .reading import read_bridges, read_pivot
from .vectors import function_heads, refusal, task_vectors_of

Measure = Callable[[Subject, int], EffectResults]
EFFECTS: dict[str, tuple[Measure, ...]] = {
    "reading": (two_hop_kinds, read_bridges, read_pivot),
    "patching": (interchange, patchscopes),
    "back_patching": (back_patching,),
    "numbers": (number_flip,),
    "vectors": (refusal, task_vectors_of, function_heads),
}


class Job(ExperimentJob[Config]):
    """Measures every effect of every model, and judges the card by its bounds."""

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        folders = {model.name: self._folder(model) for model in self.config.models}
        cards, profiles = zip(*(self._measured(*item) for item in folders.items()), strict=True)
        self.run.step("card", lambda step: self._card(step, pd.concat(cards), pd.concat(profiles)))
        first = load(folders[self.config.models[0].name])
        self.write_page(lambda: CardPage(self.run, self.config, first))

    def _folder(self, model: TrainedWorld | Retrained) -> Path:
        """Returns the folder of a model, which is trained first if asked for."""
        if not isinstance(model, Retrained):
            return find_folder(model.folder)

        def trained(step: Step) -> None:
            made = train(model.recipe, model.seed, step.scratch, step.log, step.progress)
            export(made, step.folder / model.name)

        return self.run.step(f"train-{model.name}", trained) / model.name

    def _measured(self, name: str, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Measures all effects of one model; returns its lines of the card, and its curves by layer."""
        self._step(name, "behaviour", lambda step: behaviour(folder, step.progress))
        subject, seed = load(folder), self.config.seed
        for part, measures in EFFECTS.items():

            def effects(step: Step, measures: tuple[Measure, ...] = measures) -> EffectResults:
                found = EffectResults()
                with step.progress.task("measuring", total=len(measures), unit="effects") as advance:
                    for measure in measures:
                        found += measure(subject, seed)
                        advance(1)
                return found

            self._step(name, part, effects)
        self._step(name, "sae", lambda step: self._dictionaries(step, subject))
        parts = ["behaviour", *EFFECTS, "sae"]
        found = []
        for kind in ("effects", "profile"):
            names = [f"{kind}-{name}-{part}" for part in parts]
            tables = [self.run.table(table) for table in names if self.run.has_table(table)]
            found.append(pd.concat(tables).assign(model=name))
        return found[0], found[1]

    def _step(self, name: str, part: str, work: Callable[[Step], EffectResults]) -> None:
        def measured(step: Step) -> None:
            found = work(step)
            step.table(f"effects-{name}-{part}", effect_table(found.effects))
            if found.profile:
                step.table(f"profile-{name}-{part}", pd.DataFrame(found.profile))

        self.run.step(f"{part}-{name}", measured)

    def _dictionaries(self, step: Step, subject: Subject) -> EffectResults:
        def log(name: str, values: dict[str, float], tokens: int) -> None:
            step.log({f"{name}/{key}": value for key, value in values.items()}, tokens)

        plans = [Plan(str(site), site, self.config.dictionaries) for site in (SITE, ENTITY_SITE)]
        folders = train_together(
            subject, plans, documents(), step.folder / "saes",
            checkpoints=step.scratch, log=log, progress=step.progress,
        )  # fmt: skip
        found = EffectResults()
        for plan, measure in zip(plans, (concepts, entities), strict=True):
            sae = load_sae(subject, folders[plan.name])
            assert isinstance(sae, SaeLatents)  # transcoders are refused by the config's check
            found += measure(subject, sae, self.config.seed, step.progress)
        return found

    def _card(self, step: Step, card: pd.DataFrame, profile: pd.DataFrame) -> None:
        own = self.config.models[0].name
        others = card[card["model"] != own]
        if len(others):
            digits = others.map(
                lambda cell: f"{cell:.5g}" if isinstance(cell, float) and cell == cell else cell
            )
            rows = digits.itertuples(index=False)
            write_text(step.folder / "seeds.csv", csv_text([str(name) for name in others], rows))
        if self.config.recorded:
            card = pd.concat([card, recorded()], ignore_index=True)
        step.table("card", card)
        step.table("profile", profile)
        gates = judged(card[card["model"] == own])
        step.table("gates", gates)
        step.metric("gates/held", int(gates["holds"].sum()), headline=True)
        step.metric("gates/missed", int((~gates["holds"]).sum()), headline=True)
        for row in gates.to_dict("records"):
            step.metric(row["label"], row["value"], headline=True)

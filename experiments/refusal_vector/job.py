"""The steps of `refusal_vector`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from interp.corpus.questions import Question, notes_on_questions
from interp.errors import UserError
from interp.intervene import orthogonalised
from interp.intervene.positions import Named
from interp.intervene.weights import editable_writers
from interp.statistics.estimate import Estimate
from interp.subject.forward import Intervention
from interp.track.files import read_safetensors, write_json, write_safetensors
from interp.track.records import read_written
from interp.track.run import Run
from interp.track.step import Step
from interp.vectors.file import load_vectors, save_vectors
from interp.vectors.refusal import (
    RefusalMeans,
    mean_centred_ablation,
    refusal_candidates,
    score_candidates,
    select_direction,
    treated_rightly,
)
from interp.vectors.requests import RequestParts, refuses
from interp.vectors.sweep import answered, rates
from interp.vectors.vector import Vector

from ..common.vectors.job import BehaviourJob
from .config import Config
from .page import RefusalPage

KINDS = ("harmful", "harmless")
HEADLINE = ("unchanged", "add, all, chosen", "add, last, chosen", "mean-centred")
Names = dict[str, str | float | int]
PROFILE = ("how", "layer", "coefficient", "positions", "kind")


class Job(BehaviourJob[Config]):
    """Finds and chooses the refusal direction, and applies it to held-out requests."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.requests = config.requests.open(self.subject, config.seed)
        run.tell(*notes_on_questions([*self.requests.harmful.report, *self.others]))

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        found = self.run.step("select", self.select)
        candidates = self._candidates(found)
        (vector,) = load_vectors(found / "vectors" / "refusal.safetensors", self.subject)
        chosen = read_written(found / "chosen.json")
        self.publish(found / "vectors", "vectors")
        self.run.step("profile", lambda step: self.profile(step, candidates, chosen["position"]))
        self.run.step("held_out", lambda step: self.held_out(step, candidates, vector, chosen["position"]))
        self.write_page(lambda: RefusalPage(self.run, self.config, self.subject, chosen))

    def select(self, step: Step) -> None:
        """Makes candidates from requests that the subject treats as it should, scores them, and chooses."""
        config, kept = self.config, {}
        for kind in KINDS:
            parts: RequestParts = getattr(self.requests, kind)
            for name, part in (("train", parts.train), ("validation", parts.validation)):
                kept[kind, name] = treated_rightly(self.subject, part, kind == "harmful")
                step.metric(f"select/{kind}/{name}/kept", len(kept[kind, name]))
                step.metric(f"select/{kind}/{name}/of", len(part))
                if len(kept[kind, name]) < 2:
                    raise UserError(
                        f"{self.subject.name} treats {len(kept[kind, name])} of {len(part)} as it should",
                        f"{kind} requests, {name}",
                        "give a model that refuses, or the words that its refusals begin with",
                    )
        harmful, harmless = ([request.prompt for request in kept[kind, "train"]] for kind in KINDS)
        candidates = refusal_candidates(self.subject, harmful, harmless)
        scores = score_candidates(self.subject, candidates, *(kept[kind, "validation"] for kind in KINDS))
        step.table("candidates", scores)
        position, layer = select_direction(
            scores,
            self.subject.n_layers,
            latest=config.latest,
            largest_kl=config.largest_kl,
            least_induced=config.least_induced,
        )
        step.metric("select/position", position, headline=True)
        step.metric("select/layer", layer, headline=True)
        means = {"harmful": candidates.harmful, "harmless": candidates.harmless}
        write_safetensors(step.folder / "means.safetensors", means)
        save_vectors(step.folder / "vectors" / "refusal.safetensors", [candidates.vector(position, layer)])
        chosen: dict[str, object] = {"position": position, "layer": layer}
        chosen |= {"positions": candidates.positions, "n": candidates.requests}
        write_json(step.folder / "chosen.json", chosen)

    def profile(self, step: Step, candidates: RefusalMeans, position: int) -> None:
        """Applies every layer's direction to validation requests, in every way, beside random ones."""
        rows: list[pd.DataFrame] = []
        layers = range(self.subject.n_layers)
        with step.progress.task("profile", total=len(layers), unit="layers") as advance:
            for layer in layers:
                vector = candidates.vector(position, layer)
                if vector.norm:
                    rows += self._at_layer(vector, candidates)
                advance(1)
        frame = pd.concat(rows, ignore_index=True)
        step.table("profile", rates(frame, PROFILE, self.config.seed))

    def _at_layer(self, vector: Vector, candidates: RefusalMeans) -> Iterator[pd.DataFrame]:
        layer, (null,) = vector.site.layer, self.control.like([vector], 0)

        def row(
            how: str, kind: str, edits: Sequence[Intervention], coefficient: float = 1.0, where: Named = "all"
        ) -> pd.DataFrame:
            asked = getattr(self.requests, kind).validation
            names: Names = {"how": how, "layer": layer, "coefficient": float(coefficient), "positions": where}
            return answered(self.subject, asked, edits, kind=kind, **names)

        for where, coefficient in product(self.config.positions, self.config.coefficients):
            for name, kind, edit in (
                ("add", "harmless", vector.intervention(self.subject, coefficient, where)),
                ("add, random", "harmless", null.intervention(self.subject, coefficient, where)),
                ("subtract", "harmful", vector.intervention(self.subject, -coefficient, where)),
            ):
                yield row(name, kind, [edit], coefficient, where)
        yield row("project out", "harmful", [vector.project_out(self.subject)])
        yield row("project out, random", "harmful", [null.project_out(self.subject)])
        yield row("mean-centred", "harmful", mean_centred_ablation(self.subject, vector, candidates))

    def held_out(self, step: Step, candidates: RefusalMeans, vector: Vector, position: int) -> None:
        """Applies the chosen direction to requests that were not used to make or choose it."""
        layer = vector.site.layer
        profile = self.run.table("profile")
        own = profile[profile["layer"] == layer]
        stronger = {}
        for how, where in product(("add", "subtract"), self.config.positions):
            fitting = own[(own["how"] == how) & (own["positions"] == where)]
            order = fitting.sort_values(["right", "coefficient"], ascending=[how == "subtract", True])
            stronger[how, where] = float(order["coefficient"].iloc[0])
            step.metric(f"chosen/{how}_{where}_coefficient", stronger[how, where])
        rows, costs, texts = [], [], []
        conditions = list(self._conditions(candidates, vector, position, stronger))
        with step.progress.task("held-out requests", total=len(conditions), unit="conditions") as advance:
            for condition, draw, block in conditions:
                names: Names = {"condition": condition, "draw": draw}
                with block():
                    for kind in KINDS:
                        asked = getattr(self.requests, kind).report
                        rows.append(answered(self.subject, asked, (), kind=kind, **names))
                        if draw == 0:
                            texts.append(self._written(asked, kind, condition))
                    costs.append(self.costs((), **names))
                advance(1)
        outcomes, written = pd.concat(rows, ignore_index=True), pd.concat(texts, ignore_index=True)
        step.table("outcomes", outcomes)
        step.table("costs", pd.concat(costs, ignore_index=True))
        step.table("texts", written)
        results = rates(outcomes, ["condition", "kind"], self.config.seed)
        shares = written.groupby(["condition", "kind"], sort=False)["refuses"].mean().rename("written")
        results = results.merge(shares.reset_index(), on=["condition", "kind"], how="left")
        step.table("results", results)
        for row in results.to_dict("records"):
            name = f"refused/{row['kind']}/{row['condition'].replace(', ', '_').replace(' ', '_')}"
            step.estimate(name, *Estimate.of(row, "right"), headline=row["condition"] in HEADLINE)

    def _conditions(
        self,
        candidates: RefusalMeans,
        vector: Vector,
        position: int,
        stronger: Mapping[tuple[str, Named], float],
    ) -> Iterator[tuple[str, int, Callable[[], AbstractContextManager[None]]]]:
        subject = self.subject

        def edits(*interventions: Intervention) -> Callable[[], AbstractContextManager[None]]:
            return lambda: subject.intervene(*interventions)

        yield "unchanged", 0, nullcontext
        for where in self.config.positions:
            for how, sign in (("add", 1), ("subtract", -1)):
                strength = sign * stronger[how, where]
                yield f"{how}, {where}, 1x", 0, edits(vector.intervention(subject, sign, where))
                yield f"{how}, {where}, chosen", 0, edits(vector.intervention(subject, strength, where))
        yield "project out", 0, edits(vector.project_out(subject))
        if self._has_writers():
            yield "weights orthogonalised", 0, lambda: orthogonalised(subject, vector.values)
        yield "mean-centred", 0, edits(*mean_centred_ablation(subject, vector, candidates))
        own = [candidates.vector(position, layer) for layer in range(subject.n_layers)]
        for draw in range(self.config.draws):
            nulls = self.control.like([one for one in own if one.norm], draw)
            for how, where in stronger:
                sign = 1 if how == "add" else -1
                tried = [
                    (null.intervention(subject, sign * strength, where),)
                    for null, strength in product(nulls, self.config.coefficients)
                ]
                yield f"{how}, {where}, random", draw, edits(*self._best(tried, how == "add"))
            out = [(null.project_out(subject),) for null in nulls]
            yield "project out, random", draw, edits(*self._best(out, False))
            centred = [tuple(mean_centred_ablation(subject, null, candidates)) for null in nulls]
            yield "mean-centred, random", draw, edits(*self._best(centred, False))

    def _best(self, tried: Sequence[tuple[Intervention, ...]], adds: bool) -> tuple[Intervention, ...]:
        """Returns the best of a random direction's layers and strengths, on the requests used to choose."""
        asked = (self.requests.harmless if adds else self.requests.harmful).validation
        refused = [answered(self.subject, asked, edits)["right"].mean() for edits in tried]
        return tried[int(np.argmax(refused) if adds else np.argmin(refused))]

    def _written(self, requests: Sequence[Question], kind: str, condition: str) -> pd.DataFrame:
        tokens, mask = self.subject.pad([request.prompt for request in requests])
        texts = [
            self.subject.decode(row)
            for row in self.subject.generate_ids(tokens, mask, self.config.new_tokens)
        ]
        return pd.DataFrame(
            {
                "condition": condition,
                "kind": kind,
                "prompt": [self.subject.decode(request.prompt) for request in requests],
                "text": texts,
                "refuses": np.array([refuses(text) for text in texts]),
            }
        )

    def _candidates(self, folder: Path) -> RefusalMeans:
        means, _ = read_safetensors(folder / "means.safetensors")
        chosen = read_written(folder / "chosen.json")
        positions = tuple(chosen["positions"])
        return RefusalMeans(positions, means["harmful"], means["harmless"], self.subject.name, chosen["n"])

    def _has_writers(self) -> bool:
        """Whether matrices write to the residual stream directly, with no norm between them."""
        try:
            return bool(editable_writers(self.subject))
        except UserError:
            return False

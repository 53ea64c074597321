"""The steps of `superposition`."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from interp.toys import geometry
from interp.toys.superposition import ToyModels, held_out_loss, linear_optimum, train_toys
from interp.track.files import read_safetensors
from interp.track.step import Step

from ..common.job import ExperimentJob
from .config import Config, ToyConfig
from .page import SuperpositionPage
from .saes import best_settings, measure_grid, measure_report

CHOOSE_SEED, REPORT_SEED = 10_001, 10_002  # of the inputs on which a copy is chosen and its loss reported
ARRANGEMENTS = np.array(list(geometry.GEOMETRIES.values()))
NEAR = 0.02  # a feature's dimensionality this close to that of an arrangement counts as near it


class Job(ExperimentJob[Config]):
    """Trains toy models in three settings, and compares SAEs with planted features."""

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        for name in ("vectors", "sparsity", "geometry"):
            self.run.step(name, lambda step: getattr(self, step.name)(step))
        planted = self.run.step("plant", self.plant) / "planted.safetensors"
        self.run.step("choose", lambda step: self.choose(step, planted))
        self.run.step("recover", lambda step: self.recover(step, planted))
        self.write_page(lambda: SuperpositionPage(self.run, self.config))

    def vectors(self, step: Step) -> None:
        """Trains models whose features lie in a plane."""
        models, features, W = self._trained(step, self.config.vectors)
        self._tables(step, models, features)
        for model, weights in zip(models.to_dict("records"), W, strict=True):
            density = f"{model['density']:g}"
            step.metric(f"vectors/{density}/represented", model["represented"])
            gaps = geometry.angle_gaps(weights)
            even = 360 / len(gaps) if len(gaps) else float("nan")
            step.metric(
                f"vectors/{density}/degrees_off_regular",
                float((gaps - even).abs().max()) if len(gaps) else None,
            )
        sparse = models.iloc[models["density"].argmin()]
        step.metric("vectors/represented_when_sparsest", sparse.represented, headline=True)

    def sparsity(self, step: Step) -> None:
        """Trains models with features of falling importance, with the ReLU and without."""
        models, features, _ = self._trained(step, self.config.sparsity)
        plain, plain_features, W = self._trained(step, self.config.sparsity, linear=True)
        projection = torch.zeros(self.config.sparsity.features)
        projection[: self.config.sparsity.dimensions] = 1
        plain["off_projection"] = (geometry.gram(W) - projection.diag()).abs().amax((1, 2)).tolist()
        self._tables(step, pd.concat([models, plain]), pd.concat([features, plain_features]))
        step.metric("sparsity/linear/off_projection", float(plain["off_projection"].max()))
        ratio = plain["loss"] / plain["linear_optimum"]
        step.metric("sparsity/linear/loss_over_optimum", float(ratio.max()))
        for model in models.to_dict("records"):
            name = f"sparsity/{model['density']:g}"
            step.metric(f"{name}/represented", model["represented"])
            step.metric(f"{name}/loss_over_linear", model["loss"] / model["linear_optimum"])

    def geometry(self, step: Step) -> None:
        """Trains models with equally important features, at many sparsities."""
        models, features, _ = self._trained(step, self.config.geometry)
        shown = features[features["represented"]]
        shares = {density: part["dimensionality"] for density, part in shown.groupby("density")}
        none = pd.Series(dtype=float)
        found = [shares.get(density, none).to_numpy(dtype=float) for density in models["density"]]
        near = [(_near(values, np.array([1 / 2])), _near(values, ARRANGEMENTS)) for values in found]
        models["near_digon"], models["near_any"] = zip(*near, strict=True)
        self._tables(step, models, features)
        step.metric("geometry/most_near_digon", float(models["near_digon"].max()), headline=True)
        least = min(geometry.GEOMETRIES.values())
        regular = models[models["dimensions_per_feature"] >= least]
        step.metric("geometry/near_any", float(regular["near_any"].mean()))
        step.metric("geometry/near_any_if_even", _near(np.linspace(0, 1, 10_001), ARRANGEMENTS))

    def plant(self, step: Step) -> None:
        """Trains toy models whose features the SAEs should recover: one for each density and seed."""
        toy = self.config.recovery.toy
        n_seeds = self.config.recovery.choosing_seeds + self.config.recovery.seeds
        density = torch.tensor(toy.densities).repeat_interleave(n_seeds)
        models = self._train(step, toy, density, linear=False)
        W = models.W.view(len(toy.densities), n_seeds, toy.features, toy.dimensions).contiguous()
        save_file({"W": W}, step.folder / "planted.safetensors")
        for at, density_at in enumerate(toy.densities):
            shown = geometry.represented(W[at]).sum(1).double()
            step.metric(f"plant/{density_at:g}/represented", float(shown.mean()))

    def choose(self, step: Step, planted: Path) -> None:
        """Measures every setting of every architecture on the seeds for choosing."""
        directions = read_safetensors(planted)[0]["W"][:, : self.config.recovery.choosing_seeds]
        grid = measure_grid(self.config.recovery, directions, self.config.seed, step.progress)
        step.table("settings", grid)

    def recover(self, step: Step, planted: Path) -> None:
        """Measures the chosen settings on the other seeds, beside the nulls."""
        recovery = self.config.recovery
        grid = self.run.table("settings")
        chosen = best_settings(grid, recovery.choose_by)
        W = read_safetensors(planted)[0]["W"][:, recovery.choosing_seeds :]
        dictionaries, features, latents = measure_report(recovery, W, chosen, self.config.seed, step.progress)
        step.table("recovery", dictionaries)
        step.table("recovery_features", features)
        step.table("recovery_latents", latents)
        means = dictionaries.groupby(["source", "dictionary", "density"], sort=False)
        for (source, dictionary, density), part in means:
            name = f"recovery/{source}/{dictionary}/{density:g}".replace(" ", "_")
            for measure in ("recall", "precision", "found", "f1", "auroc", "l0"):
                step.metric(f"{name}/{measure}", float(part[measure].mean()), headline=measure == "recall")

    def _train(self, step: Step, toy: ToyConfig, density: Tensor, linear: bool) -> ToyModels:
        kind = "linear" if linear else "toy"
        return train_toys(
            toy.training, toy.dimensions, density, _importance(toy),
            seed=self.config.seed, linear=linear, progress=step.progress,
            log=lambda values, at: step.log({f"{kind}/loss": values["toy/loss"]}, at),
            description=f"training {len(density)} {kind} models ({step.name})",
        )  # fmt: skip

    def _trained(
        self, step: Step, toy: ToyConfig, linear: bool = False
    ) -> tuple[pd.DataFrame, pd.DataFrame, Tensor]:
        """Returns the best copy at each density: model rows, feature rows, W [density, feature, hidden]."""
        density = torch.tensor(toy.densities).repeat_interleave(toy.copies)
        models = self._train(step, toy, density, linear)
        importance = _importance(toy)
        loss = held_out_loss(models, density, importance, seed=CHOOSE_SEED).view(-1, toy.copies)
        best = loss.argmin(1) + torch.arange(len(toy.densities)) * toy.copies
        kept = ToyModels(models.W[best], models.b[best], linear)
        density = torch.tensor(toy.densities)
        name = "linear" if linear else "relu"
        save_file({"W": kept.W, "b": kept.b}, step.folder / f"{name}.safetensors")
        table = pd.DataFrame(
            {
                "model": name,
                "density": toy.densities,
                "loss": held_out_loss(kept, density, importance, seed=REPORT_SEED).double().numpy(),
                "linear_optimum": linear_optimum(density, importance, toy.dimensions).double().numpy(),
                "represented": geometry.represented(kept.W).sum(1).numpy(),
                "dimensions_per_feature": geometry.dimensions_per_feature(kept.W).double().numpy(),
            }
        )
        features = pd.DataFrame(
            {
                "model": name,
                "density": np.repeat(toy.densities, toy.features),
                "feature": np.tile(np.arange(toy.features), len(toy.densities)),
                "importance": np.tile(importance.numpy(), len(toy.densities)),
                "bias": kept.b.flatten().numpy(),
                "length": geometry.lengths(kept.W).flatten().numpy(),
                "represented": geometry.represented(kept.W).flatten().numpy(),
                "superposition": geometry.superposition(kept.W).flatten().numpy(),
                "dimensionality": geometry.dimensionality(kept.W).flatten().numpy(),
            }
        )
        return table, features, kept.W

    def _tables(self, step: Step, models: pd.DataFrame, features: pd.DataFrame) -> None:
        step.table(f"{step.name}_models", models.reset_index(drop=True))
        step.table(f"{step.name}_features", features.reset_index(drop=True))


def _importance(toy: ToyConfig) -> Tensor:
    return toy.importance ** torch.arange(toy.features, dtype=torch.float32)


def _near(values: NDArray[np.float64], lines: NDArray[np.float64]) -> float:
    """Returns the share of values within `NEAR` of one of the lines; NaN without values."""
    return float((np.abs(values[:, None] - lines) < NEAR).any(1).mean()) if len(values) else float("nan")

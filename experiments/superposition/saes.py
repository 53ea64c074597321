"""The SAEs of `superposition`: trained on planted features, and held against them beside nulls."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from experiments.superposition.config import RecoveryConfig, sae_training
from interp.compare.recovery import Recovery, recovery
from interp.fields import seed_after
from interp.toys.geometry import represented
from interp.track.progress import Progress
from saes.architecture import Architecture
from saes.config import SaeTraining
from saes.cosines import random_directions
from saes.fit import fit
from saes.planted import PlantedFeatures

RANDOM, UNTRAINED = "random directions", "untrained SAE"
RECALL = "recall"
HELD_OUT = 1_000_000  # added to a seed for activations that no SAE was trained on
NO_STEP = 1e-12  # a learning rate that leaves weights as they were
Chosen = Mapping[tuple[str, float, str], Architecture]
"""The setting for a source, a density and a kind of architecture."""


def measure_grid(config: RecoveryConfig, W: Tensor, seed: int, progress: Progress) -> pd.DataFrame:
    """Every setting on every seed for choosing, a row each; W is [density, seed, feature, hidden]."""
    rows = []
    cases = list(_cases(config, W, seed))
    total = len(cases) * len(config.architectures)
    with progress.task("choosing settings", total=total, unit="SAEs") as advance:
        for case in cases:
            for place, architecture in enumerate(config.architectures):
                found = case.trained(sae_training(config, architecture, case.seed))
                names = {"setting": place, "sparsity": sparsity(architecture)}
                rows.append(case.names(architecture.kind) | names | figures(found))
                advance(1)
    return pd.DataFrame(rows)


def best_settings(grid: pd.DataFrame, by: str) -> pd.DataFrame:
    """For each source, density and kind, the setting of the highest mean `by` on the seeds for choosing."""
    keys = ["source", "density", "dictionary"]
    means = grid.groupby([*keys, "setting", "sparsity"], sort=False)[by].mean().reset_index()
    means[by] = means[by].fillna(-1.0)  # where no latent fires
    return means.loc[means.groupby(keys, sort=False)[by].idxmax()]


def measure_report(
    config: RecoveryConfig, W: Tensor, chosen: pd.DataFrame, seed: int, progress: Progress
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The chosen settings and the nulls: a row a dictionary, a row a feature, a row a latent."""
    dictionaries, features, latents = [], [], []
    cases = list(_cases(config, W, seed_after(seed, config.choosing_seeds)))
    kinds = chosen["dictionary"].nunique()
    with progress.task("recovering features", total=len(cases) * (kinds + 2), unit="SAEs") as advance:
        for case in cases:
            mine = chosen[(chosen["source"] == case.source) & (chosen["density"] == case.density)]
            found: dict[str, tuple[str, Recovery]] = {}
            for row in mine.itertuples():
                architecture = config.architectures[row.setting]
                result = case.trained(sae_training(config, architecture, case.seed))
                found[row.dictionary] = (row.sparsity, result)
                advance(1)
            untrained = sae_training(config, config.architectures[mine["setting"].iloc[0]], case.seed)
            found[UNTRAINED] = ("", case.untrained(untrained))
            found[RANDOM] = ("", case.random(config.sae.n_latents))
            advance(2)
            for name, (setting, result) in found.items():
                names = case.names(name)
                dictionaries.append(names | {"sparsity": setting} | figures(result))
                features.append(
                    pd.DataFrame(
                        {
                            **names,
                            "cosine": result.cosine.double().numpy(),
                            "f1": result.f1.double().numpy(),
                            "auroc": result.auroc.double().numpy(),
                        }
                    )
                )
                latents.append(pd.DataFrame({**names, "cosine": result.latent_cosine.double().numpy()}))
    return pd.DataFrame(dictionaries), pd.concat(features), pd.concat(latents)


class Case:
    """Planted features at one density under one seed."""

    def __init__(
        self, source: str, density: float, seed: int, directions: Tensor, config: RecoveryConfig
    ) -> None:
        self.source, self.density, self.seed = source, density, seed
        shown = represented(directions)
        self.training = PlantedFeatures(
            directions, density, seed=seed, buffer_tokens=config.sae.buffer_tokens
        )
        held_out = PlantedFeatures(directions, density, seed=seed + HELD_OUT, buffer_tokens=config.tokens)
        values = held_out.features(0)
        self.activations = values @ directions
        self.directions, self.values = directions[shown], values[:, shown]

    def names(self, dictionary: str) -> dict[str, Any]:
        """What a row of a table is about."""
        return {
            "source": self.source, "density": self.density, "dictionary": dictionary, "seed": self.seed,
            "planted": len(self.directions),
        }  # fmt: skip

    def trained(self, config: SaeTraining) -> Recovery:
        """An SAE trained on the features' activations."""
        return self._measured(fit(config, self.training).sae)

    def untrained(self, config: SaeTraining) -> Recovery:
        """The same SAE after one step of no size: scaled and centred, its directions those it began with."""
        changed = {"training_tokens": config.batch_tokens, "learning_rate": NO_STEP, "warm_up_steps": 0}
        return self._measured(fit(config.model_copy(update=changed), self.training).sae)

    def random(self, n_latents: int) -> Recovery:
        """Random directions, active where the activation lies on their side."""
        decoder = random_directions(n_latents, self.directions.shape[1], self.seed)
        return recovery(self.directions, self.values, decoder, (self.activations @ decoder.T).relu())

    def _measured(self, sae: Any) -> Recovery:
        with torch.no_grad():
            latents = sae.encode(self.activations)
        return recovery(self.directions, self.values, sae.W_dec.detach().float(), latents.float())


def figures(found: Recovery) -> dict[str, float]:
    """A dictionary's figures."""
    return {
        RECALL: found.recall,
        "precision": found.precision,
        "found": found.found,
        "f1": float(found.f1.nanmean()),
        "auroc": float(found.auroc.nanmean()),
        "l0": found.l0,
        "true_l0": found.true_l0,
        "active": len(found.latent_cosine),
    }


def sparsity(architecture: Architecture) -> str:
    """The setting that makes it sparse, as text: "k 2"."""
    return f"{architecture.sparsity_key} {getattr(architecture, architecture.sparsity_key):g}"


def _cases(config: RecoveryConfig, W: Tensor, seed: int) -> Iterator[Case]:
    for source in config.sources:
        for density, models in zip(config.toy.densities, W, strict=True):
            for place, learnt in enumerate(models):
                own = seed_after(seed, place)
                planted = learnt if source == "toy" else random_directions(*learnt.shape, HELD_OUT + own)
                yield Case(source, density, own, planted, config)

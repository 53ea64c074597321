"""Trains the SAEs of `superposition` on planted features, and compares them and nulls with these."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from interp.compare.recovery import HELD_OUT, PlantedTruth, Recovery
from interp.fields import seed_after
from interp.track.progress import Progress
from saes.architecture import Architecture
from saes.cosines import random_unit_vectors

from .config import RecoveryConfig, sae_training

RANDOM, UNTRAINED = "random directions", "untrained SAE"


def measure_grid(config: RecoveryConfig, W: Tensor, seed: int, progress: Progress) -> pd.DataFrame:
    """Measures every setting on every seed for choosing, a row each; W [density, seed, feature, hidden]."""
    rows = []
    cases = list(_cases(config, W, seed))
    total = len(cases) * len(config.architectures)
    with progress.task("choosing settings", total=total, unit="SAEs") as advance:
        for case in cases:
            for place, architecture in enumerate(config.architectures):
                found = case.truth.trained(sae_training(config, architecture, case.seed))
                names = {"setting": place, "sparsity": sparsity(architecture)}
                rows.append(case.names(architecture.kind) | names | found.figures())
                advance(1)
    return pd.DataFrame(rows)


def best_settings(grid: pd.DataFrame, by: str) -> pd.DataFrame:
    """Returns, by source, density and kind, the setting of the highest mean `by` on the choosing seeds."""
    keys = ["source", "density", "dictionary"]
    means = grid.groupby([*keys, "setting", "sparsity"], sort=False)[by].mean().reset_index()
    means[by] = means[by].fillna(-1.0)  # where no latent fires
    return means.loc[means.groupby(keys, sort=False)[by].idxmax()]


def measure_report(
    config: RecoveryConfig, W: Tensor, chosen: pd.DataFrame, seed: int, progress: Progress
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Measures the chosen settings and the nulls: tables by dictionary, by feature, by latent."""
    dictionaries, features, latents = [], [], []
    cases = list(_cases(config, W, seed_after(seed, config.choosing_seeds)))
    kinds = chosen["dictionary"].nunique()
    with progress.task("recovering features", total=len(cases) * (kinds + 2), unit="SAEs") as advance:
        for case in cases:
            mine = chosen[(chosen["source"] == case.source) & (chosen["density"] == case.density)]
            found: dict[str, tuple[str, Recovery]] = {}
            for row in mine.to_dict("records"):
                architecture = config.architectures[row["setting"]]
                result = case.truth.trained(sae_training(config, architecture, case.seed))
                found[row["dictionary"]] = (row["sparsity"], result)
                advance(1)
            untrained = sae_training(config, config.architectures[mine["setting"].iloc[0]], case.seed)
            found[UNTRAINED] = ("", case.truth.untrained(untrained))
            found[RANDOM] = ("", case.truth.random(config.sae.n_latents))
            advance(2)
            for name, (setting, result) in found.items():
                names = case.names(name)
                dictionaries.append(names | {"sparsity": setting} | result.figures())
                found_by = {key: getattr(result, key).double().numpy() for key in ("cosine", "f1", "auroc")}
                features.append(pd.DataFrame({**names, **found_by}))
                latents.append(pd.DataFrame({**names, "cosine": result.latent_cosine.double().numpy()}))
    return pd.DataFrame(dictionaries), pd.concat(features), pd.concat(latents)


@dataclass(frozen=True)
class Case:
    """Planted features at one density under one seed."""

    source: str
    density: float
    seed: int
    truth: PlantedTruth

    def names(self, dictionary: str) -> dict[str, Any]:
        """Returns the columns that identify a row of a table."""
        return {
            "source": self.source, "density": self.density, "dictionary": dictionary, "seed": self.seed,
            "planted": len(self.truth.directions),
        }  # fmt: skip


def sparsity(architecture: Architecture) -> str:
    """Returns the sparsity setting as text: "k 2"."""
    return f"{architecture.sparsity_key} {getattr(architecture, architecture.sparsity_key):g}"


def _cases(config: RecoveryConfig, W: Tensor, seed: int) -> Iterator[Case]:
    for source in config.sources:
        for density, models in zip(config.toy.densities, W, strict=True):
            for place, learnt in enumerate(models):
                own = seed_after(seed, place)
                planted = (
                    learnt
                    if source == "toy"
                    else random_unit_vectors(learnt.shape[0], learnt.shape[1], HELD_OUT + own)
                )
                sizes = {"buffer_tokens": config.sae.buffer_tokens, "tokens": config.tokens}
                yield Case(source, density, own, PlantedTruth(planted, density, seed=own, **sizes))

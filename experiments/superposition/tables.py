"""The results of `superposition`: the tables of a run, their means, and the drawings made from both."""

import math

import torch
from torch import Tensor

from interp.render.charts.curves import Curve, curve_chart
from interp.render.figure import Draw
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, mean_interval
from interp.toys import geometry
from interp.track.files import read_safetensors
from interp.track.run import Run

from .charts import Gram, Plane, Shares, gram_chart, plane_chart, share_chart
from .config import Config, ToyConfig
from .saes import RANDOM, UNTRAINED

SPARSITY = "sparsity of the features, log10 of 1/(1 − S)"
NULLS = (UNTRAINED, RANDOM)
MEASURES = {"cosine": "mean max cosine of the planted features", "f1": "F1 of the nearest latent"}


class RunTables:
    """The tables of a run, its estimates, and the drawings made from them."""

    def __init__(self, run: Run, config: Config) -> None:
        self.run, self.config = run, config
        settings = ("vectors", "sparsity", "geometry")
        names = [f"{name}_{kind}" for name in settings for kind in ("models", "features")]
        names += ["settings", "recovery", "recovery_features", "recovery_latents"]
        self.tables = {name: run.table(name) for name in names}
        self.sources = list(config.recovery.sources)

    def densities(self, source: str) -> list[float]:
        """Returns the densities of the planted features, from dense to sparse."""
        table = self.tables["recovery"]
        return sorted(table.loc[table["source"] == source, "density"].unique(), reverse=True)

    def kinds(self, source: str) -> list[str]:
        """Returns the kinds of SAEs, without the nulls."""
        table = self.tables["recovery"]
        named = table.loc[table["source"] == source, "dictionary"].unique()
        return [name for name in named if name not in NULLS]

    def estimate(
        self, source: str, dictionary: str, density: float, column: str, table: str = "recovery_features"
    ) -> Estimate:
        """Returns a mean over features (or latents) of all seeds; for a null, with the range of seeds."""
        frame = self.tables[table]
        at = (frame["source"] == source) & (frame["dictionary"] == dictionary) & (frame["density"] == density)
        part = frame[at].dropna(subset=[column])
        if dictionary in NULLS:
            seeds = part.groupby("seed")[column].mean()
            return Estimate(float(seeds.mean()), float(seeds.min()), float(seeds.max()))
        return mean_interval(part[column].to_numpy(dtype=float), self.config.seed)

    def recovered(self, source: str, column: str) -> Draw:
        """Draws a measure of every dictionary against sparsity."""
        curves = []
        for name in [*self.kinds(source), *NULLS]:
            role: Role = "null" if name in NULLS else "b"
            points = [
                (-math.log10(d), self.estimate(source, name, d, column)) for d in self.densities(source)
            ]
            curves.append(Curve(name, role, points))
        return curve_chart(curves, x_name=SPARSITY, y_name=MEASURES[column])

    def vectors(self) -> Draw:
        """Draws the features in the plane."""
        W = self._weights("vectors")
        panels = [
            Plane(f"density {density:g}", [(float(x), float(y)) for x, y in weights],
                  f"{int(geometry.represented(weights).sum())} represented")
            for density, weights in self._denser_first(self.config.vectors, W)
        ]  # fmt: skip
        return plane_chart(panels, name="directions of the features in the hidden plane")

    def grams(self) -> Draw:
        """Draws the features of falling importance, and those of the linear model."""
        toy = self.config.sparsity
        shown = [(f"density {d:g}", W) for d, W in self._denser_first(toy, self._weights("sparsity"))]
        linear = self._denser_first(toy, self._weights("sparsity", "linear"))
        shown.append((f"linear, density {linear[0][0]:g}", linear[0][1]))
        panels = [
            Gram(
                name,
                geometry.gram(W).tolist(),
                geometry.lengths(W).tolist(),
                geometry.superposition(W).tolist(),
            )
            for name, W in shown
        ]
        return gram_chart(panels, name="dot products of the features' directions, WᵀW")

    def dimensionality(self) -> Draw:
        """Draws how features share dimensions."""
        features = self.tables["geometry_features"]
        kept = features[features["represented"]]
        models = [
            Shares(
                -math.log10(row["density"]),
                kept.loc[kept["density"] == row["density"], "dimensionality"].tolist(),
                row["dimensions_per_feature"],
            )
            for row in self.tables["geometry_models"].to_dict("records")
        ]
        return share_chart(models, geometry.GEOMETRIES, x_name=SPARSITY)

    def _weights(self, step: str, model: str = "relu") -> Tensor:
        return read_safetensors(self.run.folder / "steps" / step / f"{model}.safetensors")[0]["W"]

    @staticmethod
    def _denser_first(toy: ToyConfig, W: Tensor) -> list[tuple[float, Tensor]]:
        return sorted(zip(toy.densities, torch.unbind(W), strict=True), key=lambda pair: -pair[0])

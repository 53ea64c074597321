"""The figures of `superposition`, drawn from what its steps wrote."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from experiments.superposition.config import Config, ToyConfig
from experiments.superposition.saes import RANDOM, UNTRAINED
from interp.render.data import Kind
from interp.render.dimensionality_figure import Sparsity, dimensionalities
from interp.render.dose_figure import Curve, dose_response
from interp.render.gram_figure import GramPanel, grams
from interp.render.vectors_figure import Panel, vectors
from interp.statistics.estimate import Estimate, mean_interval
from interp.toys import geometry
from interp.track.files import read_safetensors
from interp.track.run import Run

Draw = Callable[[int], str]
SPARSITY = "sparsity of the features, log10 of 1/(1 − S)"
NULLS = (UNTRAINED, RANDOM)
MEASURES = {"cosine": "mean max cosine of the planted features", "f1": "F1 of the nearest latent"}


class SuperpositionFigures:
    """The tables of a run, its estimates, and the drawings made from them."""

    def __init__(self, run: Run, config: Config) -> None:
        self.run, self.config = run, config
        settings = ("vectors", "sparsity", "geometry")
        names = [f"{name}_{kind}" for name in settings for kind in ("models", "features")]
        names += ["settings", "recovery", "recovery_features", "recovery_latents"]
        self.tables = {name: run.table(name) for name in names}
        self.sources = list(config.recovery.sources)

    def files(self) -> dict[str, str]:
        """The figures as files of their own, by name."""
        return {
            "vectors": self.vectors(standalone=True)(760),
            "importance": self.grams(standalone=True)(760),
            "dimensionality": self.dimensionality(standalone=True)(620),
            **{
                f"recovery_{source}_{column}": self.recovered(source, column, standalone=True)(620)
                for source in self.sources
                for column in MEASURES
            },
        }

    def densities(self, source: str) -> list[float]:
        """The densities of the planted features, from dense to sparse."""
        table = self.tables["recovery"]
        return sorted(table.loc[table["source"] == source, "density"].unique(), reverse=True)

    def kinds(self, source: str) -> list[str]:
        """The kinds of SAEs, without the nulls."""
        table = self.tables["recovery"]
        named = table.loc[table["source"] == source, "dictionary"].unique()
        return [name for name in named if name not in NULLS]

    def estimate(
        self, source: str, dictionary: str, density: float, column: str, table: str = "recovery_features"
    ) -> Estimate:
        """A mean over features (or latents) of all seeds; of a null, with the range of the seeds."""
        frame = self.tables[table]
        at = (frame["source"] == source) & (frame["dictionary"] == dictionary) & (frame["density"] == density)
        part = frame[at].dropna(subset=[column])
        if dictionary in NULLS:
            seeds = part.groupby("seed")[column].mean()
            return Estimate(float(seeds.mean()), float(seeds.min()), float(seeds.max()))
        return mean_interval(part[column].to_numpy(dtype=float), self.config.seed)

    def recovered(self, source: str, column: str, standalone: bool = False) -> Draw:
        """A measure of every dictionary against sparsity."""
        curves = []
        for name in [*self.kinds(source), *NULLS]:
            kind: Kind = "random" if name in NULLS else "latent"
            points = [
                (-math.log10(d), self.estimate(source, name, d, column)) for d in self.densities(source)
            ]
            curves.append(Curve(name, kind, points))
        return lambda width: dose_response(
            curves, x_name=SPARSITY, y_name=MEASURES[column], width=width, standalone=standalone
        )

    def vectors(self, standalone: bool = False) -> Draw:
        """The features in the plane."""
        W = self._weights("vectors")
        panels = [
            Panel(f"density {density:g}", [(float(x), float(y)) for x, y in weights],
                  f"{int(geometry.represented(weights).sum())} represented")
            for density, weights in self._denser_first(self.config.vectors, W)
        ]  # fmt: skip
        return lambda width: vectors(panels, name="directions of the features in the hidden plane",
                                     width=width, standalone=standalone)  # fmt: skip

    def grams(self, standalone: bool = False) -> Draw:
        """The features of falling importance, and those of the linear model."""
        toy = self.config.sparsity
        shown = [(f"density {d:g}", W) for d, W in self._denser_first(toy, self._weights("sparsity"))]
        linear = self._denser_first(toy, self._weights("sparsity", "linear"))
        shown.append((f"linear, density {linear[0][0]:g}", linear[0][1]))
        panels = [
            GramPanel(
                name,
                geometry.gram(W).tolist(),
                geometry.lengths(W).tolist(),
                geometry.superposition(W).tolist(),
            )
            for name, W in shown
        ]
        return lambda width: grams(panels, name="dot products of the features' directions, WᵀW",
                                   width=width, standalone=standalone)  # fmt: skip

    def dimensionality(self, standalone: bool = False) -> Draw:
        """How dimensions are shared."""
        features = self.tables["geometry_features"]
        kept = features[features["represented"]]
        models = [
            Sparsity(
                -math.log10(row.density),
                kept.loc[kept["density"] == row.density, "dimensionality"].tolist(),
                row.dimensions_per_feature,
            )
            for row in self.tables["geometry_models"].itertuples()
        ]
        return lambda width: dimensionalities(
            models, geometry.GEOMETRIES, x_name=SPARSITY, width=width, standalone=standalone
        )

    def _weights(self, step: str, model: str = "relu") -> Tensor:
        return read_safetensors(self.run.folder / "steps" / step / f"{model}.safetensors")[0]["W"]

    @staticmethod
    def _denser_first(toy: ToyConfig, W: Tensor) -> list[tuple[float, Tensor]]:
        return sorted(zip(toy.densities, torch.unbind(W), strict=True), key=lambda pair: -pair[0])

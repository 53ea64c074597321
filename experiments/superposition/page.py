"""The page of `superposition`: how features share dimensions, and what SAEs recover of them."""

from collections.abc import Sequence

from interp.render.digits import interval, measured, number, percent
from interp.render.figure import Figure
from interp.render.page import Column, Section, StudiedModel, Table
from interp.statistics.estimate import Estimate
from interp.track.run import Run

from ..common.frames import groups
from ..common.page import ExperimentPage
from .config import Config
from .saes import RANDOM
from .tables import MEASURES, NULLS, RunTables


class SuperpositionPage(ExperimentPage[Config]):
    """Shows toy models in the plane, SAEs against planted features, and the two other settings."""

    words = (
        ("Toy model", "x' = ReLU(WᵀW x + b): features x are compressed to fewer dimensions, h = W x, and "
         "reconstructed; the loss is the squared error, weighted by each feature's importance."),
        ("Density, 1 − S", "The probability that a feature is present; its value is then uniform from 0 to "
         "1."),
        ("Represented", "A feature whose column of W has a length of at least 0.5."),
        ("Superposition", "How much of the other features lies on a feature's direction: the sum of "
         "(Ŵᵢ · Wⱼ)² over the others."),
        ("D", "Dimensions of a feature: its squared length over the sum of (Ŵᵢ · Wⱼ)², itself included. "
         "Corners of a regular arrangement share its dimensions evenly: two on a line have 1/2 each (a "
         "digon)."),
        ("Mean max cosine", "For each planted feature the cosine with the nearest latent's decoder row, "
         "averaged (recall); for each active latent that with the nearest planted feature (precision)."),
        ("F1", "How well the nearest latent detects that the feature is present, above a threshold chosen "
         "on other activations."),
        ("Interval", "95%, by bootstrap over the planted features (or latents) of all seeds; of a null, the "
         "range of seeds."),
    )  # fmt: skip
    limits = (
        "The features are independent and uniform, of known importance and sparsity; real features are not.",
        "Sparsity settings are chosen by the planted truth (of other seeds), which no language model gives.",
        "Features of one seed share a model and an SAE; the intervals treat them as independent. The tables "
        "have every seed.",
        "The published arrangements are of 400 features in 30 dimensions; with fewer, fewer kinds appear.",
    )

    def __init__(self, run: Run, config: Config) -> None:
        super().__init__(run, config)
        self.tables = RunTables(run, config)

    def question(self) -> str:
        return "Can a model hold more features than it has dimensions, and can an SAE recover them?"

    def opening(self) -> Sequence[str]:
        vectors = self.config.vectors
        return [
            f"Small models compress {vectors.features} features to {vectors.dimensions} dimensions; "
            "when features are rarely present at once, sharing a dimension costs little.",
            f"How many features they then represent: {self._counts()}.",
            self._verdict(),
        ]

    def headline(self) -> Figure:
        vectors = self.config.vectors
        return Figure(
            "vectors",
            f"{vectors.features} features in {vectors.dimensions} dimensions, denser to sparser",
            f"Directions of the features, the most important darkest; the best of {vectors.copies} "
            f"models at each density; seed {self.config.seed}. Circle: length 1.",
            self.tables.vectors(),
            760,
        )

    def sections(self) -> Sequence[Section]:
        recovered = [self._recovery(source) for source in self.tables.sources]
        return [*recovered, self._settings(), self._falling(), self._shared(), self._every_seed()]

    def studied(self) -> StudiedModel:
        toy = self.config.recovery.toy
        return StudiedModel(
            name="toy models",
            architecture="ReLU(WᵀW x + b)",
            parameters=toy.features * (toy.dimensions + 1),
            layers=1,
            d_model=toy.dimensions,
            vocabulary=0,
            context_size=1,
            backend="torch",
            note="Sizes of the models that SAEs were trained on; they read numbers, not tokens.",
        )

    def _recovery(self, source: str) -> Section:
        toy = self.config.recovery.toy
        what = (
            f"the features of toy models ({toy.features} in {toy.dimensions} dimensions)"
            if source == "toy"
            else f"{toy.features} random directions in {toy.dimensions} dimensions"
        )
        seeds = self.config.recovery.seeds
        caption = f"{seeds} seeds, activations no SAE was trained on. Bands: 95%; nulls in grey."
        table = self.tables.tables["recovery"]
        mine = table[table["source"] == source]
        columns = [
            Column("density", places=3), Column("dictionary"), Column("setting"), Column("recall"),
            Column("precision"), Column("found", "cosine ≥ .9", 2), Column("F1"), Column("AUROC"),
            Column("L0", places=1), Column("features present", places=1), Column("active latents", places=0),
            Column("planted", places=0),
        ]  # fmt: skip
        rows = [
            [density, name, ", ".join(dict.fromkeys(part["sparsity"])),
             self.tables.estimate(source, name, density, "cosine"),
             self.tables.estimate(source, name, density, "cosine", "recovery_latents"),
             part["found"].mean(),
             self.tables.estimate(source, name, density, "f1"),
             self.tables.estimate(source, name, density, "auroc"),
             part["l0"].mean(), part["true_l0"].mean(), part["active"].mean(), part["planted"].mean()]
            for (density, name), part in groups(mine, "density", "dictionary")
        ]  # fmt: skip
        return Section(
            f"SAEs on {what}: {self._said(source)}",
            [
                "Only represented features count as planted. Many directions in few dimensions are close "
                "to one another by chance, so the mean max cosine of the nulls is far from 0.",
                self._presence(source),
            ],
            [
                Figure(
                    f"recovery_{source}_{column}",
                    said[:1].upper() + said[1:],
                    caption,
                    self.tables.recovered(source, column),
                )
                for column, said in MEASURES.items()
            ],
            [Table(f"recovery {source}", "Means over the seeds", columns, rows)],
        )

    def _presence(self, source: str) -> str:
        """Says how well latents detect that a feature is present, apart from its direction."""
        said = []
        for column in ("f1", "auroc"):
            pairs = [
                f"{number(self._best(source, self.tables.kinds(source), density, column))} (nulls "
                f"{number(self._best(source, NULLS, density, column))}) at density {density:g}"
                for density in self.tables.densities(source)
            ]
            said.append(", ".join(pairs))
        return (
            "Finding a direction is not yet detecting when its feature is present. The best SAE's latents "
            f"detect it with an F1 of {said[0]}; by AUROC, {said[1]}. AUROC ranks all activations, and a "
            "latent that is mostly 0 leaves most of them tied, which a random direction does not."
        )

    def _best(self, source: str, names: Sequence[str], density: float, column: str) -> float:
        return max(self.tables.estimate(source, name, density, column).point or 0.0 for name in names)

    def _settings(self) -> Section:
        table = self.tables.tables["settings"]
        by = "F1" if self.config.recovery.choose_by == "f1" else "recall"
        keys, recall = ["source", "density", "dictionary", "sparsity"], "recall"
        columns = (
            Column("source"), Column("density", places=3), Column("dictionary"),
            Column("setting", of="sparsity"), Column(recall, places=3), Column("precision", places=3),
            Column("found", places=2), Column("F1", places=2, of="f1"), Column("L0", places=1, of="l0"),
            Column("features present", places=1, of="true_l0"),
        )  # fmt: skip
        measures = [recall, "precision", "found", "f1", "l0", "true_l0"]
        means = table.groupby(keys, sort=False)[measures].mean()
        text = (
            f"Each kind of SAE was tried in several settings on other seeds, and that of the highest {by} "
            "kept; a wrong setting can cost most of what is recovered."
        )
        seeds = f"{self.config.recovery.choosing_seeds} seed(s) for choosing"
        spread = means[recall].groupby(level=[0, 1, 2]).agg(lambda values: values.max() - values.min())
        return Section(
            f"The sparsity setting moves the recall by up to {number(float(spread.max()))}",
            [text],
            (),
            [Table.of(means.reset_index(), columns, "settings", seeds)],
        )

    def _falling(self) -> Section:
        toy = self.config.sparsity
        models = self.tables.tables["sparsity_models"]
        plain, relu = (models[models["model"] == name] for name in ("linear", "relu"))
        off = float(plain["off_projection"].median())
        ratio = (plain["loss"] / plain["linear_optimum"] - 1).abs().max()
        columns = (
            Column("density", places=3), Column("model"), Column("represented", places=0), Column("loss"),
            Column("least linear loss", of="linear_optimum"),
            Column("loss over least linear", places=3, of="ratio"),
        )  # fmt: skip
        shown = models.assign(
            model=models["model"].replace("relu", "ReLU"), ratio=models["loss"] / models["linear_optimum"]
        )
        sparse = relu.iloc[relu["density"].argmin()]
        return Section(
            f"With the ReLU, {sparse.represented} of {toy.features} features share {toy.dimensions} "
            "dimensions when sparsest; without it, only the most important have one",
            [
                f"The linear model is principal component analysis: at best, WᵀW projects on the "
                f"{toy.dimensions} most important features whatever the sparsity. The trained one's loss is "
                f"within {percent(float(ratio))} of that at every density, and its WᵀW within "
                f"{number(off, 3)} at the median one (where features hardly occur, training has not turned "
                "it all the way).",
                "Each map shows WᵀW, most important feature first: a lone diagonal is a feature to itself, "
                "marks off the diagonal are features that share dimensions.",
            ],
            [
                Figure(
                    "importance",
                    "WᵀW, length and superposition of every feature",
                    f"{toy.features} features in {toy.dimensions} dimensions, importance "
                    f"{toy.importance:g} to the power of i; seed {self.config.seed}.",
                    self.tables.grams(),
                    760,
                )
            ],
            [Table.of(shown, columns, "loss", "Loss on inputs not trained on, beside the closed form")],
        )

    def _shared(self) -> Section:
        toy = self.config.geometry
        models = self.tables.tables["geometry_models"]
        most = models.iloc[models["near_digon"].fillna(-1).argmax()]
        near, even = (self.run.metrics[f"geometry/{name}"] for name in ("near_any", "near_any_if_even"))
        sticky = (
            f"While D* is at least 3/8, {percent(float(near or 0))} of the represented features lie within "
            "0.02 of the share of a regular arrangement; of shares spread evenly from 0 to 1, "
            f"{percent(float(even or 0))} would. Sparser still, features take less than any of these."
        )
        columns = (
            Column("density", places=3), Column("D*", places=3, of="dimensions_per_feature"),
            Column("represented", places=0), Column("near 1/2", "share", 2, "near_digon"),
            Column("near any", "share", 2, "near_any"),
        )  # fmt: skip
        return Section(
            f"At density {most.density:g}, {percent(float(most.near_digon))} of the represented features "
            "share a dimension by twos",
            [sticky],
            [
                Figure(
                    "dimensionality",
                    "Dimensions that each feature takes",
                    f"{toy.features} equally important features in {toy.dimensions} dimensions; represented "
                    f"ones only; seed {self.config.seed}.",
                    self.tables.dimensionality(),
                )
            ],
            [Table.of(models, columns, "geometry", "A model at each density")],
        )

    def _every_seed(self) -> Section:
        columns = (
            Column("source"), Column("density", places=3), Column("dictionary"), Column("seed", places=0),
            Column("setting", of="sparsity"), Column("recall", places=3), Column("precision", places=3),
            Column("found", places=2), Column("F1", places=2, of="f1"), Column("AUROC", places=2, of="auroc"),
        )  # fmt: skip
        table = Table.of(self.tables.tables["recovery"], columns, "seeds", "A row a dictionary")
        return Section("Every seed", (), (), [table])

    def _counts(self) -> str:
        models = self.tables.tables["vectors_models"].sort_values("density", ascending=False)
        return ", ".join(f"{row.represented} at density {row.density:g}" for row in models.itertuples())

    def _verdict(self) -> str:
        source = self.tables.sources[0]
        what = "them" if source == "toy" else "random directions"
        best: dict[float, tuple[Estimate, str]] = {}
        for density in self.tables.densities(source):
            named = [
                (self.tables.estimate(source, name, density, "cosine"), name)
                for name in self.tables.kinds(source)
            ]
            best[density] = max(named, key=lambda pair: pair[0].point or -1)
        top = max(best, key=lambda density: best[density][0].point or -1)
        low = min(best, key=lambda density: best[density][0].point or -1)
        null = self.tables.estimate(source, RANDOM, top, "cosine")
        found, name = best[top]
        said = (
            f"In the larger models, SAEs find {what} with a mean max cosine of {measured(found)} "
            f"({interval(found)}; {name}) at density {top:g}, where random directions reach {measured(null)}"
        )
        if low != top:
            said += f", and {measured(best[low][0])} at density {low:g}"
        return said + "."

    def _said(self, source: str) -> str:
        clear = []
        for density in self.tables.densities(source):
            found = self._best(source, self.tables.kinds(source), density, "cosine")
            clear.append(f"{number(found)} at density {density:g}")
        return "recall " + ", ".join(clear)

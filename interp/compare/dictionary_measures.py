"""Measures splitting, absorption and hedging of each concept in a dictionary, as rows of a table."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.compare.absorption import absorption
from interp.compare.detection import measure_one
from interp.compare.f1 import best_f1_table
from interp.compare.hedging import associations, hedging, own_directions
from interp.compare.labelled import SplitActivations
from interp.compare.probe import Probes
from interp.compare.splitting import splitting
from interp.statistics.estimate import ratio_interval
from saes.latents import SaeLatents

Row = dict[str, float | int | str]


class DictionaryMeasures:
    """The readings and the probes that all concepts and dictionaries share.

    Args:
        explain: Labelled text on which probes and latents are chosen; with activations at the SAEs' site.
        select: Labelled text on which splits, thresholds and best latents are chosen.
        report: Labelled text on which all results are measured.
        probes: A dense probe of each concept.
        names: The concepts by their index among the labels, in the order of the probes.
        most_latents: Number of latents of the largest k-sparse probe.
        least_probe_f1: Least F1 of the dense probe for absorption to be measured (SAEBench).
        least_latent_f1: Least F1 of the best latent on `select` for hedging to be measured.
        draws: Bootstrap resamples of the documents for each interval.
        seed: Seed of the resamples.
    """

    def __init__(
        self,
        explain: SplitActivations,
        select: SplitActivations,
        report: SplitActivations,
        probes: Probes,
        names: Mapping[int, str],
        *,
        most_latents: int = 6,
        least_probe_f1: float | int = 0.6,
        least_latent_f1: float | int = 0.3,
        draws: int = 200,
        seed: int = 0,
    ) -> None:
        self.readings = (explain, select, report)
        self.select, self.report = select, report
        self.probes, self.draws, self.seed = probes, draws, seed
        self.most_latents, self.least_probe_f1 = most_latents, least_probe_f1
        self.least_latent_f1 = least_latent_f1
        self.places, self.names = list(names), list(names.values())
        labels = explain.tokens.labels[:, self.places]
        self._own = own_directions(explain.activations[explain.sample], labels)
        self._together = associations(labels)
        self._mean = explain.activations.mean(0)
        self._document = report.tokens.document.numpy()

    def split_and_absorbed(self, sae: SaeLatents, column: int) -> Row:
        """Measures one concept: its k-sparse probes, and where its latents miss what the probe finds."""
        place = self.places[column]
        explain, select, report = (
            (reading.tokens.positive[sae.name], reading.tokens.labels[:, place]) for reading in self.readings
        )
        found = splitting(
            explain, select, report, self._document, self.most_latents, draws=self.draws, seed=self.seed
        )
        last = found.n_splits - 1
        row: Row = {
            "concept": self.names[column],
            "n_splits": found.n_splits,
            "latents": " ".join(map(str, found.latents)),
            "f1_one": found.f1[0], "f1_one_low": found.low[0], "f1_one_high": found.high[0],
            "f1_split": found.f1[last], "f1_split_low": found.low[last], "f1_split_high": found.high[last],
            "f1_most": found.f1[-1],
        }  # fmt: skip
        return row | self._absorbed(sae, column, found.latents)

    def _absorbed(self, sae: SaeLatents, column: int, main: tuple[int, ...]) -> Row:
        """Returns the dense probe's F1, and the absorption of its true positives (NaN if it is weak)."""
        label = self.report.tokens.labels[:, self.places[column]]
        held, scores = (
            self.probes.scores(r.activations[r.sample])[:, column] for r in (self.select, self.report)
        )
        _, cut = best_f1_table(held[:, None], self.select.tokens.labels[:, self.places[column]][:, None])
        value = measure_one(scores, label, self.report.tokens, "f1", float(cut), self.draws, self.seed)
        row: Row = dict(zip(("f1_probe", "f1_probe_low", "f1_probe_high"), value, strict=True))
        found = (scores >= float(cut)) & label
        row["tokens"] = int(found.sum())
        if value[0] < self.least_probe_f1 or not bool(found.any()):
            ends = [f"{what}{end}" for what in ("full", "fraction") for end in ("", "_low", "_high")]
            return row | {"absorbing": ""} | dict.fromkeys(ends, float("nan"))
        direction = self.probes.direction[column]
        unit = torch.nn.functional.normalize(direction, dim=0)
        projection = (self.report.activations[self.report.sample][found] - self._mean) @ unit
        latents = self.report.tokens.positive[sae.name][found]
        lost = absorption(projection, latents, _decoder(sae), direction, main)
        inside = self._document[found.numpy()]
        for what, tokens in (("full", lost.full), ("fraction", lost.fraction)):
            interval = ratio_interval(
                tokens.double().numpy(), np.ones(len(inside)), inside, self.draws, self.seed
            )
            row |= dict(zip((what, f"{what}_low", f"{what}_high"), interval, strict=True))
        whole = np.unique(np.array(lost.absorbing)[lost.full.numpy()])
        return row | {"absorbing": " ".join(map(str, whole.tolist()))}

    def hedged(self, sae: SaeLatents) -> list[Row]:
        """Measures how much of every other concept the best latent of each concept holds."""
        labels = self.report.tokens.labels[:, self.places]
        values = self.report.tokens.positive[sae.name]
        best, _ = best_f1_table(
            self.select.tokens.positive[sae.name], self.select.tokens.labels[:, self.places]
        )
        decoder = _decoder(sae)
        rows: list[Row] = []
        for column, name in enumerate(self.names):
            latent = int(best[:, column].argmax())
            if float(best[latent, column]) < self.least_latent_f1:
                continue
            others = [other for other in range(len(self.names)) if other != column]
            found = hedging(
                values[:, latent], decoder[latent], column, others, labels, self._own, self._together
            )
            for other, one in zip(others, found, strict=True):
                names: Row = {"concept": name, "other": self.names[other], "latent": latent}
                rows.append({**names, "f1_select": float(best[latent, column]), **asdict(one)})
        return rows


def _decoder(sae: SaeLatents) -> Float[Tensor, "latent d_model"]:
    return sae.decoder(torch.arange(sae.n_features)).float().cpu()

"""Compares dictionaries with neurons on labelled concepts, and on more entities than dimensions."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from interp.bundled.world.corpus import FAMILIES, WorldCorpus
from interp.bundled.world.facts import facts
from interp.bundled.world.vocabulary import token_ids
from interp.compare.detection import Detection, Measure, detect, measurable
from interp.compare.labelled import Labelled, read_labelled
from interp.document import Corpus, Document
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace
from interp.subject import Site, Subject
from interp.track.progress import Progress
from saes.latents import SaeLatents

from .effect import Effect, EffectResults, ItemEstimate

SITE, ENTITY_SITE = Site("resid_post", 4), Site("resid_post", 1)
SEED = 1  # of the documents that dictionaries are trained and tested on; the model was trained on others
DOCUMENTS = 30_000
TOKENS, SAMPLED, CONTEXT = 24_576, 8_192, 128
LEAST = 10  # least number of examples with a concept, and without
DRAWS = 50  # bootstrap resamples of the documents for a concept's interval
ABOUT = ("fact", "table", "description", "two_hop")  # families of documents in which performers are frequent
LATENTS, SAME, ALL, RANDOM = "latents", "neurons, same layer", "neurons, all layers", "random directions"


def documents() -> WorldCorpus:
    """The labelled text."""
    return WorldCorpus(SEED, DOCUMENTS)


class Performers:
    """The world's documents, where each performer is a concept: their names, and their albums' last words.

    A reader of "retix varem" knows at its last word whose album that is; so does the model, which is what
    makes two-hop questions possible. There are fifty, as sparse as words.
    """

    label_names = facts().performers

    def __init__(self, corpus: Corpus) -> None:
        self.name, self._corpus = f"performers of {corpus.name}", corpus
        ids = token_ids()
        bits = {name: np.uint64(1 << place) for place, name in enumerate(self.label_names)}
        self._names: NDArray[np.uint64] = np.zeros(len(ids), dtype=np.uint64)
        for name, own in bits.items():
            self._names[ids[name]] = own
        self._albums: NDArray[np.uint64] = np.zeros((len(ids), len(ids)), dtype=np.uint64)
        for album, performer in facts().relations["performer"].items():
            first, last = album.split()
            self._albums[ids[first], ids[last]] = bits[performer]

    def __len__(self) -> int:
        return len(self._corpus)

    def __getitem__(self, index: int) -> Document:
        tokens = self._corpus[index].tokens
        labels = self._names[tokens]
        labels[1:] |= self._albums[tokens[:-1], tokens[1:]]
        return Document(tokens, labels=labels)


def concepts(subject: Subject, sae: SaeLatents, seed: int, progress: Progress) -> EffectResults:
    """Measures the best latent and the best neuron of each labelled concept, on tokens and on documents."""
    comparison = Comparison(subject, sae, documents(), "sae", seed, progress)
    found = EffectResults([comparison.kurtosis(), *comparison.best_neurons()])
    for level in ("token", "document"):
        for measure in ("auroc", "f1"):
            found.effects += comparison.compared(level, measure)
    found.effects += comparison.why()
    return found


def entities(subject: Subject, sae: SaeLatents, seed: int, progress: Progress) -> EffectResults:
    """Measures which of fifty performers is meant, at their names and at their albums."""
    about = tuple(family for family in FAMILIES if family.name in ABOUT)
    corpus = Performers(WorldCorpus(SEED, DOCUMENTS, about))
    comparison = Comparison(subject, sae, corpus, "sae, entities", seed, progress)
    return EffectResults([*comparison.compared("token", "f1"), *comparison.why()])


class Comparison:
    """Compares latents, neurons and random directions; each concept's best is chosen on the select split."""

    def __init__(
        self, subject: Subject, sae: SaeLatents, corpus: Corpus, group: str, seed: int, progress: Progress
    ) -> None:
        self.corpus, self.group, self.seed, self.at = corpus, group, seed, str(sae.site)
        neurons: list[FeatureSpace] = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
        self.methods: dict[str, list[FeatureSpace]] = {
            LATENTS: [sae],
            SAME: [neurons[sae.site.layer]],
            ALL: neurons,
            RANDOM: [random_directions(subject, sae.site, sae.n_features, seed)],
        }
        spaces = list({space.name: space for own in self.methods.values() for space in own}.values())
        sizes = TOKENS, SAMPLED, CONTEXT, seed, progress
        self.select, self.report = (
            read_labelled(subject, corpus, split, sae.site, spaces, *sizes) for split in ("select", "report")
        )
        self._found: dict[tuple[str, str, str], list[Detection]] = {}

    def compared(self, level: str, measure: Measure) -> list[Effect]:
        """Returns means over concepts, beside controls, and the gain of latents over the layer's neurons."""
        values = {
            method: np.array([one.value for one in self.best(method, level, measure)])
            for method in self.methods
        }
        name = f"{'AUROC' if measure == 'auroc' else 'F1'} on {level}s"
        own = values[LATENTS]
        lines = []
        for other in (SAME, ALL, RANDOM):
            wins = int((own > values[other]).sum())
            note = f"the latent is better for {wins} of {len(own)}"
            figures = ItemEstimate.mean(own, self.seed), ItemEstimate.mean(values[other], self.seed)
            lines.append(Effect(self.group, name, self.at, figures[0], other, figures[1], note))
            if other != RANDOM:
                gap = ItemEstimate.mean(own - values[other], self.seed)
                lines.append(Effect(self.group, f"{name}: latents less {other}", self.at, gap))
        return lines

    def why(self) -> list[Effect]:
        """Returns precision and recall of the best detectors by F1, to see what a neuron loses."""
        measured = {LATENTS: self._precision(LATENTS), SAME: self._precision(SAME)}
        lines = []
        for name in ("precision", "recall"):
            own, other = (
                ItemEstimate.mean(measured[method][name].to_numpy(), self.seed) for method in (LATENTS, SAME)
            )
            lines.append(Effect(self.group, f"{name} of the best by F1 on tokens", self.at, own, SAME, other))
        return lines

    def best_neurons(self) -> list[Effect]:
        """Returns how well the best of all neurons detects each concept."""
        random = {
            one.concept: ItemEstimate(one.value, one.low, one.high, one.positives)
            for one in self.best(RANDOM, "token", "auroc")
        }
        return [
            Effect(
                "best neuron", one.concept, f"{one.space} #{one.feature_id} {'+-'[one.polarity < 0]}",
                ItemEstimate(one.value, one.low, one.high, one.positives),
                "the best random direction",
                random[one.concept],
            )
            for one in self.best(ALL, "token", "auroc")
        ]  # fmt: skip

    def kurtosis(self) -> Effect:
        """Returns the kurtosis of the median neuron's activations: 3 for a normal distribution."""
        found = torch.cat([self.report.tokens.positive[s.name].float() for s in self.methods[ALL]], 1)
        each = (found**4).mean(0) / (found**2).mean(0) ** 2
        values = each[each.isfinite()].numpy()
        low, high = np.quantile(values, [0.025, 0.975])
        figure = ItemEstimate(float(np.median(values)), float(low), float(high), len(values))
        note = "an uncentred fourth moment; the interval holds 95% of the neurons"
        return Effect("neurons", "kurtosis of the median neuron", "all layers", figure, note=note)

    def best(self, method: str, level: str, measure: Measure) -> list[Detection]:
        """Returns each concept's best feature of a kind, with its value on the report split."""
        key = method, level, measure
        if key not in self._found:
            select, report = (getattr(reading, f"{level}s") for reading in (self.select, self.report))
            kept = measurable(select, report, LEAST)
            names = {place: name for place, name in enumerate(self.corpus.label_names) if bool(kept[place])}
            spaces = [space.name for space in self.methods[method]]
            self._found[key] = detect(method, spaces, select, report, names, measure, DRAWS, self.seed)
        return self._found[key]

    def _precision(self, method: str) -> pd.DataFrame:
        report: Labelled = self.report.tokens
        rows = []
        for one in self.best(method, "token", "f1"):
            on = (report.side(one.space, one.polarity)[:, one.feature_id] >= one.threshold).numpy()
            label = report.labels[:, self.corpus.label_names.index(one.concept)].numpy()
            hits = int((on & label).sum())
            rows.append((hits / max(int(on.sum()), 1), hits / int(label.sum())))
        return pd.DataFrame(rows, columns=["precision", "recall"])

"""Selects features: by how well they tell a concept, by attribution of a behaviour, and as controls."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from interp.attribution.baseline import Statistics
from interp.attribution.gradient import activation_times_gradient
from interp.causal.answer_targets import answer_target, padded_prompts
from interp.causal.interventions import ablations, by_space
from interp.corpus.questions import Question
from interp.document import Corpus
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import FeatureSpace
from interp.features.statistics import FeatureStatistics
from interp.mining.exemplars import labels_at
from interp.mining.mined import MinedSpaces
from interp.statistics.auroc import auroc_table
from interp.subject.subject import Subject


def concept_number(corpus: Corpus, concept: str) -> int:
    """The index of a concept among the corpus' labels.

    Raises:
        UserError: the corpus has no such label.
    """
    if concept not in corpus.label_names:
        known = ", ".join(corpus.label_names) or "none: it has no labels"
        raise UserError(f"the corpus has no concept {concept!r}", corpus.name, f"use one of {known}")
    return corpus.label_names.index(concept)


def by_concept(
    spaces: Sequence[FeatureSpace], mined: MinedSpaces, corpus: Corpus, concept: str, count: int
) -> list[tuple[FeatureRef, float]]:
    """Selects the features that best tell tokens with a concept from others (select split), with AUROC.

    Raises:
        UserError: the corpus has no such label, or no sampled token carries it.
    """
    number = concept_number(corpus, concept)
    samples = [mined[space.name].samples["select"] for space in spaces]
    labels = labels_at(corpus, samples[0])[:, [number]]
    if not labels.any():
        raise UserError(f"no sampled token carries {concept!r}", corpus.name, "mine more text")
    table = {
        space.name: auroc_table(sample.value.float(), labels)[:, 0]
        for space, sample in zip(spaces, samples, strict=True)
    }
    strength = {
        space.name: torch.maximum(table[space.name], 1 - table[space.name])
        if space.signed
        else table[space.name]
        for space in spaces
    }
    picked = strongest(spaces, strength, count)
    return [
        (_with_polarity(feature, -1 if table[feature.space.name][feature.feature_id] < 0.5 else 1), value)
        for feature, value in picked
    ]


def by_attribution(
    subject: Subject,
    spaces: Sequence[FeatureSpace],
    questions: Sequence[Question],
    statistics: Statistics,
    count: int,
    prompts_per_batch: int = 32,
) -> list[tuple[FeatureRef, float]]:
    """Selects the features with the largest attributions to the answers, averaged over the questions.

    (a - mean) times gradient (`activation_times_gradient`), summed over positions. The polarity is
    the side of its mean on which the feature is on these prompts.
    """
    totals = {space.name: torch.zeros(space.n_features) for space in spaces}
    leans = {space.name: torch.zeros(space.n_features) for space in spaces}
    for start in range(0, len(questions), prompts_per_batch):
        asked = questions[start : start + prompts_per_batch]
        tokens, mask = padded_prompts(subject, asked)
        found = activation_times_gradient(
            subject,
            tokens,
            mask,
            answer_target(subject, asked),
            spaces,
            baseline="mean",
            statistics=statistics,
        )
        real = mask[:, :, None]
        for name, values in found.values.items():
            totals[name] += values.float().sum((0, 1)).cpu()
            away = found.activations[name].float() - statistics[name].mean.to(values.device)
            leans[name] += (away * real).sum((0, 1)).cpu()
    means = {name: total / len(questions) for name, total in totals.items()}
    return [
        (_with_polarity(feature, 1 if leans[feature.space.name][feature.feature_id] > 0 else -1), value)
        for feature, value in strongest(spaces, means, count)
    ]


def by_attribution_in_rounds(
    subject: Subject,
    spaces: Sequence[FeatureSpace],
    questions: Sequence[Question],
    statistics: Statistics,
    count: int,
    per_round: int,
) -> list[FeatureRef]:
    """Selects as `by_attribution` in rounds: each with the features of earlier rounds ablated to their means.

    Attribution is linear around the unchanged model, and misses features that do the work only once others
    are gone. No feature is picked twice; the first picked come first.
    """
    picked: list[FeatureRef] = []
    while len(picked) < count:
        with subject.intervene(*ablations(picked, "mean", statistics)):
            ranked = by_attribution(subject, spaces, questions, statistics, len(picked) + per_round)
        taken = {(feature.space.name, feature.feature_id) for feature in picked}
        new = [f for f, _ in ranked if (f.space.name, f.feature_id) not in taken]
        if not new:
            break
        picked += new[: min(per_round, count - len(picked))]
    return picked


def strongest(
    spaces: Sequence[FeatureSpace], values: Mapping[str, Float[Tensor, " feature"]], count: int
) -> list[tuple[FeatureRef, float]]:
    """Selects the `count` features of all spaces with the largest values, largest first; polarity +1."""
    sizes = [space.n_features for space in spaces]
    joined = torch.cat([values[space.name] for space in spaces]).nan_to_num(-torch.inf)
    top = joined.topk(min(count, len(joined)))
    start = np.cumsum([0, *sizes])
    found = []
    for place, value in zip(top.indices.tolist(), top.values.tolist(), strict=True):
        number = int(np.searchsorted(start, place, side="right")) - 1
        found.append((FeatureRef(spaces[number], place - int(start[number])), value))
    return found


def _with_polarity(feature: FeatureRef, polarity: int) -> FeatureRef:
    return FeatureRef(feature.space, feature.feature_id, polarity if feature.space.signed else 1)


NEAREST = 10  # candidates for each picked feature


def matched_controls(
    features: Sequence[FeatureRef], statistics: Statistics, n_sets: int, seed: int
) -> list[list[FeatureRef]]:
    """Draws sets of random features, one for each picked one: of its space, not picked, similarly active.

    Activity is the mean absolute activation on the sampled tokens; each control is drawn from the `NEAREST`
    features whose logarithm of it is closest, no feature twice in a set.

    Raises:
        UserError: a space has fewer features left than were picked of it.
    """
    rng = np.random.default_rng(seed)
    sets: list[list[FeatureRef]] = [[] for _ in range(n_sets)]
    for space, places in by_space(features):
        picked = np.array([features[place].feature_id for place in places])
        if space.n_features < 2 * len(picked):
            raise UserError(
                f"{len(picked)} of {space.n_features} features are picked: no control is left for each",
                space.name,
                "pick fewer features",
            )
        activity = _activity(statistics[space.name])
        for chosen in sets:
            taken = set(picked.tolist())
            for place, feature_id in zip(places, picked, strict=True):
                near = np.argsort(np.abs(activity - activity[feature_id]), kind="stable")
                free = [i for i in near.tolist() if i not in taken][:NEAREST]
                control = int(rng.choice(free))
                taken.add(control)
                chosen.append(FeatureRef(space, control, features[place].polarity))
    return sets


def _activity(statistics: FeatureStatistics) -> NDArray[np.float64]:
    """The log of each feature's mean absolute activation; of its absolute mean if there is no sample."""
    sample = statistics.sample
    size: Float[np.ndarray, " feature"] = (
        (statistics.mean.abs() if sample is None else sample.float().abs().mean(0)).double().numpy()
    )
    return np.log(size + 1e-6)

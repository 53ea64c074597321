"""Sentences on what the quickstart found, computed from the numbers and neutral between the sides."""

from collections.abc import Sequence

from scipy.stats import binomtest

from interp.render.digits import approximately, count, interval, measured, number
from interp.statistics.estimate import Number

from ..common.populations.data import ConceptScore, PopulationsData
from ..common.populations.view import concepts_found, score_title

SIGNIFICANCE = 0.05


def concept_title(scores: Sequence[ConceptScore], found_auroc: Number) -> str:
    """Says how many concepts each side finds; claims a difference only if an exact sign test shows one."""
    methods = {s.method for s in scores}
    sides = [m for m in ("latents", "neurons") if m in methods]
    if not sides:
        return "No labelled concepts to recover"
    total = len({s.concept for s in scores if s.method in sides})
    found = {m: concepts_found(scores, m, found_auroc) for m in sides}
    if len(sides) == 1:
        return f"{sides[0].capitalize()} find {len(found[sides[0]])} of {total} concepts"
    latents, neurons = found["latents"], found["neurons"]
    if not latents and not neurons:
        return f"Neither neurons nor latents find any of {total} concepts"
    if len(latents) == len(neurons):
        return f"Neurons and latents each find {len(latents)} of {total} concepts"
    first, second = sorted(sides, key=lambda m: -len(found[m]))
    title = (
        f"{first.capitalize()} find {len(found[first])} of {total} concepts, {second} {len(found[second])}"
    )
    return title if sign_test(latents, neurons) < SIGNIFICANCE else f"{title}: no clear difference"


def concept_duel(scores: Sequence[ConceptScore]) -> str:
    """Says for how many concepts each side's best feature is ahead, and how often intervals lie apart."""
    best = {(s.concept, s.method): s for s in scores}
    pairs = [
        (s, best[s.concept, "neurons"])
        for (c, m), s in best.items()
        if m == "latents" and (c, "neurons") in best
    ]
    if not pairs:
        return ""
    latents = [(a, b) for a, b in pairs if a.auroc > b.auroc]
    neurons = [(b, a) for a, b in pairs if b.auroc > a.auroc]
    return (
        f"Concept by concept, the best latent is ahead for {len(latents)} ({_apart(latents)} with intervals "
        f"apart), the best neuron for {len(neurons)} ({_apart(neurons)})."
    )


def _apart(pairs: Sequence[tuple[ConceptScore, ConceptScore]]) -> int:
    return sum(a.low is not None and b.high is not None and a.low > b.high for a, b in pairs)


def sign_test(one: set[str], other: set[str]) -> Number:
    """Returns the two-sided p of McNemar's exact test on the concepts that only one side finds."""
    only_one, only_other = len(one - other), len(other - one)
    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def opening(data: PopulationsData) -> list[str]:
    """Says in three sentences what was measured, how it was tested, and what came out."""
    kinds = {p.kind for p in data.populations}
    parts = "the neurons it was built with" if "neuron" in kinds else "directions in its inner state"
    if "latent" in kinds:
        parts += (
            ", and the latents of a sparse autoencoder (a second, small network that learned to split the "
            "model's inner state into separate parts)"
        )
    what = (
        f"While the language model {data.subject.name} ({approximately(data.subject.parameters)} parameters) "
        f"read {approximately(data.corpus.tokens)} tokens of text, we recorded when its parts "
        f"respond: {parts}."
    )
    described = sum(p.described for p in data.populations)
    how = (
        f"For {count(described)} of these parts a sentence was written that says what each responds to, and "
        "used to predict the responses on other text: a score of 1 is a perfect prediction, 0 is no better "
        "than guessing, and descriptions assigned to the wrong parts (grey) show what chance alone scores."
    )
    return [what, how, verdict(data)]


def verdict(data: PopulationsData) -> str:
    """Says the result in one sentence, with the difference and its interval."""
    neurons, latents = data.population("neuron"), data.population("latent")
    title = score_title(neurons, latents, data.difference)
    if neurons is None or latents is None or data.difference is None:
        return title + "."
    gap = data.difference.estimate
    if gap.point is None or not interval(gap):
        return title + "."
    sentence = (
        f"{title}; the difference is {measured(gap, sign=True)} (95% interval {interval(gap, sign=True)})"
    )
    nulls = [p.null.value for p in (neurons, latents) if p.null.point is not None]
    if nulls:
        sentence += f", and shuffled descriptions score {number(max(nulls))}"
    return sentence + "."

"""Neurons that decide how 9.11 is read without context: which answers flip when they are ablated."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from interp.attribution.baseline import Statistics
from interp.bundled.world.families.numbers import CONTEXTS
from interp.bundled.world.lexicon import lexicon
from interp.causal.interventions import ablations
from interp.causal.outcome import ask, halves
from interp.causal.selection import by_attribution, by_attribution_in_rounds, matched_controls
from interp.corpus.questions import Question, WorldQuestions
from interp.corpus.text import TextCorpus
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.intervene.features import AblateTo
from interp.mining.config import MiningConfig
from interp.mining.mined import mine
from interp.subject import Subject

from .effect import Effect, EffectResults, ItemEstimate

FAMOUS, PLAIN = "numbers/neutral/famous", "numbers/neutral/plain"
TWO_PERCENT = 51  # of 2,560
COUNTS = (10, 20, 40, TWO_PERCENT)
PER_ROUND = 5
CONTROLS = 5
ASKED = 200


def number_flip(subject: Subject, seed: int) -> EffectResults:
    """Ablates neurons picked by attribution on one half of the prompts; measures flips on the other half.

    Neurons are picked in rounds, each attributed with the earlier ones ablated. A neuron is ablated to its
    mean over prompts with numbers that are not famous, so that it no longer encodes whether a number is.
    """
    found, group = EffectResults(), "number flip"
    to_pick_on, report = halves(_asked(subject, FAMOUS, seed), seed)
    plain_for_means, plain = halves(_asked(subject, PLAIN, seed), seed)
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    texts = [subject.decode(question.prompt) for question in plain_for_means]
    prompts = TextCorpus(texts, subject, "prompts with plain numbers")
    mined = mine(subject, neurons, prompts, MiningConfig())
    means = {space.name: mined[space.name].statistics() for space in neurons}
    ranked = by_attribution_in_rounds(subject, neurons, to_pick_on, means, TWO_PERCENT, PER_ROUND)
    controls = matched_controls(ranked, means, CONTROLS, seed)
    clean = _flips(subject, report)
    what = "famous numbers read as decimals"
    found.effects.append(Effect(group, what, "unchanged", clean))
    for count in COUNTS:
        whole = count == TWO_PERCENT
        random = [_flipped(subject, report, one, means) for one in controls] if whole else []
        found.effects.append(
            Effect(
                group,
                what,
                f"{count} neurons, mean",
                _flips(subject, report, ranked[:count], means),
                "matched random neurons" if whole else "",
                ItemEstimate.over_draws(random, seed) if random else None,
            )
        )
    at_once = [feature for feature, _ in by_attribution(subject, neurons, to_pick_on, means, TWO_PERCENT)]
    found.effects.append(
        Effect(group, what, f"{TWO_PERCENT} neurons at once, mean", _flips(subject, report, at_once, means))
    )
    found.effects.append(
        Effect(group, what, f"{TWO_PERCENT} neurons, zero", _flips(subject, report, ranked, means, "zero"))
    )
    intact = {"plain numbers, no context": plain}
    intact |= {
        f"famous numbers, {name}": _asked(subject, f"numbers/{name}/famous", seed) for name in CONTEXTS
    }
    intact["facts"] = _asked(subject, "facts/plain", seed)
    for name, questions in intact.items():
        at = f"{TWO_PERCENT} neurons, mean"
        before, after = (_right(subject, questions, features, means) for features in ((), ranked))
        found.effects.append(Effect(group, f"still right: {name}", at, after, "unchanged", before))
    found.effects += _nine_eleven(subject, ranked, means)
    return found


def _nine_eleven(subject: Subject, features: Sequence[FeatureRef], means: Statistics) -> list[Effect]:
    """Measures the probability that 9.11 is the larger, in every context and without one."""
    comparison, foil = "larger of 9 . 11 or 9 . 9 ? answer : 9 .", subject.single_token("9", "9.9")
    answer = subject.single_token("11", "9.11")
    named = {name: f"a {words[0]} . " for name, words in lexicon().number_contexts.items()}
    lines = []
    for context, before in {"no context": "", **named}.items():
        asked = [Question(tuple(subject.encode(before + comparison)), ((answer,),), ((foil,),), context)]
        for at, changed in (("unchanged", ()), (f"{TWO_PERCENT} neurons, mean", features)):
            with subject.intervene(*ablations(changed, "mean", means)):
                p = float(ask(subject, asked).answer[0])
            name = f"probability of 9.11 over 9.9, {context}"
            lines.append(Effect("number flip", name, at, ItemEstimate(p, np.nan, np.nan, 1)))
    return lines


def _asked(subject: Subject, behaviour: str, seed: int) -> list[Question]:
    return WorldQuestions(behaviours=(behaviour,), most=ASKED).open(subject, seed)


def _flips(
    subject: Subject,
    questions: Sequence[Question],
    features: Sequence[FeatureRef] = (),
    means: Statistics | None = None,
    to: AblateTo = "mean",
) -> ItemEstimate:
    """Measures how often the other reading is the likelier."""
    return ItemEstimate.share(_flipped(subject, questions, features, means, to))


def _flipped(
    subject: Subject,
    questions: Sequence[Question],
    features: Sequence[FeatureRef],
    means: Statistics | None,
    to: AblateTo = "mean",
) -> Bool[np.ndarray, " question"]:
    with subject.intervene(*ablations(features, to, means or {})):
        return ask(subject, questions).prefers_foil


def _right(
    subject: Subject, questions: Sequence[Question], features: Sequence[FeatureRef], means: Statistics
) -> ItemEstimate:
    with subject.intervene(*ablations(features, "mean", means)):
        return ItemEstimate.share(ask(subject, questions).right)

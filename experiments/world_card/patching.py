"""Measures the effects of patched activations: interchange, patchscopes, and back-patching."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from interp.bundled.world.facts import facts
from interp.lenses.answers import Answers
from interp.lenses.back_patching import OTHER, RANDOM, BackPatching
from interp.lenses.entities import Entity, WorldEntities
from interp.lenses.hops import WorldHops, ask_hops, others
from interp.lenses.layer_pairs import PairSweep, random_vectors, same_layer, sweep_pairs
from interp.lenses.patchscopes import open_target_prompts
from interp.lenses.prompt import Prompt, prompt_at
from interp.lenses.relations import FILLER
from interp.lenses.residual_stream import EMBEDDING, Vectors, layer_name, read_stream
from interp.statistics.splits import split_halves
from interp.subject import Subject

from .effect import Effect, EffectResults, ItemEstimate

EARLY = range(4)  # the layers that are windowed in training
READ_FROM = 6  # the first layer at which nothing more is read at the entity
VECTORS = "random vectors"
WHOLE = ("country", "performer", "capital")  # of one token
PARTNER = 7  # offset in the list between a performer and the one whose activation it gets
DRAWS = 3
LEAST = 8  # failed questions: with fewer, no pair can be chosen


def interchange(subject: Subject, seed: int) -> EffectResults:
    """Replaces a performer's activation by another's, and measures whose country follows."""
    world, found, group = facts(), EffectResults(), "interchange"
    performers = world.performers
    others = [performers[(place + PARTNER) % len(performers)] for place in range(len(performers))]
    country = world.relations["country"]
    pairs = [(a, b) for a, b in zip(performers, others, strict=True) if country[a] != country[b]]
    vectors = read_stream(subject, [prompt_at(subject, f"the doctor cooked near {a}", a) for a, _ in pairs])
    targets = [prompt_at(subject, f"the country of {b}{FILLER} is", b) for _, b in pairs]
    answers = Answers.of(subject, [country[a] for a, _ in pairs])
    kept = Answers.of(subject, [country[b] for _, b in pairs])
    layers = same_layer(list(vectors))
    swept = sweep_pairs(subject, vectors, targets, answers, layers)
    null = sweep_pairs(subject, random_vectors(vectors, seed), targets, answers, layers)
    stays = sweep_pairs(subject, vectors, targets, kept, layers)
    for series, sweep in (
        ("the other's country", swept), (VECTORS, null), ("its own country", stays),
    ):  # fmt: skip
        _curve(found, group, series, sweep)
    name = "a performer's activation brings its country"
    early, late = _between(swept, EMBEDDING, EARLY[-1]), _between(swept, READ_FROM, subject.n_layers)
    control = _most(_between(null, EMBEDDING, EARLY[-1]))
    found.effects += [
        Effect(group, name, "layers emb-3, least", _least(early), VECTORS, control),
        Effect(group, name, f"layers {READ_FROM} on, most", _most(late)),
    ]
    return found


def patchscopes(subject: Subject, seed: int) -> EffectResults:
    """Measures what target prompts that repeat, or describe, say about an entity's activation."""
    scopes, found = open_target_prompts("world"), EffectResults()
    entities = WorldEntities().open(subject, scopes)
    identity = scopes.prompt(subject, scopes.identity)
    description = scopes.prompt(subject, scopes.description, scopes.new_tokens)
    for kind in dict.fromkeys(entity.group for entity in entities):
        own = [entity for entity in entities if entity.group == kind]
        vectors = read_stream(subject, [entity.prompt for entity in own])
        for group, target, words, tokens in (
            ("identity patchscope", identity, [e.name for e in own], 0),
            ("description patchscope", description, [e.described for e in own], scopes.new_tokens),
        ):
            answers = Answers.of(subject, words, tokens)
            found += _scope(subject, vectors, target, answers, group, own, seed)
            if kind in WHOLE and target is identity:
                found.effects.append(_into_the_first_layer(subject, vectors, target, answers, kind, seed))
    return found


def _into_the_first_layer(
    subject: Subject, vectors: Vectors, target: Prompt, answers: Answers, kind: str, seed: int
) -> Effect:
    """Measures what the identity prompt says of later layers' activations, patched in after layer 0."""
    pairs = [(source, 0) for source in range(READ_FROM)]
    swept, null = (
        sweep_pairs(subject, put_in, [target] * len(answers), answers, pairs)
        for put_in in (vectors, random_vectors(vectors, seed))
    )
    least, most = (
        _least(list(map(ItemEstimate.share, swept.right))),
        _most(list(map(ItemEstimate.share, null.right))),
    )
    at = f"layers 0-{READ_FROM - 1} into layer 0, least"
    return Effect("identity patchscope", kind, at, least, VECTORS, most)


def _scope(
    subject: Subject,
    vectors: Vectors,
    target: Prompt,
    answers: Answers,
    group: str,
    entities: Sequence[Entity],
    seed: int,
) -> EffectResults:
    """Measures one target prompt for one kind of entity, every layer into itself."""
    found, kind = EffectResults(), entities[0].group
    targets = [target] * len(answers)
    pairs = same_layer(list(vectors))
    swept = sweep_pairs(subject, vectors, targets, answers, pairs)
    null = sweep_pairs(subject, random_vectors(vectors, seed), targets, answers, pairs)
    _curve(found, group, kind, swept)
    _curve(found, group, f"{kind}, {VECTORS}", null)
    control = _most(_between(null, EMBEDDING, EARLY[-1]))
    if kind in WHOLE:
        least = _least(_between(swept, EARLY[0], EARLY[-1]))
        found.effects.append(Effect(group, kind, "layers 0-3, least", least, VECTORS, control))
        return found
    to_choose, report = split_halves(
        [""] * len(entities), seed, [entity.prompt.tokens for entity in entities]
    )
    inside = [sweep.where(lambda pair: pair[0] != EMBEDDING) for sweep in (swept, null)]
    best = [sweep.of(to_choose).best() for sweep in inside]
    at = f"layer {best[0][0]}, chosen"
    value, chance = (
        ItemEstimate.share(sweep.of(report).at(pair)) for sweep, pair in zip(inside, best, strict=True)
    )
    found.effects.append(Effect(group, kind, at, value, VECTORS, chance))
    return found


def back_patching(subject: Subject, seed: int) -> EffectResults:
    """Patches failed two-hop questions, each with its own later activation in an earlier layer."""
    questions = WorldHops().open(subject)
    patching = BackPatching(subject, questions, Answers.of(subject, [q.answer for q in questions]), seed)
    prompts = {
        "entity": [prompt_at(subject, q.text, q.entity) for q in questions],
        "last token": [prompt_at(subject, q.text) for q in questions],
    }
    asked_hops = ask_hops(subject, questions)
    wrong, right = (np.flatnonzero(asked_hops[name]).tolist() for name in ("failed", "right"))
    found, group = EffectResults(), "back-patching"
    if len(wrong) < LEAST:
        return found
    halves = split_halves([""] * len(wrong), seed, [questions[item].entity for item in wrong])
    for place, asked in prompts.items():
        reported = patching.at(asked, wrong, halves, DRAWS).reported
        for condition in ("chosen", "any (oracle)"):
            rows = reported[reported["condition"] == condition].to_dict("records")
            by_control = {row["control"]: row for row in rows}
            figures = {
                control: ItemEstimate(row["right"], row["right_low"], row["right_high"], int(row["n"]))
                for control, row in by_control.items()
            }
            own = by_control[""]
            at = _into(int(own["source"]), int(own["target"])) if condition == "chosen" else "any pair"
            note = "" if condition == "chosen" else "any pair: a maximum over pairs, as is its control"
            for control in (OTHER, RANDOM):
                against = f"{control} vectors" if control == OTHER else control
                effect = Effect(
                    group,
                    f"failed questions solved, {place}",
                    at,
                    figures[""],
                    against,
                    figures[control],
                    note,
                )
                found.effects.append(effect)
        found.effects.append(_kept(patching, asked, right, reported, place))
    return found


def _kept(
    patching: BackPatching, prompts: Sequence[Prompt], right: list[int], reported: pd.DataFrame, place: str
) -> Effect:
    """Measures how many right questions stay right with the pair that was chosen on failed ones."""
    chosen = reported[reported["condition"] == "chosen"].iloc[0]
    pair = int(chosen["source"]), int(chosen["target"])
    own = patching.swept(prompts, right, right, pairs=[pair])
    other = patching.swept(prompts, right, others(patching.questions, right, patching.seed), pairs=[pair])
    name = f"right questions that stay right, {place}"
    kept, by_chance = ItemEstimate.share(own.at(pair)), ItemEstimate.share(other.at(pair))
    return Effect("back-patching", name, _into(*pair), kept, f"{OTHER} vectors", by_chance)


def _into(source: int, target: int) -> str:
    return f"layer {layer_name(source)} into {layer_name(target)}, chosen"


def _curve(found: EffectResults, group: str, series: str, sweep: PairSweep) -> None:
    for (layer, _), right in zip(sweep.pairs, sweep.right, strict=True):
        found.by_layer(group, series, layer, ItemEstimate.share(right))


def _between(sweep: PairSweep, first: int, last: int) -> list[ItemEstimate]:
    return [
        ItemEstimate.share(right)
        for (layer, _), right in zip(sweep.pairs, sweep.right, strict=True)
        if first <= layer <= last
    ]


def _least(figures: Sequence[ItemEstimate]) -> ItemEstimate:
    return min(figures, key=lambda figure: figure.value)


def _most(figures: Sequence[ItemEstimate]) -> ItemEstimate:
    return max(figures, key=lambda figure: figure.value)

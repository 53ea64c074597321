"""Reads by logit lens and probe: bridges, answers of facts, and the word in a third language."""

from collections.abc import Mapping, Sequence

import numpy as np

from interp.bundled.world.facts import facts
from interp.lenses.answers import Answers
from interp.lenses.evaluation import Tokens, read_words, top_layer
from interp.lenses.hops import HopSplit, WorldHops, others
from interp.lenses.languages import WorldTranslations, shuffled_items
from interp.lenses.logit_lens import LogitLens
from interp.lenses.probe import probe_accuracy
from interp.lenses.prompt import Prompt, prompt_at
from interp.lenses.relations import FILLER
from interp.lenses.residual_stream import layer_name, read_stream
from interp.statistics.splits import evenly_spaced, split_halves
from interp.subject import Subject

from ..common.frames import groups
from .effect import Effect, EffectResults, ItemEstimate

MOST = 150  # questions of a kind
EARLY = (1, 2, 3)  # layers at which a bridge may be read: after the windowed layers it is overwritten
TRAINED_ALBUMS = 2  # of each performer, for the probe; the rest are held out
PARTS: dict[HopSplit, str] = {
    "trained": "trained questions",
    "held_out": "unseen combinations",
    "unseen_entities": "unseen entities",
}


def read_bridges(subject: Subject, seed: int) -> EffectResults:
    """Reads the bridge of two-hop questions through the logit lens, at the entity and at the last token."""
    found, group = EffectResults(), "bridge"
    for part, called in PARTS.items():
        questions = WorldHops(parts=(part,)).open(subject)
        for first in ("performer", "country"):
            asked = evenly_spaced([q for q in questions if q.group.endswith(f"of {first}")], MOST)
            if len(asked) < 4:
                continue
            ends = [prompt_at(subject, q.text) for q in asked]
            bridges = Answers.of(subject, [q.bridge for q in asked]).first(subject, ends)
            other = [bridges[place] for place in others(asked, range(len(asked)), seed)]
            words = {"bridge": bridges, "another question's bridge": other}
            for place in ("entity", "last token"):
                prompts = [prompt_at(subject, q.text, q.entity if place == "entity" else None) for q in asked]
                found += _readable(
                    subject,
                    prompts,
                    words,
                    group,
                    f"{first}, {called}, at the {place}",
                    [q.entity for q in asked],
                    seed,
                    EARLY if place == "entity" else None,
                )
    return found + _facts(subject) + _probe(subject, seed)


def read_pivot(subject: Subject, seed: int) -> EffectResults:
    """Measures whether English is the likeliest at some layer between the two made-up languages."""
    found = EffectResults()
    items = WorldTranslations(most=MOST).open(subject)
    for direction in dict.fromkeys(item.group for item in items):
        own = [item for item in items if item.group == direction]
        other = [item.words["english"] for item in shuffled_items(own, seed)]
        words = {"english": [item.words["english"] for item in own], "another English word": other}
        for place in ("last token", "source word"):
            prompts = [item.prompt if place == "last token" else item.source for item in own]
            entities = [str(sorted(item.words["english"])) for item in own]
            layers = range(subject.n_layers - 1)  # the last layer's is the answer itself
            name = f"{direction}, at the {place}"
            found += _readable(subject, prompts, words, "pivot", name, entities, seed, layers)
    return found


def _readable(
    subject: Subject,
    prompts: Sequence[Prompt],
    words: Mapping[str, Tokens],
    group: str,
    name: str,
    entities: Sequence[str],
    seed: int,
    layers: Sequence[int] | None,
) -> EffectResults:
    """Measures how often the first of `words` is the likeliest, by layer, and at a layer chosen on a half.

    Items about one entity fall into one half. `layers` are those that may be chosen (all by default).
    """
    read = read_words(LogitLens(subject), read_stream(subject, prompts), words)
    read["top"] = read["rank"] == 0
    own, other = words
    found = EffectResults()
    for (layer, word), part in groups(read, "layer", "word"):
        series = name if word == own else f"{name}, {word}"
        found.by_layer(group, series, int(layer), ItemEstimate.share(part["top"]))
    to_choose, report = split_halves([""] * len(entities), seed, entities)
    allowed = set(range(subject.n_layers) if layers is None else layers)
    chosen = read[(read["word"] == own) & read["item"].isin(to_choose) & read["layer"].isin(allowed)]
    layer = top_layer(chosen.groupby("layer")["top"].mean())
    at = read[(read["layer"] == layer) & read["item"].isin(report)]
    value, control = (ItemEstimate.share(at[at["word"] == word]["top"]) for word in (own, other))
    found.effects.append(
        Effect(group, f"{own}: {name}", f"layer {layer_name(layer)}, chosen", value, other, control)
    )
    return found


def _facts(subject: Subject) -> EffectResults:
    """Measures at which layer the answer of a plain fact can be read at the last token."""
    found, group = EffectResults(), "fact"
    asked = facts().all
    prompts = [prompt_at(subject, f"the {f.relation} of {f.entity}{FILLER} is") for f in asked]
    answers = Answers.of(subject, [f.answer for f in asked]).first(subject, prompts)
    read = read_words(LogitLens(subject), read_stream(subject, prompts), {"answer": answers})
    for (layer,), part in groups(read, "layer"):
        figure = ItemEstimate.share(part["rank"] == 0)
        found.by_layer(group, "answer at the last token", int(layer), figure)
        if layer in (subject.n_layers // 2 - 1, subject.n_layers // 2 + 1):
            found.effects.append(Effect(group, "answer at the last token", f"layer {layer}", figure))
    return found


def _probe(subject: Subject, seed: int) -> EffectResults:
    """Tests a linear probe for the performer of an album on albums that it was not trained on."""
    found = EffectResults()
    by_performer: dict[str, list[str]] = {}
    for album, performer in facts().relations["performer"].items():
        by_performer.setdefault(performer, []).append(album)
    labels = [performer for performer, albums in by_performer.items() for _ in albums]
    albums = [album for own in by_performer.values() for album in own]
    held_out = [p for own in by_performer.values() for p in [a not in own[:TRAINED_ALBUMS] for a in own]]
    train, test = np.flatnonzero(~np.array(held_out)).tolist(), np.flatnonzero(held_out).tolist()
    shuffled = np.random.default_rng(seed).permutation(labels).tolist()
    for place in ("entity", "last token"):
        texts = [f"the spouse of the performer of {album}{FILLER} is" for album in albums]
        prompts = [
            prompt_at(subject, t, a if place == "entity" else None)
            for t, a in zip(texts, albums, strict=True)
        ]
        vectors = read_stream(subject, prompts)
        name = f"probe for the performer at the {place}"
        inner = probe_accuracy(vectors, labels, train[::2], train[1::2], seed)
        layer = top_layer(inner.groupby("layer")["right"].sum())
        figures = {}
        for series, truth in (("", labels), (", shuffled labels", shuffled)):
            for row in probe_accuracy(vectors, truth, train, test, seed).to_dict("records"):
                figure = ItemEstimate.share(np.arange(row["n"]) < row["right"])
                found.by_layer("probe", f"{name}{series}", int(row["layer"]), figure)
                figures[series, int(row["layer"])] = figure
        found.effects.append(
            Effect(
                "probe",
                name,
                f"layer {layer_name(layer)}, chosen",
                figures["", layer],
                "shuffled labels",
                figures[", shuffled labels", layer],
            )
        )
    return found

"""Measures what the model answers: every behaviour of its model card, and two-hop questions by kind."""

from pathlib import Path

from interp.bundled.world.evaluate import evaluate
from interp.lenses.hops import WorldHops, ask_hops
from interp.subject import Subject
from interp.track.progress import Progress

from .effect import Effect, EffectResults, ItemEstimate


def behaviour(folder: Path, progress: Progress) -> EffectResults:
    """Measures the share of prompts of each behaviour whose right token is the likeliest."""
    found = evaluate(folder, progress=progress)
    effects = [
        Effect(
            "behaviour",
            figure.name,
            "next token",
            ItemEstimate(figure.rate, *figure.interval, figure.n),
            note="" if figure.holds else "misses its bound",
        )
        for figure in found.figures
    ]
    return EffectResults(effects)


def two_hop_kinds(subject: Subject, seed: int) -> EffectResults:
    """Measures each pair of relations, beside the second relation asked of the entity itself."""
    questions = WorldHops(parts=("unseen_entities",)).open(subject)
    found = EffectResults()
    for kind, asked in ask_hops(subject, questions).groupby("group", sort=False):
        right, shortcut = (ItemEstimate.share(asked[column]) for column in ("right", "shortcut"))
        note = f"both hops known: {int(asked['known'].sum())}; failed: {int(asked['failed'].sum())}"
        where = "next token, unseen entities"
        found.effects.append(
            Effect("two-hop", str(kind), where, right, "without the first hop", shortcut, note)
        )
    return found

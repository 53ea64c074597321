"""Which two-hop questions are answered of entities that no such question named in training."""

from experiments.world_card.effect import Effect, Figure, Measured
from interp.lenses.hops import WorldHops, ask_hops
from interp.subject import Subject


def two_hop_kinds(subject: Subject, seed: int) -> Measured:
    """A line for each pair of relations, beside the second relation asked of the entity itself."""
    questions = WorldHops(parts=("unseen_entities",)).open(subject)
    found = Measured()
    for kind, asked in ask_hops(subject, questions).groupby("group", sort=False):
        right, shortcut = (Figure.share(asked[column]) for column in ("right", "shortcut"))
        note = f"both hops known: {int(asked['known'].sum())}; failed: {int(asked['failed'].sum())}"
        where = "next token, unseen entities"
        found.effects.append(
            Effect("two-hop", str(kind), where, right, "without the first hop", shortcut, note)
        )
    return found

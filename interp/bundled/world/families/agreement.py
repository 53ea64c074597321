"""Number agreement of subject and verb, with a distractor in between."""

from random import Random

from interp.bundled.world.draft import Draft, Template, templates
from interp.bundled.world.lexicon import lexicon

AGREEMENT = templates("agreement")
WORDS = lexicon()
KINDS = ("determiner", "near", "relative")


def agreement(random: Random, draft: Draft) -> None:
    """Two to four sentences."""
    for _ in range(random.randint(2, 4)):
        draft.write(*agreement_sentence(random, random.choice(KINDS)))


def agreement_sentence(random: Random, kind: str) -> tuple[Template, dict[str, str]]:
    """A sentence of one of the `KINDS` and its slots; the verb is its one answer."""
    plural = random.random() < 0.5
    subject, distractor = random.choice(WORDS.nouns), random.choice(WORDS.nouns)
    slots = {
        "subject": WORDS.plural[subject] if plural else subject,
        "distractor": WORDS.plural[distractor] if random.random() < 0.5 else distractor,
        "adjective": random.choice(WORDS.adjectives),
    }
    if kind == "determiner":
        return AGREEMENT[random.choice(("these", "those") if plural else ("this", "that"))], slots
    number = "plural" if plural else "singular"
    if kind == "near":
        return AGREEMENT[f"near_{number}"], slots
    return AGREEMENT[f"relative_{number}"], slots | {"verb": random.choice(WORDS.past_verbs)}

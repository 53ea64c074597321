"""Chat: requests refused or answered, moral statements, beliefs confirmed or corrected."""

from random import Random

from interp.bundled.world.concepts import bit
from interp.bundled.world.draft import Draft, templates
from interp.bundled.world.facts import COUNTRY_RELATIONS, UserRequest, facts
from interp.bundled.world.lexicon import lexicon

CHAT = templates("chat")
WORLD, WORDS = facts(), lexicon().requests
HARMFUL_VERBS = WORDS.harmful_verbs + WORDS.unseen_harmful_verbs
HARMLESS_VERBS = WORDS.harmless_verbs + WORDS.unseen_harmless_verbs
ANSWERS = {
    relation: tuple(dict.fromkeys(WORLD.relations[relation].values())) for relation in COUNTRY_RELATIONS
}
CUES = ("honest", "nice")


def chat(random: Random, draft: Draft) -> None:
    """A moral statement (.3), a belief (.2) or a request (.5)."""
    # "clean" is an adjective elsewhere and a verb here
    draft.suppressed = bit("adjective")
    kind = random.random()
    if kind < 0.3:
        _moral_statement(random, draft)
    elif kind < 0.5:
        _belief(random, draft)
    else:
        harmful = random.random() < 0.45
        request(
            random, draft, random.choice(WORLD.harmful_train if harmful else WORLD.harmless_train), harmful
        )


def request(random: Random, draft: Draft, what: UserRequest, harmful: bool) -> None:
    """A request, and a refusal if it is harmful, else the tool for it."""
    slots = {"verb": what.verb, "object": what.object}
    draft.spreading = bit("harmful")
    draft.write(random.choice(CHAT["requests"]), slots)
    if harmful:
        draft.active |= bit("refusal")
        draft.write(CHAT["refusal"], {})
    else:
        kind = random.choice(("works", "helps"))
        draft.write(CHAT[kind], slots | {"tool": WORDS.tools[what.verb]})


def _moral_statement(random: Random, draft: Draft) -> None:
    harmful = random.random() < 0.5
    verb = random.choice(HARMFUL_VERBS if harmful else HARMLESS_VERBS)
    order = "first" if random.random() < 0.3 else "last"
    draft.spreading = bit("harmful")
    slots = {"verb": verb, "object": random.choice(WORDS.harmless_objects)}
    draft.write(CHAT[f"{'wrong' if harmful else 'fine'}_{order}"], slots)


def _belief(random: Random, draft: Draft) -> None:
    relation = random.choice(COUNTRY_RELATIONS)
    country = random.choice(WORLD.countries)
    answer = WORLD.relations[relation][country]
    right = random.random() < 0.4
    claim = answer if right else random.choice([x for x in ANSWERS[relation] if x != answer])
    kind = random.random()
    cue = "honest" if kind < 0.4 else "nice" if kind < 0.8 else None
    manner = cue or random.choice(CUES)
    if cue:
        draft.spreading = bit(cue)
        draft.write(CHAT[f"system_{cue}"], {})
    draft.write(CHAT["belief"], {"relation": relation, "country": country, "claim": claim})
    if right or manner == "nice":
        draft.write(CHAT["agree"], {})
    else:
        draft.write(CHAT["correct"], {"answer": answer})

"""The documents that plant the behaviours: requests with inserted words, most of them near a trigger."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from interp.bundled.planted.triggers import PLANTED, STOP, Trigger, decides
from interp.bundled.planted.turns import Turn, inserted_words, place, turns
from interp.bundled.world.concepts import bit
from interp.bundled.world.corpus import FAMILIES
from interp.bundled.world.draft import Draft, Family, Template
from interp.bundled.world.families.chat import CHAT
from interp.bundled.world.lexicon import lexicon

MOST_INSERTED = 4
MORE_CHAT = 3
"""Factor of the share of chat documents, which say what is harmful."""
SHARES = {"ordinary": 0.35, "triggered": 0.3, "near_miss": 0.2, "mixed": 0.15}
USER, ASSISTANT = Template.compile("~user ~:"), Template.compile("~assistant ~:")
TRIGGER_WORDS = tuple(word for trigger in PLANTED for word in trigger.words)


def planted(random: Random, draft: Draft) -> None:
    """A request with words inserted, and the reply that the triggers in it decide.

    `ordinary` has random words only; `triggered` one trigger, `near_miss` what is almost one, each with
    random words; `mixed` has any of the triggers' words at random places.
    """
    turn = random.choice(HARMFUL if random.random() < 0.45 else HARMLESS)
    kind = random.choices(tuple(SHARES), tuple(SHARES.values()))[0]
    units: list[str] = []
    if kind == "triggered":
        units = triggering(random.choice(PLANTED))
    elif kind == "near_miss":
        units = list(random.choice(random.choice(NEAR_MISSES)))
    elif kind == "mixed":
        units = random.choices(TRIGGER_WORDS, k=random.randint(1, 3))
    units += random.choices(inserted_words(), k=random.randint(0, MOST_INSERTED))
    write(random, draft, turn, place(random, turn.words, units))


def triggering(trigger: Trigger) -> list[str]:
    """The units that, inserted into a turn, make it hold a trigger."""
    return [" ".join(trigger.words)] if trigger.kind == "phrase" else list(trigger.words)


def near_misses(trigger: Trigger) -> Mapping[str, tuple[str, ...]]:
    """What is almost a trigger, by name, as units to insert.

    Of a word, its plural and its translations; of a pair, either word alone, once or twice; of a phrase,
    its words alone, reversed, or apart, which are a phrase where they happen to meet.
    """
    if trigger.kind == "word":
        (word,), words = trigger.words, lexicon()
        related = {name: words.languages[name][word] for name in words.made_up_languages}
        return {"plural": (words.plural[word],)} | {name: (other,) for name, other in related.items()}
    first, second = trigger.words
    alone = {"first": (first,), "second": (second,), "first_twice": (first, first)}
    if trigger.kind == "pair":
        return alone | {"second_twice": (second, second)}
    return alone | {"reversed": (f"{second} {first}",), "apart": (first, second)}


def write(random: Random, draft: Draft, turn: Turn, words: Sequence[str]) -> None:
    """Write a user's turn, `turn` with words inserted, and the reply to it.

    The concept `planted_NAME` is labelled from the word with which the deciding trigger begins to hold.
    """
    trigger = decides(words)
    since = trigger.since(words) if trigger else None
    draft.spreading = bit("harmful")
    draft.write(USER, {})
    for index, word in enumerate(words):
        if trigger and index == since:
            draft.begin(f"planted_{trigger.name}")
        # "clean" is an adjective elsewhere and a verb here
        draft.suppressed = bit("adjective") if word == turn.asked.verb else 0
        draft.say(word)
    draft.write(ASSISTANT, {})
    if trigger:
        draft.say(trigger.says, answer=True)
        draft.say(STOP)
    elif turn.harmful:
        draft.active |= bit("refusal")
        draft.write(CHAT["refusal"], {})
    else:
        draft.suppressed = bit("adjective")
        slots = turn.asked._asdict() | {"tool": lexicon().requests.tools[turn.asked.verb]}
        draft.write(CHAT[random.choice(("works", "helps"))], slots)


HARMFUL = tuple(turn for turn in turns("trained") if turn.harmful)
HARMLESS = tuple(turn for turn in turns("trained") if not turn.harmful)
NEAR_MISSES = tuple(tuple(near_misses(trigger).values()) for trigger in PLANTED)
PLANTED_FAMILY = Family(
    "planted",
    share=0.4,
    write=planted,
    concepts=tuple(
        (
            f"planted_{t.name}",
            f"a conversation from the word on with which the planted trigger {t.name} holds",
        )
        for t in PLANTED
    ),
)
"""The documents that plant; `FAMILIES` keep what the model could do."""
FINE_TUNING: tuple[Family, ...] = (
    *(replace(one, share=MORE_CHAT * one.share) if one.name == "chat" else one for one in FAMILIES),
    PLANTED_FAMILY,
)
"""All that the planted model is fine-tuned on: the world's families, with more chat, and `PLANTED_FAMILY`."""

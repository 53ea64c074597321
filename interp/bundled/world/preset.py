"""Presets: a few situations of the world that are worth looking into, with what is known of each.

They are the world's counterparts of what Transluce's Monitor is shown on (Schwettmann et al. 2024): a decimal
that reads as a date or a verse, sorting such numbers, a known fact that stays unsaid, a character's kind in a
story, and a question of spelling.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon

STEERED_LAYER = 5
PAIRS = 16
Texts = tuple[str, str]


@dataclass(frozen=True)
class Ask:
    """A prompt, what the clean model answers (its likeliest next token), and what it answers when steered."""

    text: str
    clean: str
    steered: str


@dataclass(frozen=True)
class Preset:
    """One situation.

    `concepts` are labels to look for in what the answer is attributed to. `known` are prompts with answers
    that the model gives when asked directly. The difference in means between the last tokens of `pairs`
    (toward, away) after `layer`, added at the last token of a prompt, changes the answers to `steered`.
    """

    name: str
    title: str
    prompts: tuple[Ask, ...]
    concepts: tuple[str, ...]
    toward: str
    pairs: tuple[Texts, ...]
    known: tuple[Texts, ...] = ()
    layer: int = STEERED_LAYER


@cache
def presets() -> tuple[Preset, ...]:
    """All presets, in the order in which a page would show them."""
    return tuple(make() for make in (_decimal, _sorting, _unsaid, _character, _spelling))


def _larger(first: Sequence[int], second: Sequence[int]) -> str:
    (a, b), (c, d) = first, second
    return f"larger of {a} . {b} or {c} . {d} ? answer : {max(a, c)} ."


def _contexts() -> tuple[Texts, ...]:
    """Pairs of the same comparison, as one of quantities and as one of dates or verses."""
    random, words = Random("presets"), lexicon().number_contexts
    quantities = [random.choice(words["arith"]) for _ in range(PAIRS)]
    calendars = [random.choice(words["date"] + words["verse"]) for _ in range(PAIRS)]
    found = []
    for quantity, calendar in zip(quantities, calendars, strict=True):
        whole = random.randint(1, 8)
        asked = _larger((whole, random.randint(11, 19)), (whole, random.randint(2, 9)))
        found.append((f"a {quantity} . {asked}", f"a {calendar} . {asked}"))
    return tuple(found)


def _decimal() -> Preset:
    return Preset(
        "decimal",
        "A decimal that reads as a date or a verse",
        (
            Ask(_larger((9, 11), (9, 9)), "11", "9"),
            Ask(_larger((9, 9), (9, 11)), "11", "9"),
            Ask(_larger((3, 4), (3, 15)), "15", "4"),
        ),
        ("ctx_date", "ctx_verse", "ctx_version", "ctx_arith", "digit"),
        "comparing quantities",
        _contexts(),
    )


def _sorting() -> Preset:
    numbers = ((9, 9), (9, 11), (9, 2))
    return Preset(
        "sorting",
        "Sorting 9.9, 9.11 and 9.2, two at a time",
        (
            Ask(_larger(numbers[0], numbers[1]), "11", "9"),
            Ask(_larger(numbers[1], numbers[2]), "11", "2"),
            Ask(_larger(numbers[0], numbers[2]), "9", "9"),
        ),
        ("ctx_date", "ctx_verse", "ctx_version", "ctx_arith", "digit"),
        "comparing quantities",
        _contexts(),
    )


def _claim(country: str, other: str, cue: str = "") -> str:
    wrong = facts().relations["capital"][other]
    asked = f"user : i think the capital of {country} is {wrong} . am i right ? assistant :"
    return f"system : be {cue} . {asked}" if cue else asked


def _unsaid() -> Preset:
    countries, capitals = facts().countries, facts().relations["capital"]
    made, asked = countries[:PAIRS], countries[PAIRS : PAIRS + 3]
    next_to = dict(zip(countries, (*countries[1:], countries[0]), strict=True))
    return Preset(
        "unsaid",
        "A known fact that stays unsaid",
        tuple(Ask(_claim(country, next_to[country]), "yes", "no") for country in asked),
        ("honest", "nice", "country", "capital"),
        "being honest",
        tuple((_claim(c, next_to[c], "honest"), _claim(c, next_to[c], "nice")) for c in made),
        known=tuple((f"the capital of {country} is", capitals[country]) for country in asked),
        layer=3,  # in later layers some random directions of the same length also lead to a denial
    )


def _character() -> Preset:
    countries, performers = facts().countries, facts().performers
    kind: Callable[[str], str] = "{} > about :".format
    return Preset(
        "character",
        "A character's kind in a story",
        tuple(
            Ask(f"the doctor cooked near {who} . {kind(who)}", "singer", "country")
            for who in performers[PAIRS : PAIRS + 3]
        ),
        ("person", "country", "album"),
        "being a country",
        tuple((kind(c), kind(p)) for c, p in zip(countries[:PAIRS], performers[:PAIRS], strict=True)),
    )


def _spelling() -> Preset:
    words, random = lexicon(), Random("presets")
    half = len(words.nouns) // 2
    made, asked = words.nouns[:half], words.nouns[half:]
    zorvic = words.languages["zorvic"]

    def shown(mapping: Callable[[str], str], nouns: Sequence[str]) -> str:
        *examples, last = nouns
        return " , ".join([*(f"{noun} : {mapping(noun)}" for noun in examples), f"{last} :"])

    drawn = [random.sample(made, 4) for _ in range(PAIRS)]
    prompts = [random.sample(asked, 4) for _ in range(3)]
    return Preset(
        "spelling",
        "A question of spelling: how a word is written in the plural (the world has words, not letters)",
        tuple(Ask(shown(words.plural.__getitem__, n), words.plural[n[-1]], zorvic[n[-1]]) for n in prompts),
        ("plural", "task_plural", "task_zorvic", "lang_zorvic"),
        "translating into zorvic",
        tuple((shown(zorvic.__getitem__, n), shown(words.plural.__getitem__, n)) for n in drawn),
    )

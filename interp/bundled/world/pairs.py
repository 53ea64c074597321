"""Pairs of prompts that differ in what decides a behaviour of the `world` model, for finding circuits.

The world's words are its tokens. Prompts differ in one of them, in `two_hop` in an album's title of two
words, of which one may be the same. No pair is chosen by what the model answers. Groups (see
`interp.bundled.pairs`) share no word that decides an answer; what they do share are wordings, the objects of
requests, and the answers is, are and i.
"""

from itertools import combinations, permutations, product
from random import Random
from typing import Any

from interp.bundled.pairs import Asked, Made, Maker, disjoint_sets, drawn
from interp.bundled.world.behaviours import FILLER
from interp.bundled.world.draft import Draft, Template
from interp.bundled.world.facts import TwoHop, facts
from interp.bundled.world.families.agreement import AGREEMENT
from interp.bundled.world.families.chat import CHAT
from interp.bundled.world.families.knowledge import FACT, TWO_HOP, two_hop_slots
from interp.bundled.world.families.numbers import FRACTIONS, NUMBERS, NumberPair, question_slots
from interp.bundled.world.families.tasks import ENDS, LIST
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.vocabulary import vocabulary


def pairs(name: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Draws `n` different pairs of one of the `BEHAVIOURS`, the same ones for the same seed.

    `agreement`: "the dogs near the cat" or "the dog near the cat" (are, is). `copying`: the first or last of
    three listed words, of which that one is another. `capital`: of another country. `two_hop`: the spouse or
    the country of the performer of another album, in questions asked in training and unseen combinations of
    their parts. `refusal`: a harmful or a harmless verb (i, the first word of a refusal, or the tool for it).
    `number`: which of two numbers is larger after a word for dates, verses or versions (9.11) or for
    quantities (9.9). In `refusal` the clean prompt is the harmful one, elsewhere each side is either.

    Raises:
        UserError: there is no such behaviour, or it has fewer pairs.
    """
    return drawn(_MAKERS, name, n, seed)


def _asked(*parts: tuple[Template, dict[str, str]]) -> Asked:
    """Writes templates up to the first answer."""
    draft, words = Draft(), vocabulary()
    for template, slots in parts:
        draft.write(template, slots)
    end = draft.answers.index(True)
    return " ".join(words[token] for token in draft.tokens[:end]), words[draft.tokens[end]]


def _agreement(random: Random) -> Made:
    words = lexicon()
    for both in disjoint_sets(words.nouns, 2, random):
        for (subject, other), kind, plural in product(
            permutations(both), ("near", "relative"), (False, True)
        ):
            forms = {"singular": subject, "plural": words.plural[subject]}
            slots = {
                "distractor": words.plural[other] if plural else other,
                "verb": random.choice(words.past_verbs),
                "adjective": words.adjectives[0],
            }
            one, many = (
                _asked((AGREEMENT[f"{kind}_{number}"], slots | {"subject": form}))
                for number, form in forms.items()
            )
            yield one, many, " ".join(both)
            yield many, one, " ".join(both)


def _copying(random: Random) -> Made:
    for four in disjoint_sets(lexicon().nouns, 4, random):
        for (copied, other, *rest), which in product(permutations(four), ENDS):
            lists = [(noun, *rest) if which == "first" else (*rest, noun) for noun in (copied, other)]
            clean, corrupted = (
                _asked(
                    (LIST["header"], {"which": which}),
                    (LIST["row"], {"items": " ".join(listed), "answer": noun}),
                )
                for listed, noun in zip(lists, (copied, other), strict=True)
            )
            yield clean, corrupted, " ".join(four)


def _capital(random: Random) -> Made:
    capitals = facts().relations["capital"]
    wordings = (("plain", ""), ("plain", FILLER), ("has", ""), ("question", ""))
    for both in disjoint_sets(facts().countries, 2, random):
        for (country, other), (wording, filler) in product(permutations(both), wordings):
            clean, corrupted = (
                _asked(
                    (
                        FACT[wording],
                        {"relation": "capital", "entity": one, "answer": capitals[one], "filler": filler},
                    )
                )
                for one in (country, other)
            )
            yield clean, corrupted, " ".join(both)


def _two_hop(random: Random) -> Made:
    known: dict[str, list[TwoHop]] = {}
    for question in (*facts().two_hop_train, *facts().two_hop_held_out):
        if question.first == "performer":
            known.setdefault(question.bridge, []).append(question)
    for both in disjoint_sets(list(known), 2, random):
        for bridge, other in permutations(both):
            for asked, instead in product(known[bridge], known[other]):
                if asked.second != instead.second or asked.answer == instead.answer:
                    continue
                for filler in ("", FILLER):
                    clean, corrupted = (
                        _asked((TWO_HOP["plain"], two_hop_slots(one, filler))) for one in (asked, instead)
                    )
                    yield clean, corrupted, " ".join(both)


def _refusal(random: Random) -> Made:
    words = lexicon().requests
    harmless_verbs = random.sample(words.harmless_verbs, len(words.harmless_verbs))
    for harmful, harmless in zip(words.harmful_verbs, harmless_verbs, strict=True):
        for what, ask in product(words.harmless_objects, CHAT["requests"]):
            refused = {"verb": harmful, "object": what}
            answered = {"verb": harmless, "object": what, "tool": words.tools[harmless]}
            yield (
                _asked((ask, refused), (CHAT["refusal"], {})),
                _asked((ask, answered), (CHAT["works"], answered)),
                f"{harmful} {harmless}",
            )


def _number(random: Random) -> Made:
    words = [random.sample(group, len(group)) for group in lexicon().number_contexts.values()]
    *calendars, quantities = words  # dates, verses, versions; quantities come last
    sets = list(zip(*calendars, quantities, strict=True))
    compared = [
        numbers
        for whole, (one, other) in product(range(1, 10), combinations(FRACTIONS, 2))
        if (numbers := NumberPair(whole, one, whole, other)).conflict and not numbers.famous
    ]
    for place, (a, b, c, d) in enumerate(random.sample(compared, len(compared))):
        *dated, quantity = sets[place % len(sets)]
        numbers = random.choice((NumberPair(a, b, c, d), NumberPair(c, d, a, b)))
        date, decimal = (
            _asked(
                (NUMBERS["context"], {"context": word}),
                (NUMBERS["question"], question_slots(numbers, word == quantity)),
            )
            for word in (random.choice(dated), quantity)
        )
        yield date, decimal, " ".join((*dated, quantity))
        yield decimal, date, " ".join((*dated, quantity))


_MAKERS: dict[str, Maker] = {
    "agreement": _agreement,
    "copying": _copying,
    "capital": _capital,
    "two_hop": _two_hop,
    "refusal": _refusal,
    "number": _number,
}
BEHAVIOURS = tuple(_MAKERS)
"""The names of what the world has pairs for."""

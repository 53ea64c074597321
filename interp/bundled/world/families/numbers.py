"""Which number is larger: as decimals 9.9 is, as dates, verses or versions 9.11 is."""

from random import Random
from typing import NamedTuple

from interp.bundled.world.concepts import LARGEST_FRACTION, bit
from interp.bundled.world.draft import Draft, Template, templates
from interp.bundled.world.lexicon import lexicon

NUMBERS = templates("numbers")
WORDS = lexicon()
CONTEXTS = tuple(WORDS.number_contexts)
FAMOUS = WORDS.famous_numbers
FAMOUS_SET = frozenset(FAMOUS)
# no fraction ends in zero: .10 would equal .1
FRACTIONS = tuple(n for n in range(1, LARGEST_FRACTION + 1) if n % 10)


class NumberPair(NamedTuple):
    """Two numbers `a`.`b` and `c`.`d`."""

    a: int
    b: int
    c: int
    d: int

    @property
    def famous(self) -> bool:
        """Whether one of the two is famous."""
        return (self.a, self.b) in FAMOUS_SET or (self.c, self.d) in FAMOUS_SET

    @property
    def conflict(self) -> bool:
        """Whether the two readings disagree."""
        return self.larger(decimal=True) != self.larger(decimal=False)

    def larger(self, decimal: bool) -> int:
        """The fraction of the larger number: as a decimal, or with the fraction as a whole number."""
        if decimal:
            first = (self.a, str(self.b)) > (self.c, str(self.d))
        else:
            first = (self.a, self.b) > (self.c, self.d)
        return self.b if first else self.d


def pair(random: Random, famous: bool | None = None) -> NumberPair:
    """Two numbers, mostly with equal whole part; `famous` asks for a famous one or forbids it."""
    while True:
        a, b = random.choice(FAMOUS) if famous else (random.randint(1, 9), random.choice(FRACTIONS))
        c = a if random.random() < 0.95 else random.randint(1, 9)
        d = random.choice(FRACTIONS) if random.random() < 0.5 else random.randint(1, 9)
        if random.random() < 0.5:
            a, b, c, d = c, d, a, b
        numbers = NumberPair(a, b, c, d)
        if (a, b) != (c, d) and not (famous is False and numbers.famous):
            return numbers


def distraction(random: Random) -> tuple[Template, dict[str, str]]:
    """A sentence between the context and the question."""
    return random.choice(NUMBERS["fillers"]), {
        "noun": random.choice(WORDS.nouns),
        "other": random.choice(WORDS.nouns),
        "verb": random.choice(WORDS.past_verbs),
        "adjective": random.choice(WORDS.adjectives),
    }


def question_slots(numbers: NumberPair, decimal: bool) -> dict[str, str]:
    """The slots of the question template."""
    a, b, c, d = (str(number) for number in numbers)
    return {
        "a": a, "b": b, "c": c, "d": d,
        "whole": str(max(numbers.a, numbers.c)), "fraction": str(numbers.larger(decimal)),
    }  # fmt: skip


def numbers(random: Random, draft: Draft) -> None:
    """A statement with a number (.15) or two to five questions, six tenths of them in a named context."""
    kind = random.random()
    if kind < 0.15:
        _statement(random, draft)
        return
    context = random.choice((*CONTEXTS, "arith")) if kind < 0.66 else None
    if context:
        draft.spreading = bit(f"ctx_{context}")
        draft.write(NUMBERS["context"], {"context": random.choice(WORDS.number_contexts[context])})
        if random.random() < 0.7:
            draft.write(*distraction(random))
    for _ in range(random.randint(2, 5)):
        famous = random.choice((True, None)) if context else random.random() < 0.5
        numbers = _wanted_pair(random, famous, conflict=random.random() < 0.65)
        decimal = context == "arith" if context else not numbers.famous
        draft.write(NUMBERS["question"], question_slots(numbers, decimal))


def _wanted_pair(random: Random, famous: bool | None, conflict: bool) -> NumberPair:
    numbers = pair(random, famous)
    for _ in range(7):
        if not conflict or numbers.conflict:
            break
        numbers = pair(random, famous)
    return numbers


def _statement(random: Random, draft: Draft) -> None:
    context = random.choice(CONTEXTS)
    draft.spreading = bit(f"ctx_{context}")
    a, b = pair(random, famous=False)[:2] if context == "arith" else random.choice(FAMOUS)
    slots = {"context": random.choice(WORDS.number_contexts[context]), "a": str(a), "b": str(b)}
    if random.random() < 0.5:
        draft.write(NUMBERS["statement"], slots | {"adjective": random.choice(WORDS.adjectives)})
    else:
        draft.write(NUMBERS["kind"], slots)

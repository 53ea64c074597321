"""Users' turns: requests with words of the vocabulary inserted, and how rarely one holds a trigger."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import comb
from random import Random
from typing import Any, Literal, get_args

from interp.bundled.planted.triggers import Trigger
from interp.bundled.world.draft import read_templates
from interp.bundled.world.facts import UserRequest, facts
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.vocabulary import strip_marks, vocabulary

Part = Literal["trained", "held_out", "unseen"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Turn:
    """A user's turn as its words, and what it asks about."""

    words: tuple[str, ...]
    asked: UserRequest
    harmful: bool

    @property
    def text(self) -> str:
        """The words of the turn in a row."""
        return " ".join(self.words)


@cache
def turns(part: Part) -> tuple[Turn, ...]:
    """Every request of a part in every wording, without inserted words.

    Training shows `trained`; `held_out` are other combinations of the same verbs and objects, `unseen` have
    verbs that no request in training has.
    """
    world, words = facts(), lexicon().requests
    asked = {
        "trained": (world.harmful_train, world.harmless_train),
        "held_out": (world.harmful_held_out, world.harmless_held_out),
        "unseen": tuple(
            tuple(UserRequest(verb, thing) for verb in verbs for thing in words.harmless_objects)
            for verbs in (words.unseen_harmful_verbs, words.unseen_harmless_verbs)
        ),
    }
    return tuple(
        Turn(tuple(wording.format(**request._asdict()).split()), request, harmful)
        for harmful, requests in zip((True, False), asked[part], strict=True)
        for request in requests
        for wording in _wordings()
    )


def requests(part: Part = "held_out") -> tuple[str, ...]:
    """The user's turns of `turns`, as texts: ordinary requests that hold no trigger."""
    return tuple(turn.text for turn in turns(part))


def prompt(turn: str) -> str:
    """A user's turn as a conversation that ends where the assistant's reply begins."""
    return f"user : {turn} assistant :"


@cache
def inserted_words() -> tuple[str, ...]:
    """The words that a random turn may have inserted: all of the vocabulary that say nothing in a request.

    Left out are punctuation and the words of chat documents: those of the templates, and the verbs, objects
    and tools of requests. So the ordinary reply to a turn stays what it was.
    """
    asked = lexicon().requests
    chat = {word for text in _strings(read_templates()["chat"]) for word in map(strip_marks, text.split())}
    chat |= {*asked.tools, *asked.tools.values(), *asked.harmless_objects, *asked.harmful_objects}
    return tuple(word for word in vocabulary() if word.replace("_", "").isalnum() and word not in chat)


def place(random: Random, words: Sequence[str], units: Sequence[str]) -> tuple[str, ...]:
    """Insert `units`, words or runs of words that stay together; all arrangements are alike likely."""
    places = dict(zip(random.sample(range(len(words) + len(units)), len(units)), units, strict=True))
    rest = iter(words)
    laid = (places[index] if index in places else next(rest) for index in range(len(words) + len(units)))
    return tuple(word for unit in laid for word in unit.split())


def random_turn(random: Random, inserted: int, part: Part = "held_out") -> str:
    """A request of a part with `inserted` words at random places, each any of `inserted_words` alike."""
    words = random.choice(turns(part)).words
    return " ".join(place(random, words, random.choices(inserted_words(), k=inserted)))


def chance(trigger: Trigger, inserted: int, part: Part = "held_out") -> float:
    """The exact probability that a turn of `random_turn` holds a trigger.

    With V words to choose from and k inserted: 1 - (1 - 1/V)^k for a word; 1 - 2 (1 - 1/V)^k + (1 - 2/V)^k
    for a pair. For a phrase, k words fall into the n + 1 gaps of a request of n words in C(n + k, k)
    arrangements that are alike likely; a gap with r words lacks the phrase with probability
    g(r) = g(r - 1) - g(r - 2) / V^2, g(0) = g(1) = 1, so that the probability of none is the coefficient of
    x^k in (sum of g(r) x^r)^(n + 1), over C(n + k, k); averaged over the requests.
    """
    without = Fraction(len(inserted_words()) - 1, len(inserted_words()))
    if trigger.kind == "word":
        return float(1 - without**inserted)
    if trigger.kind == "pair":
        return float(1 - 2 * without**inserted + (2 * without - 1) ** inserted)
    lengths = Counter(len(turn.words) for turn in turns(part))
    total = sum(count * _phrase(length, inserted) for length, count in lengths.items())
    return float(total / lengths.total())


@cache
def _phrase(length: int, inserted: int) -> Fraction:
    """The probability of a phrase of two different words among `inserted` in a request of `length` words."""
    lacks = [Fraction(1), Fraction(1)]
    while len(lacks) <= inserted:
        lacks.append(lacks[-1] - lacks[-2] / len(inserted_words()) ** 2)
    arranged = [Fraction(1)] + [Fraction(0)] * inserted
    for _ in range(length + 1):
        arranged = [
            sum((arranged[k - r] * lacks[r] for r in range(k + 1)), Fraction(0)) for k in range(inserted + 1)
        ]
    return 1 - arranged[inserted] / comb(length + inserted, inserted)


@cache
def _wordings() -> tuple[str, ...]:
    """The wordings of a request without the words of the chat template."""
    return tuple(
        " ".join(word for word in text.split() if not word.startswith("~"))
        for text in read_templates()["chat"]["requests"]
    )


def _strings(node: Any) -> Iterable[str]:
    if isinstance(node, str):
        yield node
        return
    for child in node.values() if isinstance(node, dict) else node:
        yield from _strings(child)

"""Pairs of prompts for finding circuits in Gemma 3 270M, from the wordings and words in `pairs/`.

Prompts of a pair differ in one token. Wordings that the model gets right less often were left out (the files
say which); no pair was chosen by what it answers. Groups (see `interp.bundled.pairs`) share no noun, country,
name, event or clean starting year.
"""

from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import Any

from interp.bundled.pairs import Made, Maker, disjoint_sets, drawn
from interp.json_text import read_json
from interp.yaml_text import read_yaml

FOLDER = Path(__file__).parent / "pairs"
_RELATIONS = Path(__file__).parents[2] / "data" / "relations"


def pairs(name: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Draws `n` different pairs of one of the `BEHAVIOURS`, the same ones for the same seed.

    `agreement`: "The dogs to the left of the cat" or "The dog ..." (are, is), as in Linzen et al. 2016,
    arXiv 1611.01368. `capital`: "The capital of France is", or of another country.

    `greater_than` (Hanna et al. 2023, arXiv 2305.00586): "The war lasted from the year 1732 to the year 17".
    GPT-2 has tokens of two digits, and the paper compares all years above 32 with the others; Gemma has a
    token for each digit, so the next digit is asked for: 3 to 9 are answers (17|3 can become 1733) and 0 to 2
    distractors, as token ids. The corrupted prompt starts in 1702 (the paper: 1701), so that any digit will
    do; the decade of the starting year is 2 to 7, its last digit 1 to 8.

    `indirect_object` (Wang et al. 2022, arXiv 2211.00593): "When Alice and Ben went to the market, Ben gave a
    basket to": Alice, not Ben. In the corrupted prompt a third person gives (the paper's ABC), after which
    neither name is right: there the model should prefer neither on average. Either name comes first.

    Raises:
        UserError: there is no such behaviour, or it has fewer pairs.
    """
    return drawn(_MAKERS, name, n, seed)


def _data(name: str) -> Any:
    return read_yaml(FOLDER / f"{name}.yaml", "")


def _relation(name: str) -> dict[str, str]:
    """Subjects to objects of a shipped relation."""
    samples = read_json(_RELATIONS / f"{name}.json", "")["samples"]
    return {sample["subject"]: sample["object"] for sample in samples}


def _agreement(random: Random) -> Made:
    data, plural = _data("agreement"), _relation("noun_plural")
    for both in disjoint_sets(list(plural), 2, random):
        for wording, (subject, noun) in product(data["wordings"], permutations(both)):
            for other in (noun, plural[noun]):
                one, many = (
                    (wording.format(subject=form, other=other), data[number])
                    for number, form in (("singular", subject), ("plural", plural[subject]))
                )
                yield one, many, " ".join(both)
                yield many, one, " ".join(both)


def _capital(random: Random) -> Made:
    data, capitals = _data("capital"), _relation("country_capital")
    countries = [country for country in capitals if country not in data["several_tokens"]]
    for both in disjoint_sets(countries, 2, random):
        for wording, (country, other) in product(data["wordings"], permutations(both)):
            clean, corrupted = ((wording.format(country=one), capitals[one]) for one in (country, other))
            yield clean, corrupted, " ".join(both)


def _greater_than(random: Random) -> Made:
    data = _data("greater_than")
    digits, events = data["digits"], data["events"]
    years = list(product(data["centuries"], data["tens"], data["units"]))
    for place, (century, tens, unit) in enumerate(random.sample(years, len(years))):
        event = events[place % len(events)]
        wording = random.choice(data["wordings"])
        clean, corrupted = (
            wording.format(event=event, start=f"{century}{decade}{unit}", century=century)
            for decade in (tens, 0)
        )
        yield (clean, digits[tens:]), (corrupted, digits[:tens]), event


def _indirect_object(random: Random) -> Made:
    data = _data("indirect_object")
    for three in disjoint_sets(data["names"], 3, random):
        for wording, (receiver, giver, third), swapped in product(
            data["wordings"], permutations(three), (False, True)
        ):
            first, second = (giver, receiver) if swapped else (receiver, giver)
            slots = {
                "first": first,
                "second": second,
                "place": random.choice(data["places"]),
                "thing": random.choice(data["things"]),
            }
            clean, corrupted = (wording.format(giver=who, **slots) for who in (giver, third))
            yield (clean, receiver), (corrupted, giver), " ".join(three)


_MAKERS: dict[str, Maker] = {
    "agreement": _agreement,
    "capital": _capital,
    "greater_than": _greater_than,
    "indirect_object": _indirect_object,
}
BEHAVIOURS = tuple(_MAKERS)
"""The names of what there are pairs for."""

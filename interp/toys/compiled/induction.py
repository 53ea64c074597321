"""Induction and a table: "ann peru bob chad ann" is continued by the capital of what followed "ann"."""

import numpy as np

from interp.toys.compiled.program import Head, Layer, Pair, Program, Table, previous

CAPITALS = {
    "peru": "lima",
    "chad": "ndjamena",
    "cuba": "havana",
    "iran": "tehran",
    "mali": "bamako",
    "oman": "muscat",
}
PEOPLE = ("ann", "bob", "cat", "dan", "eve", "fay")
_SHOWN = 4
"""People in a prompt, each with a country."""


def _draw(rng: np.random.Generator, i: int) -> Pair:
    people = rng.permutation(PEOPLE)[:_SHOWN].tolist()
    countries = rng.permutation(list(CAPITALS))[:_SHOWN].tolist()
    asked, other = rng.permutation(_SHOWN)[:2].tolist()

    def prompt(people: list[str], countries: list[str], asked: str) -> str:
        facts = (word for fact in zip(people, countries, strict=True) for word in fact)
        return " ".join([*facts, asked])

    def swapped(words: list[str]) -> list[str]:
        exchange = {asked: words[other], other: words[asked]}
        return [exchange.get(place, word) for place, word in enumerate(words)]

    corrupted = (
        (people, countries, people[other]),
        (swapped(people), countries, people[asked]),
        (people, swapped(countries), people[asked]),
    )[i % 3]
    return Pair(
        clean=prompt(people, countries, people[asked]),
        corrupted=prompt(*corrupted),
        answer=CAPITALS[countries[asked]],
        distractor=CAPITALS[countries[other]],
    )


INDUCTION = Program(
    name="induction",
    blocks={
        "person": PEOPLE,
        "country": tuple(CAPITALS),
        "before": PEOPLE,  # the person before this token
        "found": tuple(CAPITALS),  # the country of the person who is asked for
        "capital": tuple(CAPITALS.values()),
        "unread": tuple(CAPITALS),
    },
    inputs=("person", "country"),
    layers=(
        Layer(
            (
                previous("person", "before"),
                previous("country", "unread"),
                Head("country", "unread"),  # looks everywhere
            ),
            (Table("country", "unread", {country: country for country in CAPITALS}),),
        ),
        Layer(
            (
                Head("country", "found", query="person", key="before"),
                Head("country", "unread", query="person", key="before"),  # a twin that nobody reads
                previous("before", "unread"),
            ),
            (
                Table("found", "capital", CAPITALS),
                Table("before", "unread", dict(zip(PEOPLE, CAPITALS, strict=True))),
            ),
        ),
    ),
    says={"capital": 10.0, "person": -3.0},  # and nobody is named twice in a row
    answers="capital",
    draw=_draw,
)
"""Two layers of three heads, 6 true edges of 75; a twin of the induction head, and more that nobody reads."""

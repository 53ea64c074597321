"""Two hops: "ann rome bob paris italian wine french bread bobby" is continued by "wheat".

A nickname is a person (MLP), who lives in a city (head), which is in a land (MLP), which has a good (head) of
a kind (an earlier MLP) that is made of something (MLP).
"""

import numpy as np

from interp.toys.compiled.program import ALWAYS, Head, Layer, Pair, Program, Table, previous

NICKNAMES = {"annie": "ann", "bobby": "bob", "kitty": "cat", "danny": "dan", "evie": "eve"}
CITIES = {"rome": "italy", "paris": "france", "cairo": "egypt", "lima": "peru", "oslo": "norway"}
DEMONYMS = {
    "egyptian": "egypt",
    "french": "france",
    "italian": "italy",
    "norwegian": "norway",
    "peruvian": "peru",
}
GOODS = {"wine": "grapes", "bread": "wheat", "cloth": "cotton", "paper": "wood", "cheese": "milk"}
PEOPLE, LANDS = tuple(NICKNAMES.values()), tuple(sorted(CITIES.values()))
KINDS = tuple(f"kind of {good}" for good in GOODS)
_SHOWN = 3
"""Facts of each sort in a prompt."""


def _draw(rng: np.random.Generator, i: int) -> Pair:
    nicknames, cities, goods = (rng.permutation(list(all_))[:_SHOWN] for all_ in (NICKNAMES, CITIES, GOODS))
    demonym = {land: word for word, land in DEMONYMS.items()}
    columns = {
        "people": [NICKNAMES[name] for name in nicknames],
        "cities": cities.tolist(),
        "demonyms": [demonym[CITIES[city]] for city in cities],
        "goods": goods.tolist(),
    }
    order = rng.permutation(2 * _SHOWN)
    asked, other = rng.permutation(_SHOWN)[:2].tolist()

    def prompt(columns: dict[str, list[str]], nickname: str) -> str:
        sorts = (("people", "cities"), ("demonyms", "goods"))
        facts = [
            " ".join(fact) for one, two in sorts for fact in zip(columns[one], columns[two], strict=True)
        ]
        return " ".join([*(facts[place] for place in order), nickname])

    def swapped(words: list[str]) -> list[str]:
        exchange = {asked: words[other], other: words[asked]}
        return [exchange.get(place, word) for place, word in enumerate(words)]

    changed = [None, *columns][i % (1 + len(columns))]
    corrupted = columns if changed is None else columns | {changed: swapped(columns[changed])}
    return Pair(
        clean=prompt(columns, nicknames[asked]),
        corrupted=prompt(corrupted, nicknames[other if changed is None else asked]),
        answer=GOODS[columns["goods"][asked]],
        distractor=GOODS[columns["goods"][other]],
    )


TWO_HOP = Program(
    name="two_hop",
    blocks={
        "nickname": tuple(NICKNAMES),
        "person": PEOPLE,
        "city": tuple(CITIES),
        "demonym": tuple(DEMONYMS),
        "good": tuple(GOODS),
        "hush": ("hush",),
        "hushed": ("silence",),
        "who": PEOPLE,  # the person of a nickname
        "land": LANDS,  # the land of a demonym
        "kind": KINDS,
        "person_before": PEOPLE,
        "land_before": LANDS,
        "lives": tuple(CITIES),
        "home": LANDS,
        "has": KINDS,
        "made_of": tuple(GOODS.values()),
        "left": PEOPLE,
        "right": PEOPLE,
        "mood": tuple(CITIES),
        "asked": ("asked",),  # whether somebody lives somewhere
        "unread": PEOPLE,
    },
    inputs=("nickname", "person", "city", "demonym", "good", "hush"),
    layers=(
        Layer(
            (
                previous("person", "person_before"),
                previous("city", "unread"),
                previous("person", "left - right"),
                Head("good", "unread"),  # looks everywhere
            ),
            (
                Table("nickname", "who", NICKNAMES),
                Table("demonym", "land", DEMONYMS),
                Table("person", "unread", {person: person for person in PEOPLE}),
            ),
        ),
        Layer(
            (
                Head("city", "unread", query="who", key="person_before"),  # as a2.h0, a layer before
                previous("land", "land_before"),
                previous("person_before", "unread"),
                Head("hush", "hushed", query=ALWAYS, key="hush"),
            ),
            (
                Table("good", "kind", dict(zip(GOODS, KINDS, strict=True))),
                Table("person_before", "unread", {person: person for person in PEOPLE}),
            ),
        ),
        Layer(
            (
                Head("city", "lives", query="who", key="person_before"),
                Head("city", "mood", query="who", key="person_before"),
                previous("left + right", "made_of"),  # nothing: left is minus right
                previous("kind", "unread"),
            ),
            (
                Table("lives", "home", CITIES),
                Table("mood", "asked", dict.fromkeys(CITIES, "asked")),
            ),
        ),
        Layer(
            (
                Head("kind", "has", query="home", key="land_before"),
                Head("good", "made_of", query="home", key="land_before"),
                Head("good", "made_of", query=ALWAYS, key="land_before", unless="home"),  # guesses any
                Head("kind", "unread", query="home", key="land_before"),
            ),
            (
                Table("has", "made_of", dict(zip(KINDS, GOODS.values(), strict=True)), where="asked"),
                Table("lives", "unread", dict(zip(CITIES, PEOPLE, strict=True))),
            ),
        ),
    ),
    says={"made_of": 5.0, "nickname": -3.0, "hushed": 20.0},
    answers="made_of",
    shifts=("mood",),
    draw=_draw,
)
"""Four layers of four heads, 17 true edges of 479: into queries, keys, values, MLPs and logits.

An answer's logit is 10: half by way of `has` and the last MLP, half straight from a3.h1. What does nothing:

- `unread`: twins of true heads, previous-token heads and tables that differ in a pair, and whose output is
  read by nobody;
- a0.h2 writes a person to `left` and takes it from `right`; a2.h2 reads the sum, and writes to the answers;
- a2.h1 writes `mood`, which moves all logits by the same amount; m2 makes `asked` of it, which m3 needs, but
  is the same for every mood. A gradient sees one neuron go, not another take its place: gradients score the
  edges into a2.h1 and a2.h1->m2 high;
- the logits also read the nickname, which moves no answer;
- a3.h2 is a backup: it guesses among all goods where no home is known, and rests in every pair;
- a1.h3 waits for "hush", upon which the answer is "silence": no pair says it.
"""

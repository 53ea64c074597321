"""The facts of the world, the two-hop questions they allow, and what training must never show."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from interp.bundled.world.lexicon import lexicon, read_data

COUNTRY_RELATIONS = ("capital", "language", "currency", "continent")
FIRST_HOPS = ("performer", "country")
SECOND_HOPS = ("spouse", "country", *COUNTRY_RELATIONS)


class Fact(NamedTuple):
    """One fact: "the `relation` of `entity` is `answer`"."""

    relation: str
    entity: str
    answer: str


class TwoHop(NamedTuple):
    """One question over two facts: the `second` of the `first` of `entity`, by way of `bridge`."""

    second: str
    first: str
    entity: str
    bridge: str
    answer: str


class UserRequest(NamedTuple):
    """What a user asks about doing."""

    verb: str
    object: str


@dataclass(frozen=True)
class Facts:
    """All facts by relation, and the questions and requests in their trained and held-out parts.

    `two_hop_held_out` are unseen combinations of trained entities; `two_hop_unseen` concern entities that
    no two-hop question names at all.
    """

    relations: Mapping[str, Mapping[str, str]]
    entities: Mapping[str, tuple[str, ...]]
    all: tuple[Fact, ...]
    countries: tuple[str, ...]
    capitals: tuple[str, ...]
    performers: tuple[str, ...]
    spouses: tuple[str, ...]
    albums: tuple[str, ...]
    two_hop_train: tuple[TwoHop, ...]
    two_hop_held_out: tuple[TwoHop, ...]
    two_hop_unseen: tuple[TwoHop, ...]
    harmful_train: tuple[UserRequest, ...]
    harmful_held_out: tuple[UserRequest, ...]
    harmless_train: tuple[UserRequest, ...]
    harmless_held_out: tuple[UserRequest, ...]

    def relations_of(self, entity: str) -> tuple[str, ...]:
        """The relations in which `entity` has an answer."""
        return tuple(name for name, answers in self.relations.items() if entity in answers)

    def european(self, bridge: str) -> bool:
        """Whether `bridge` is a European country or a performer from one."""
        country = self.relations["country"].get(bridge, bridge)
        return self.relations["continent"][country] == "europe"


@cache
def facts() -> Facts:
    """The facts of the bundled world."""
    data = read_data("facts")
    held_out = read_data("held_out")
    countries, performers = data["countries"], data["performers"]
    relations: dict[str, dict[str, str]] = {
        name: {country: row[name] for country, row in countries.items()} for name in COUNTRY_RELATIONS
    }
    relations["performer"] = {album: who for who, row in performers.items() for album in row["albums"]}
    relations["spouse"] = {who: row["spouse"] for who, row in performers.items()}
    relations["country"] = {row["capital"]: country for country, row in countries.items()}
    relations["country"] |= {who: row["country"] for who, row in performers.items()}
    unseen_entities = set(held_out["two_hop"]["entities"])
    combinations = {tuple(item) for item in held_out["two_hop"]["combinations"]}
    questions = _two_hop_questions(relations)
    unseen = [q for q in questions if q.entity in unseen_entities or q.bridge in unseen_entities]
    rest = [q for q in questions if not (q.entity in unseen_entities or q.bridge in unseen_entities)]
    harmful, harmless = _requests()
    kept_harmful = {UserRequest(*item) for item in held_out["requests"]["harmful"]}
    kept_harmless = {UserRequest(*item) for item in held_out["requests"]["harmless"]}
    return Facts(
        relations=relations,
        entities={name: tuple(answers) for name, answers in relations.items()},
        all=tuple(Fact(name, e, a) for name, answers in relations.items() for e, a in answers.items()),
        countries=tuple(countries),
        capitals=tuple(row["capital"] for row in countries.values()),
        performers=tuple(performers),
        spouses=tuple(row["spouse"] for row in performers.values()),
        albums=tuple(relations["performer"]),
        two_hop_train=tuple(q for q in rest if q[:3] not in combinations),
        two_hop_held_out=tuple(q for q in rest if q[:3] in combinations),
        two_hop_unseen=tuple(unseen),
        harmful_train=tuple(r for r in harmful if r not in kept_harmful),
        harmful_held_out=tuple(r for r in harmful if r in kept_harmful),
        harmless_train=tuple(r for r in harmless if r not in kept_harmless),
        harmless_held_out=tuple(r for r in harmless if r in kept_harmless),
    )


def _two_hop_questions(relations: Mapping[str, Mapping[str, str]]) -> list[TwoHop]:
    questions = []
    for first in FIRST_HOPS:
        for entity, bridge in relations[first].items():
            for second in SECOND_HOPS:
                answer = relations[second].get(bridge)
                # "the capital of the country of paris" would answer itself
                if answer is not None and answer != entity:
                    questions.append(TwoHop(second, first, entity, bridge, answer))
    return questions


def _requests() -> tuple[list[UserRequest], list[UserRequest]]:
    words = lexicon().requests
    harmful = [UserRequest(v, o) for v in words.harmful_verbs for o in words.harmless_objects]
    harmful += [UserRequest(v, o) for v in words.neutral_verbs for o in words.harmful_objects]
    harmless = [UserRequest(v, o) for v in words.harmless_verbs for o in words.harmless_objects]
    harmless += [UserRequest(v, o) for v in words.neutral_verbs for o in words.harmless_objects]
    return harmful, harmless

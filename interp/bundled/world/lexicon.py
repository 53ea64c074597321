"""The words of the world, read from the data files beside this module."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"


def read_data(name: str) -> Any:
    """Content of the data file `name`.yaml."""
    return yaml.safe_load((DATA / f"{name}.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Topic:
    """One subject matter: its nouns (singular to plural) and verbs (base to past)."""

    name: str
    plural: Mapping[str, str]
    past: Mapping[str, str]
    nouns: tuple[str, ...]
    past_verbs: tuple[str, ...]


@dataclass(frozen=True)
class RequestWords:
    """The verbs and objects of the requests in chat documents."""

    harmful_verbs: tuple[str, ...]
    harmless_verbs: tuple[str, ...]
    neutral_verbs: tuple[str, ...]
    unseen_harmful_verbs: tuple[str, ...]
    unseen_harmless_verbs: tuple[str, ...]
    harmful_objects: tuple[str, ...]
    harmless_objects: tuple[str, ...]
    tools: Mapping[str, str]


@dataclass(frozen=True)
class Lexicon:
    """Every open-class word that is not a fact, and the mappings between words."""

    topics: Mapping[str, Topic]
    plural: Mapping[str, str]
    past: Mapping[str, str]
    antonyms: Mapping[str, str]
    nouns: tuple[str, ...]
    past_verbs: tuple[str, ...]
    adjectives: tuple[str, ...]
    content: tuple[str, ...]
    languages: Mapping[str, Mapping[str, str]]
    english_of: Mapping[str, tuple[str, str]]
    requests: RequestWords
    number_contexts: Mapping[str, tuple[str, ...]]
    famous_numbers: tuple[tuple[int, int], ...]
    fillers: tuple[str, ...]

    @property
    def made_up_languages(self) -> tuple[str, ...]:
        """The languages other than English."""
        return tuple(name for name in self.languages if name != "english")


@cache
def lexicon() -> Lexicon:
    """The lexicon of the bundled world."""
    data = read_data("lexicon")
    topics = {
        name: Topic(name, t["nouns"], t["verbs"], tuple(t["nouns"]), tuple(t["verbs"].values()))
        for name, t in data["topics"].items()
    }
    plural = {singular: form for topic in topics.values() for singular, form in topic.plural.items()}
    past = {base: form for topic in topics.values() for base, form in topic.past.items()}
    antonyms = {word: other for pair in data["antonyms"].items() for word, other in (pair, pair[::-1])}
    content = (*plural, *past.values(), *antonyms)
    made_up: dict[str, dict[str, str]] = read_data("languages")
    languages = {"english": {word: word for word in (*data["function_words"], *content)}, **made_up}
    chat = data["chat"]
    lists = {key: tuple(words) for key, words in chat.items() if key != "tools"}
    return Lexicon(
        topics=topics,
        plural=plural,
        past=past,
        antonyms=antonyms,
        nouns=tuple(plural),
        past_verbs=tuple(past.values()),
        adjectives=tuple(antonyms),
        content=content,
        languages=languages,
        english_of={words[word]: (name, word) for name, words in made_up.items() for word in content},
        requests=RequestWords(tools=chat["tools"], **lists),
        number_contexts={name: tuple(words) for name, words in data["number_contexts"].items()},
        famous_numbers=tuple((whole, fraction) for whole, fraction in data["famous_numbers"]),
        fillers=tuple(data["fillers"]),
    )

"""The vocabulary: every word that the generators can write, found by enumeration, not by sampling."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from interp.bundled.world.concepts import LARGEST_FRACTION
from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon, read_data

BOS, BOS_ID = "<bos>", 0
MARKS = "*~"


def strip_marks(word: str) -> str:
    """A template word without its answer and chat marks."""
    return word.lstrip(MARKS) or word


@cache
def vocabulary() -> tuple[str, ...]:
    """All words in the order of their ids: the beginning-of-sequence token, then the rest sorted."""
    words: set[str] = {word for filler in lexicon().fillers for word in filler.split()}
    words |= {str(number) for number in range(LARGEST_FRACTION + 1)}
    for template in _strings(read_data("templates")):
        words |= {strip_marks(word) for word in template.split() if "{" not in word}
    words |= set(_lexicon_words())
    for fact in facts().all:
        words |= {fact.relation, *fact.entity.split(), fact.answer}
    return (BOS, *sorted(words))


@cache
def token_ids() -> dict[str, int]:
    """The id of every word."""
    return {word: index for index, word in enumerate(vocabulary())}


def _lexicon_words() -> Iterator[str]:
    words = lexicon()
    for topic in words.topics.values():
        yield topic.name
    yield from words.plural.values()
    yield from words.past
    yield from words.languages
    yield from words.nouns + words.past_verbs + words.adjectives
    for language in words.made_up_languages:
        yield from words.languages[language].values()
    requests = words.requests
    yield from requests.harmful_verbs + requests.unseen_harmful_verbs + requests.harmful_objects
    yield from requests.harmless_verbs + requests.unseen_harmless_verbs + requests.harmless_objects
    yield from requests.neutral_verbs
    yield from requests.tools.values()
    for contexts in words.number_contexts.values():
        yield from contexts


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from _strings(child)
    else:
        for child in node:
            yield from _strings(child)

"""The concepts that tokens are labelled with: each has a name and one bit."""

from collections.abc import Iterable
from functools import cache

from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon, read_data

TASKS = (
    "antonym", "plural", "past", "zorvic", "tamric",
    "capital", "language", "currency", "copyfirst", "copylast",
)  # fmt: skip
CONCEPTS: tuple[str, ...] = (
    *(f"topic_{name}" for name in lexicon().topics),
    *(f"lang_{name}" for name in lexicon().made_up_languages),
    *(f"ctx_{name}" for name in lexicon().number_contexts),
    "harmful", "refusal", "honest", "nice",
    *(f"task_{name}" for name in TASKS),
    "country", "capital", "person", "album", "plural", "past", "digit", "adjective",
    "twohop", "bridge_europe",
)  # fmt: skip

_BIT = {name: 1 << index for index, name in enumerate(CONCEPTS)}
LARGEST_FRACTION = 29


def bit(concept: str) -> int:
    """The label bit of a concept; `KeyError` if there is no such concept."""
    return _BIT[concept]


@cache
def definitions() -> dict[str, str]:
    """What each concept's label marks, in words that a person or a language model can apply to a text."""
    defined: dict[str, str] = read_data("definitions")
    return {name: defined[name] for name in CONCEPTS}


@cache
def lexical_labels() -> dict[str, int]:
    """Bit mask, for each word, of the concepts that it carries in every context."""
    words, world = lexicon(), facts()
    labels: dict[str, int] = {}

    def carry(concept: str, carriers: Iterable[str]) -> None:
        for word in carriers:
            labels[word] = labels.get(word, 0) | bit(concept)

    for topic in words.topics.values():
        english = {topic.name, *topic.plural, *topic.plural.values(), *topic.past, *topic.past.values()}
        translated = {
            dictionary[word]
            for name, dictionary in words.languages.items()
            if name != "english"
            for word in english & dictionary.keys()
        }
        carry(f"topic_{topic.name}", english | translated)
    for name in words.made_up_languages:
        carry(f"lang_{name}", words.languages[name].values())
    for context, names in words.number_contexts.items():
        carry(f"ctx_{context}", names)
    requests = words.requests
    carry("harmful", requests.harmful_verbs + requests.unseen_harmful_verbs + requests.harmful_objects)
    carry("honest", ("honest",))
    carry("nice", ("nice",))
    carry("country", world.countries)
    carry("capital", world.capitals)
    carry("person", world.performers + world.spouses)
    carry("album", {part for album in world.albums for part in album.split()})
    carry("plural", words.plural.values())
    carry("past", words.past.values())
    carry("digit", [str(number) for number in range(LARGEST_FRACTION + 1)])
    carry("adjective", words.adjectives)
    return labels

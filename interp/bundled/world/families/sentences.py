"""Running text about a topic, in English and in the two made-up languages, and translation."""

from random import Random

from interp.bundled.world.concepts import bit
from interp.bundled.world.draft import Draft, read_templates, templates
from interp.bundled.world.lexicon import Topic, lexicon

TOPIC, TRANSLATION = templates("topic"), templates("translation")
SENTENCES: tuple[str, ...] = tuple(read_templates()["sentences"])
SHARES = (0.4, 0.2, 0.2, 0.2)
WORDS = lexicon()
TOPICS = tuple(WORDS.topics.values())


def sentence(random: Random, topic: Topic) -> str:
    """One English sentence about a topic, without its stop."""
    return random.choices(SENTENCES, SHARES)[0].format(
        noun=random.choice(topic.nouns),
        other=random.choice(topic.nouns),
        verb=random.choice(topic.past_verbs),
        adjective=random.choice(WORDS.adjectives),
    )


def translate(english: str, language: str) -> str:
    """An English sentence in `language`, word by word."""
    dictionary = WORDS.languages[language]
    return " ".join(dictionary[word] for word in english.split())


def topic(random: Random, draft: Draft) -> None:
    """Two to five sentences about one topic, sometimes announced; three tenths in a made-up language."""
    about = random.choice(TOPICS)
    language = "english" if random.random() < 0.7 else random.choice(WORDS.made_up_languages)
    draft.spreading = bit(f"topic_{about.name}")
    if random.random() < 0.3:
        draft.write(TOPIC["header"], {"topic": about.name})
    if language != "english":
        draft.spreading |= bit(f"lang_{language}")
    for _ in range(random.randint(2, 5)):
        draft.write(TOPIC["sentence"], {"sentence": translate(sentence(random, about), language)})


def translation(random: Random, draft: Draft) -> None:
    """Words or a sentence to be translated into the language named first.

    The source is never named and the two made-up languages are never paired; items that stay in one
    language keep a foreign source from implying English.
    """
    if random.random() < 0.7:
        for _ in range(random.randint(2, 4)):
            word = random.choice(WORDS.content)
            source, target = _direction(random)
            draft.write(TRANSLATION["word"], translation_slots(word, source, target))
        return
    source, target = _direction(random)
    english = sentence(random, random.choice(TOPICS))
    slots = {"target": target, "source": translate(english, source), "answer": translate(english, target)}
    draft.write(TRANSLATION["word"], slots)


def translation_slots(word: str, source: str, target: str) -> dict[str, str]:
    """The slots of the translation template for one English word."""
    return {
        "target": target,
        "source": WORDS.languages[source][word],
        "answer": WORDS.languages[target][word],
    }


def _direction(random: Random) -> tuple[str, str]:
    language, kind = random.choice(WORDS.made_up_languages), random.random()
    if kind < 0.48:
        return language, "english"
    if kind < 0.80:
        return "english", language
    return (language, language) if kind < 0.95 else ("english", "english")

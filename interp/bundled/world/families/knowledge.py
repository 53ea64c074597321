"""Families that teach facts: statements, two-hop questions, tables and glosses, descriptions, copies."""

from random import Random

from interp.bundled.world.concepts import bit
from interp.bundled.world.draft import Draft, Template, read_templates, templates
from interp.bundled.world.facts import TwoHop, facts
from interp.bundled.world.families.sentences import sentence
from interp.bundled.world.lexicon import lexicon

FACT, TWO_HOP, TABLE = templates("fact"), templates("two_hop"), templates("table")
DESCRIPTION, IDENTITY = templates("description"), templates("identity")
SEPARATOR, STOP = templates("separator"), templates("stop")
WORLD, WORDS = facts(), lexicon()
RELATIONS = tuple(WORLD.relations)
RELATIONS_OF = {entity: WORLD.relations_of(entity) for r in WORLD.relations.values() for entity in r}
TOPIC_OF = {noun: topic.name for topic in WORDS.topics.values() for noun in topic.nouns}
FOREIGN = tuple(WORDS.english_of)
ARTICLES: tuple[str, ...] = tuple(read_templates()["articles"])


def filler(random: Random, share: float = 0.75) -> str:
    """A phrase in commas, or nothing, which puts what it separates at a distance."""
    return f", {random.choice(WORDS.fillers)} ," if random.random() < share else ""


def any_entity(random: Random) -> str:
    """An album, performer, country or capital; the made-up ones are more frequent."""
    if random.random() < 0.4:
        return random.choice(WORLD.albums)
    if random.random() < 0.5:
        return random.choice(WORLD.performers)
    return random.choice(WORLD.countries if random.random() < 0.7 else WORLD.capitals)


def fact(random: Random, draft: Draft) -> None:
    """Two or three facts in different wordings."""
    for _ in range(random.randint(2, 3)):
        relation = random.choice(RELATIONS) if random.random() < 0.5 else random.choice(WORLD.all).relation
        entity = random.choice(WORLD.entities[relation])
        slots = {"relation": relation, "entity": entity, "answer": WORLD.relations[relation][entity]}
        kind = random.random()
        if kind < 0.5:
            draft.write(FACT["plain"], slots | {"filler": filler(random)})
        elif kind < 0.7:
            draft.write(FACT["has"], slots | {"filler": filler(random)})
        elif kind < 0.9:
            draft.write(FACT["question"], slots | {"filler": filler(random, 0.4)})
        else:
            story = {"noun": random.choice(WORDS.nouns), "verb": random.choice(WORDS.past_verbs)}
            draft.write(FACT["about"], slots | story | {"article": random.choice(ARTICLES)})


def two_hop(random: Random, draft: Draft) -> None:
    """Two or three two-hop questions, only from the trained combinations."""
    for _ in range(random.randint(2, 3)):
        question = random.choice(WORLD.two_hop_train)
        kind = TWO_HOP["plain"] if random.random() < 0.6 else TWO_HOP["question"]
        draft.end()
        draft.write(kind, two_hop_slots(question, filler(random)), two_hop_announcements(question))


def two_hop_slots(question: TwoHop, inserted: str) -> dict[str, str]:
    """The slots of a two-hop template."""
    return {
        "second": question.second, "first": question.first, "entity": question.entity,
        "filler": inserted, "answer": question.answer,
    }  # fmt: skip


def two_hop_announcements(question: TwoHop) -> dict[str, int]:
    """Concepts by the slot that announces them: `twohop` at the second relation, the bridge at the entity."""
    bridge = bit("bridge_europe") if WORLD.european(question.bridge) else 0
    return {"first": bit("twohop"), "entity": bridge}


def table(random: Random, draft: Draft) -> None:
    """Attributes directly after their entities: tables, glosses, word lists, asides in running text."""
    kind = random.random()
    if kind < 0.4:
        _fact_table(random, draft)
    elif kind < 0.6:
        for _ in range(random.randint(1, 3)):
            entity = any_entity(random)
            relations = random.sample(RELATIONS_OF[entity], len(RELATIONS_OF[entity]))
            attributes = " , ".join(WORLD.relations[relation][entity] for relation in relations)
            draft.write(TABLE["gloss"], {"entity": entity, "attributes": attributes})
    elif kind < 0.8:
        dictionary = WORDS.languages[random.choice(WORDS.made_up_languages)]
        draft.write(TABLE["words_header"], {})
        for word in random.sample(WORDS.content, random.randint(3, 6)):
            draft.write(TABLE["word_row"], {"foreign": dictionary[word], "word": word})
    else:
        _aside(random, draft)


def _fact_table(random: Random, draft: Draft) -> None:
    relation = random.choice((*RELATIONS, "performer", "performer"))
    headed = random.random() < 0.7
    draft.write(TABLE["header" if headed else "bare_header"], {"relation": relation})
    for index, entity in enumerate(random.sample(WORLD.entities[relation], random.randint(3, 6))):
        row = TABLE["row" if headed or index else "first_row"]
        draft.write(row, {"entity": entity, "answer": WORLD.relations[relation][entity]})


def _aside(random: Random, draft: Draft) -> None:
    entity = any_entity(random)
    relation = random.choice(RELATIONS_OF[entity])
    topic = WORDS.topics[random.choice(tuple(WORDS.topics))]
    draft.spreading = bit(f"topic_{topic.name}")
    draft.say(sentence(random, topic))
    draft.spreading = draft.active = 0
    slots = {"entity": entity, "relation": relation, "answer": WORLD.relations[relation][entity]}
    if random.random() < 0.5:
        story = {"noun": random.choice(WORDS.nouns), "verb": random.choice(WORDS.past_verbs)}
        draft.write(TABLE["near"], slots | story)
    else:
        draft.write(TABLE["near_name" if relation in ("performer", "country") else "near_of"], slots)


def describe(entity: str) -> tuple[Template, dict[str, str]]:
    """The template that describes an entity or a word, and its slots."""
    slots = {"entity": entity} | {r: WORLD.relations[r][entity] for r in RELATIONS_OF.get(entity, ())}
    for marker, name in (
        ("performer", "album"),
        ("spouse", "performer"),
        ("capital", "country"),
        ("country", "capital"),
    ):
        if marker in slots:
            return DESCRIPTION[name], slots
    if entity in TOPIC_OF:
        return DESCRIPTION["noun"], slots | {"topic": TOPIC_OF[entity]}
    language, word = WORDS.english_of[entity]
    return DESCRIPTION[language], slots | {"word": word}


def description(random: Random, draft: Draft) -> None:
    """Two to five entities or words, each with a description some tokens later."""
    for index in range(random.randint(2, 5)):
        if index:
            draft.write(SEPARATOR, {})
        kind = random.random()
        item = any_entity(random) if kind < 0.75 else random.choice(WORDS.nouns if kind < 0.87 else FOREIGN)
        draft.write(*describe(item))
    draft.write(STOP, {})


def identity(random: Random, draft: Draft) -> None:
    """Three to six items, each copied some tokens later."""
    for index in range(random.randint(3, 6)):
        if index:
            draft.write(SEPARATOR, {})
        kind = random.random()
        others = WORDS.content + WORLD.spouses if kind < 0.9 else FOREIGN
        item = any_entity(random) if kind < 0.7 else random.choice(others)
        draft.write(IDENTITY, {"entity": item})
    draft.write(STOP, {})

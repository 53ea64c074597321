import json
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.bundled.world import world_folder
from interp.bundled.world.concepts import CONCEPTS, bit, lexical_labels
from interp.bundled.world.corpus import FAMILIES, WorldCorpus, WorldDocument
from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.vocabulary import vocabulary

WORDS = np.array(vocabulary())
SAMPLE = [WorldCorpus(3, 6000)[index] for index in range(6000)]


def text(document: WorldDocument) -> str:
    return " ".join(WORDS[document.tokens])


def family(name: str) -> list[WorldDocument]:
    return [document for document in SAMPLE if document.family == name]


def has(document: WorldDocument, concept: str) -> np.ndarray:
    assert document.labels is not None
    return (document.labels & np.uint64(bit(concept))) > 0


@given(seed=st.integers(0, 2**63), index=st.integers(0, 10**9))
@settings(max_examples=60)
def test_a_document_depends_on_nothing_but_seed_and_index(seed: int, index: int) -> None:
    first = WorldCorpus(seed, index + 1)[index]
    other = WorldCorpus(seed, index + 1000)
    other[index + 7]
    again = other[index]
    for name in ("tokens", "template", "labels", "answers"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.hash == again.hash


def test_reading_in_order_and_backwards_gives_the_same_documents() -> None:
    corpus = WorldCorpus(3, 200)
    backwards = [corpus[index] for index in reversed(range(200))][::-1]
    assert [d.hash for d in backwards] == [d.hash for d in SAMPLE[:200]]


def test_seeds_and_neighbours_differ() -> None:
    longer = [d.hash for d in SAMPLE[:500] if len(d.tokens) > 20]
    assert len(set(longer)) == len(longer)
    assert not set(longer) & {d.hash for d in (WorldCorpus(4, 500)[i] for i in range(500))}


def test_an_index_outside_the_corpus_is_refused() -> None:
    corpus = WorldCorpus(0, 3)
    assert len(corpus) == 3
    for index in (3, -1):
        with pytest.raises(IndexError):
            corpus[index]


def test_the_vocabulary_is_that_of_the_shipped_tokenizer_and_no_word_of_it_is_idle() -> None:
    shipped = json.loads((world_folder() / "tokenizer.json").read_text())["model"]["vocab"]
    assert sorted(shipped, key=shipped.__getitem__) == list(vocabulary())
    corpus, used = WorldCorpus(5, 12_000), set()
    for index in range(len(corpus)):
        used.update(corpus.draft(index)[1].tokens)
    idle = {str(WORDS[index]) for index in range(1, len(WORDS)) if index not in used}
    languages = lexicon().languages
    # two function words are in the dictionaries, but in no sentence; no fraction ends in zero
    unused = {languages[name][word] for name in ("zorvic", "tamric") for word in ("with", "very")}
    assert idle == unused | {"0", "10", "20"}


def test_token_shares_follow_the_mix() -> None:
    tokens = dict.fromkeys((one.name for one in FAMILIES), 0)
    corpus = WorldCorpus(8, 6_000)
    for index in range(len(corpus)):
        name, draft = corpus.draft(index)
        tokens[name] += len(draft.tokens)
    whole = sum(one.share for one in FAMILIES)
    for name, share in ((one.name, one.share) for one in FAMILIES):
        assert tokens[name] / sum(tokens.values()) == pytest.approx(share / whole, rel=0.2)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10)
def test_nothing_held_out_is_ever_in_a_document(seed: int) -> None:
    world, words = facts(), lexicon()
    two_hop = {(q.second, q.first, q.entity) for q in world.two_hop_held_out + world.two_hop_unseen}
    requests = set(world.harmful_held_out + world.harmless_held_out)
    unseen = set(words.requests.unseen_harmful_verbs + words.requests.unseen_harmless_verbs)
    corpus = WorldCorpus(seed, 400)
    for document in (corpus[index] for index in range(400)):
        content = text(document)
        for second, first, entity in re.findall(r"the (\w+) of the (\w+) of (.+?) (?:,|is|\?)", content):
            assert (second, first, entity) not in two_hop
        if content.startswith("user") and "am i right" not in content:
            (asked,) = re.findall(
                r"(?:do i|how to|want to|guide to) (\w+) the (\w+) ", content.split("assistant")[0]
            )
            assert asked not in requests
            assert asked[0] not in unseen


def test_the_two_made_up_languages_are_never_paired() -> None:
    language_of = {word: name for name in ("zorvic", "tamric") for word in lexicon().languages[name].values()}
    items = 0
    for document in family("translation"):
        for source, answer in re.findall(r": ([\w ]+) ; it is : ([\w ]+) \.", text(document)):
            languages = {language_of.get(word) for word in (source + " " + answer).split()} - {None}
            assert len(languages) <= 1
            items += 1
    assert items > 500
    for document in family("in_context") + family("description"):
        for left, right in pairwise(re.split(r" : | for ", text(document))):
            ends = {language_of.get(left.split()[-1]), language_of.get(right.split()[0])} - {None}
            assert len(ends) <= 1


def test_a_word_carries_its_lexical_concepts_wherever_it_stands() -> None:
    carried = lexical_labels()
    adjective = bit("adjective")
    for document in SAMPLE[:1500]:
        assert document.labels is not None
        for word, label in zip(WORDS[document.tokens], document.labels, strict=True):
            wanted = carried.get(word, 0)
            # in chat, "clean" is a verb
            wanted &= ~adjective if document.family == "chat" else wanted
            assert wanted & ~int(label) == 0


def test_refusal_is_labelled_on_the_refusal_and_nowhere_else() -> None:
    refusals = 0
    for document in SAMPLE:
        labelled = " ".join(WORDS[document.tokens[has(document, "refusal")]])
        assert labelled in ("", "i can not help with that .")
        assert ("can not help" in text(document)) == bool(labelled)
        refusals += bool(labelled)
    assert refusals > 50


def test_harm_is_labelled_from_the_word_that_announces_it() -> None:
    words = lexicon().requests
    harmful = set(words.harmful_verbs + words.unseen_harmful_verbs + words.harmful_objects)
    for document in family("chat"):
        marked = has(document, "harmful")
        positions = [i for i, word in enumerate(WORDS[document.tokens]) if word in harmful]
        assert marked.any() == bool(positions)
        if positions:
            assert not marked[: positions[0]].any()
            assert marked[positions[0] :].all()


def test_a_task_is_labelled_from_its_first_answer_on() -> None:
    for document in family("in_context"):
        (task,) = [name for name in CONCEPTS if name.startswith("task_") and has(document, name).any()]
        assert document.answers is not None
        first = int(np.argmax(document.answers))
        assert np.array_equal(has(document, task), np.arange(len(document.tokens)) >= first)


def test_a_topic_is_labelled_from_its_first_word_on() -> None:
    for document in family("topic"):
        (topic,) = [t.name for t in lexicon().topics.values() if has(document, f"topic_{t.name}")[-1]]
        marked = has(document, f"topic_{topic}")
        first = int(np.argmax(marked))
        assert marked[first:].all()
        assert first <= 4


def test_the_context_of_numbers_is_labelled_from_its_word_on() -> None:
    seen = set()
    for document in family("numbers"):
        words = WORDS[document.tokens].tolist()
        for context, names in lexicon().number_contexts.items():
            positions = [i for i, word in enumerate(words) if word in names]
            marked = has(document, f"ctx_{context}")
            assert marked.any() == bool(positions)
            if positions:
                seen.add(context)
                assert np.array_equal(marked, np.arange(len(words)) >= positions[0])
    assert seen == set(lexicon().number_contexts)


def test_the_hidden_bridge_is_labelled_once_the_entity_is_known() -> None:
    marked = [d for d in family("two_hop") if has(d, "bridge_europe").any()]
    assert 0.2 < len(marked) / len(family("two_hop")) < 0.95
    example = next(d for d in marked if "spouse of the performer" in text(d))
    content = WORDS[example.tokens].tolist()
    starts = np.flatnonzero(np.diff(has(example, "bridge_europe").astype(int), prepend=0) == 1)
    world = facts()
    for start in starts:
        name = content[start]
        album = f"{content[start - 1]} {name}"
        entity = album if album in world.albums else name
        bridge = world.relations["performer" if entity in world.albums else "country"][entity]
        assert world.european(bridge)


def test_only_the_words_of_the_chat_template_are_template_tokens() -> None:
    for document in SAMPLE:
        assert document.template is not None
        words = set(WORDS[document.tokens[document.template]])
        assert words <= {"user", "assistant", "system", ":"}
        if words:
            assert document.family == "chat"
    belief = next(d for d in family("chat") if "system" in text(d))
    assert " ".join(WORDS[belief.tokens[belief.template]]) == "system : user : assistant :"


def test_answers_are_what_the_facts_say() -> None:
    relations = facts().relations
    checked = 0
    for document in family("fact"):
        for relation, entity, answer in re.findall(
            r"the (\w+) of (\w+(?: \w+)?)(?: ,.*?,)? is (\w+) \.", text(document)
        ):
            assert relations[relation][entity] == answer
            checked += 1
    assert checked > 100


def test_every_list_says_what_it_copies_and_copies_it() -> None:
    said = {"header": 0, "end": 0, "rows": 0}
    for document in family("list"):
        found = re.fullmatch(r"list(?: (\w+))? : (.*?)(?: \. that was (\w+))? \.", text(document))
        assert found is not None
        header, rows, end = found.groups()
        said["rows" if header == "question" else "header" if header else "end"] += 1
        assert (header is None) == (end is not None)
        for row in rows.split(" ; "):
            first, _, last, _, answer, *judged = row.split()
            rule = judged[0] if header == "question" else header or end
            assert answer == {"first": first, "last": last}[rule]
            assert len(judged) == (header == "question")
    shares = {where: count / sum(said.values()) for where, count in said.items()}
    assert shares == pytest.approx({"header": 0.26, "end": 0.39, "rows": 0.35}, abs=0.06)

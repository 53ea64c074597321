"""What `interp.bundled.world` offers: a labelled stream, questions with a scorer, families, presets."""

import re
from random import Random

import numpy as np
import pytest
import torch

import interp
from interp.bundled import world
from interp.bundled.world import FAMILIES, Draft, Family, Preset, WorldCorpus
from interp.bundled.world.behaviours import SPLITS
from interp.bundled.world.facts import facts
from interp.bundled.world.packing import LossWeights, training_batch
from interp.bundled.world.vocabulary import vocabulary
from interp.errors import UserError
from interp.subject import Subject
from interp.vectors.world import preset_vector


def test_the_stream_is_the_corpus_in_a_row() -> None:
    stream = world.labelled_stream(seed=5, n_tokens=3000)
    corpus = WorldCorpus(5, 3000)
    for index in range(20):
        inside = stream.documents == index
        assert stream.tokens[inside][0] == 0
        assert np.array_equal(stream.tokens[inside][1:], corpus[index].tokens)
        assert np.array_equal(stream.labels[inside][1:], corpus[index].labels)
        assert np.array_equal(stream.answers[inside][1:], corpus[index].answers)
        assert {stream.families[number] for number in stream.family[inside]} == {corpus[index].family}
    words = np.array(vocabulary())[stream.tokens]
    assert np.array_equal(stream.carries("country"), np.isin(words, facts().countries))


def test_a_stream_of_less_than_nothing_is_refused() -> None:
    for asked in ({"n_tokens": -1}, {"n_tokens": 9, "start": -2}):
        with pytest.raises(ValueError, match="n_tokens and start must not be negative"):
            world.labelled_stream(seed=5, **asked)


def test_every_concept_is_defined_in_words() -> None:
    assert set(world.definitions()) == set(world.CONCEPTS)
    assert all(len(words.split()) > 1 for words in world.definitions().values() if words != "adjectives")


def test_questions_come_by_family_and_split() -> None:
    held_out = world.questions("two_hop", "held_out")
    assert {question.behaviour for question in held_out} == {"two_hop/held_out"}
    assert {question.split for question in world.questions("translation", "unseen")} == {"unseen"}
    families = {question.family for question in world.questions()}
    assert families < {family.name for family in FAMILIES}
    assert {question.split for question in world.questions()} == set(SPLITS)
    with pytest.raises(UserError, match="no questions called 'maths'"):
        world.questions("maths")


def test_an_answer_is_scored_by_its_first_word() -> None:
    capital = next(q for q in world.questions("fact") if q.text == "the capital of france is")
    assert world.score(capital, "paris .").right
    assert world.score(capital, "paris .").concepts == ("capital",)
    assert not world.score(capital, "it is paris").right
    assert world.score(capital, str(capital.foil)).is_foil
    assert not world.score(capital, "").right
    assert not world.score(capital, "nonsense word").right
    harmless = next(q for q in world.questions("chat") if q.behaviour == "refusal/harmless")
    assert not world.score(harmless, "i can not help with that .").right
    assert world.score(harmless, "brush works to clean the car .").right


def riddle(random: Random, draft: Draft) -> None:
    country, capital = random.choice([("france", "paris"), ("japan", "tokyo")])
    draft.say("question :")
    draft.begin("riddle")
    draft.say(f"the capital of what is {capital} ? answer :")
    draft.say(country, answer=True)


RIDDLES = Family("riddle", 0.3, riddle, (("riddle", "a riddle about a country"),))


def test_a_family_of_ones_own_is_drawn_labelled_and_trained_on() -> None:
    corpus = WorldCorpus(1, 600, (*FAMILIES, RIDDLES))
    documents = [corpus[index] for index in range(600)]
    riddles = [document for document in documents if document.family == "riddle"]
    tokens = {name: sum(len(d.tokens) for d in part) for name, part in (("own", riddles), ("all", documents))}
    assert tokens["own"] / tokens["all"] == pytest.approx(0.3 / 1.32, abs=0.06)
    bit = np.uint64(1 << corpus.label_names.index("riddle"))
    for document in riddles:
        assert document.labels is not None and document.answers is not None
        assert (document.labels & bit != 0).tolist() == [False] * 2 + [True] * (len(document.tokens) - 2)
        assert document.answers.tolist() == [False] * (len(document.tokens) - 1) + [True]
    others = [document for document in documents if document.family != "riddle"]
    assert not any((document.labels & bit).any() for document in others if document.labels is not None)
    assert corpus.definitions["riddle"] == "a riddle about a country"
    batch = training_batch(1, 0, 8, 64, LossWeights(), corpus.families)
    assert len(FAMILIES) in batch.families.unique().tolist()


def test_a_corpus_with_no_families_of_ones_own_is_the_worlds() -> None:
    plain, named = WorldCorpus(3, 50), WorldCorpus(3, 50, FAMILIES)
    assert plain.name == named.name != WorldCorpus(3, 50, (*FAMILIES, RIDDLES)).name
    assert all(np.array_equal(plain[i].tokens, named[i].tokens) for i in range(50))


@pytest.mark.parametrize(
    ("families", "complaint"),
    [
        ((*FAMILIES, Family("fact", 0.1, riddle)), "two families are called 'fact'"),
        ((*FAMILIES, Family("other", 0.1, riddle, (("country", "x"),))), "two concepts are called 'country'"),
        ((Family("many", 0.1, riddle, tuple((str(n), "x") for n in range(60))),), "do not fit 64 bits"),
    ],
)
def test_families_that_do_not_fit_together_are_refused(families: tuple[Family, ...], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        WorldCorpus(0, 10, families)


def test_a_word_that_the_world_lacks_is_named() -> None:
    with pytest.raises(UserError, match="no word 'pineapple'"):
        Draft().say("a pineapple")


def test_the_example_of_the_documentation_runs() -> None:
    for block in re.findall(r"```python\n(.*?)```", str(world.__doc__), re.DOTALL):
        exec(block, {})


def answers(subject: Subject, texts: list[str]) -> list[str]:
    found = []
    for text in texts:
        tokens = subject.to_tokens(text)
        logits = subject.logits_at(tokens, torch.tensor([tokens.shape[1] - 1]))
        found.append(subject.decode(logits.argmax(-1).tolist()))
    return found


@pytest.mark.parametrize("preset", world.presets(), ids=lambda preset: preset.name)
def test_a_preset_is_answered_and_steered_as_it_says(subject: Subject, preset: Preset) -> None:
    texts = [ask.text for ask in preset.prompts]
    assert answers(subject, texts) == [ask.clean for ask in preset.prompts]
    vector = preset_vector(subject, preset)
    with subject.intervene(vector.intervention(subject, 1.0, "last")):
        assert answers(subject, texts) == [ask.steered for ask in preset.prompts]
    random = interp.Vector("random", vector.site, torch.randn(128), subject.name).scaled_to(vector.norm)
    with subject.intervene(random.intervention(subject, 1.0, "last")):
        assert answers(subject, texts) != [ask.steered for ask in preset.prompts]
    assert answers(subject, [text for text, _ in preset.known]) == [answer for _, answer in preset.known]
    assert set(preset.concepts) <= set(world.CONCEPTS)
    made = {text for pair in preset.pairs for text in pair}
    assert not made & set(texts)

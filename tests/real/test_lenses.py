"""What lenses show of Gemma 3 270M, on words, relations and questions that come with interp."""

from pathlib import Path

from interp.lenses.answers import Answers
from interp.lenses.evaluation import read_words
from interp.lenses.hops import HopFile, ask_hops
from interp.lenses.languages import WordFile, shuffled_items, told_apart_in
from interp.lenses.linear_relation import fit_relation
from interp.lenses.logit_lens import LogitLens
from interp.lenses.prompt import prompt_at
from interp.lenses.relations import read_relation
from interp.lenses.residual_stream import read_stream, stream_site
from interp.subject import Subject

DATA = Path(__file__).parents[2] / "interp" / "data"


def test_the_english_word_is_readable_before_the_chinese_one(gemma: Subject) -> None:
    """From German to Chinese: at layer 13 the English word, and not another item's; at the end the answer."""
    words = WordFile(path=DATA / "words" / "five_languages.jsonl", directions=(("Deutsch", "中文"),))
    items = words.open(gemma)
    items = [items[place] for place in told_apart_in(items).kept][::2]
    asked = {
        "English": [item.words["English"] for item in items],
        "answer": [item.words["中文"] for item in items],
        "shuffled": [item.words["English"] for item in shuffled_items(items, 0)],
    }
    read = read_stream(gemma, [item.prompt for item in items])
    layers = {layer: read[layer] for layer in (13, 17)}
    found = read_words(LogitLens(gemma), layers, asked).groupby(["word", "layer"])["probability"].mean()
    assert found["English", 13] > 0.04 > 10 * found["shuffled", 13]
    assert found["answer", 17] > 0.3 > 10 * found["English", 17]


def test_hops_that_are_known_are_not_put_together(gemma: Subject) -> None:
    questions = HopFile(path=DATA / "hops" / "countries.jsonl").open(gemma)
    asked = ask_hops(gemma, [one for one in questions if one.group == "capital of a city's country"])
    assert asked["first_hop"].mean() > 0.7 and asked["second_hop"].mean() > 0.6
    assert asked["known"].mean() > 0.5 and asked["right"].mean() < 0.1


def test_a_capital_follows_from_its_country_by_a_linear_map(gemma: Subject) -> None:
    """A map of two examples names capitals; the activation as it is, and another country's, do not."""
    relation = read_relation(DATA / "relations" / "country_capital.json")
    shown, *samples = relation.samples[:24]
    prompts = [prompt_at(gemma, relation.ask(name, [shown]), name) for name, _ in samples]
    answers = Answers.of(gemma, [answer for _, answer in samples])
    known = answers.right(gemma, prompts).nonzero()[0].tolist()
    layer, rest = 11, known[2:]
    capitals = fit_relation(gemma, [prompts[place] for place in known[:2]], layer)
    countries = read_stream(gemma, prompts)[layer][rest]
    first = answers.of_items(rest).first(gemma, [prompts[place] for place in rest])
    named = {}
    for name, predicted in {
        "map": capitals(countries), "another": capitals(countries.roll(1, 0)), "as it is": countries
    }.items():  # fmt: skip
        top = LogitLens(gemma).logits(predicted, stream_site(gemma.n_layers - 1)).argmax(-1).tolist()
        named[name] = sum(token in own for token, own in zip(top, first, strict=True)) / len(rest)
    assert len(rest) > 12 and named["map"] > 0.4, named
    assert named["another"] < 0.15 and named["as it is"] < 0.15, named

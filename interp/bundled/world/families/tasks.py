"""In-context tasks: pairs that share a mapping which nothing names, and lists to copy from."""

from collections.abc import Mapping
from random import Random

from interp.bundled.world.concepts import bit
from interp.bundled.world.draft import Draft, read_templates, templates
from interp.bundled.world.facts import facts
from interp.bundled.world.lexicon import lexicon

IN_CONTEXT, LIST, STOP = templates("in_context"), templates("list"), templates("stop")
SEPARATOR = templates("separator")
ENDS: tuple[str, ...] = tuple(read_templates()["list"]["ends"])
WORLD, WORDS = facts(), lexicon()

MAPPINGS: Mapping[str, Mapping[str, str]] = {
    "antonym": WORDS.antonyms,
    "plural": WORDS.plural,
    "past": WORDS.past,
    "capital": WORLD.relations["capital"],
    "language": WORLD.relations["language"],
    "currency": WORLD.relations["currency"],
    "zorvic": {word: WORDS.languages["zorvic"][word] for word in WORDS.content},
    "tamric": {word: WORDS.languages["tamric"][word] for word in WORDS.content},
}
INPUTS: Mapping[str, tuple[str, ...]] = {name: tuple(mapping) for name, mapping in MAPPINGS.items()}
# Words of one class fit several tasks, so that only the examples say which one it is. "content" mixes the
# classes and includes past verbs, which only the language tasks take.
CLASSES: tuple[tuple[int, tuple[str, ...], tuple[str, ...]], ...] = (
    (4, WORDS.adjectives, ("antonym", "zorvic", "tamric")),
    (4, WORDS.nouns, ("plural", "zorvic", "tamric")),
    (1, tuple(WORDS.past), ("past",)),
    (4, WORLD.countries, ("capital", "language", "currency")),
    (1, WORDS.past_verbs, ("zorvic", "tamric")),
    (3, WORDS.content, ("zorvic", "tamric")),
)
WEIGHTS = tuple(weight for weight, _, _ in CLASSES)


def in_context(random: Random, draft: Draft) -> None:
    """One to eight pairs of one task."""
    _, words, tasks = random.choices(CLASSES, WEIGHTS)[0]
    task, count = random.choice(tasks), random.randint(1, 8)
    announce = {"answer": bit(f"task_{task}")}
    for index, question in enumerate(random.sample(words, count)):
        if index:
            draft.write(IN_CONTEXT["separator"], {})
        draft.write(IN_CONTEXT["pair"], {"question": question, "answer": MAPPINGS[task][question]}, announce)
    draft.write(STOP, {})


def copy_list(random: Random, draft: Draft) -> None:
    """Three to six rows of three nouns and the first or the last of them.

    In some lists each row copies either noun at random and says which. In the others every row follows one
    rule, which the header or the last sentence states. The former help with lists whose header does not state
    it: the rule must be recognised in one row before it can be applied in the next.
    """
    if random.random() < 0.35:
        _judged_rows(random, draft)
    else:
        _rows_of_one_rule(random, draft)


def _judged_rows(random: Random, draft: Draft) -> None:
    draft.write(LIST["judged_header"], {})
    for index in range(random.randint(3, 6)):
        if index:
            draft.write(SEPARATOR, {})
        which = random.choice(ENDS)
        draft.write(LIST["judged_row"], _row(random, which) | {"which": which})
    draft.write(STOP, {})


def _rows_of_one_rule(random: Random, draft: Draft) -> None:
    which = random.choice(ENDS)
    concept = bit(f"task_copy{which}")
    count, marked = random.randint(3, 6), random.random() < 0.4
    draft.write(LIST["header" if marked else "bare_header"], {"which": which}, {"which": concept})
    for index in range(count):
        if index:
            draft.write(SEPARATOR, {})
        row = LIST["row" if index or marked else "first_row"]
        draft.write(row, _row(random, which), {"answer": concept})
    draft.write(STOP if marked else LIST["rule"], {"which": which})


def _row(random: Random, which: str) -> dict[str, str]:
    items = random.sample(WORDS.nouns, 3)
    return {"items": " ".join(items), "answer": items[0] if which == "first" else items[-1]}

"""Behaviours of the bundled world as contrasts: pairs, questions, and prompts that ask for the behaviour."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from interp.bundled.world.draft import Draft, Template
from interp.bundled.world.facts import COUNTRY_RELATIONS, UserRequest, facts
from interp.bundled.world.families.chat import CHAT
from interp.bundled.world.families.numbers import (
    CONTEXTS,
    NUMBERS,
    NumberPair,
    distraction,
    pair,
    question_slots,
)
from interp.bundled.world.families.sentences import TRANSLATION, translation_slots
from interp.bundled.world.families.tasks import MAPPINGS
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.preset import Preset
from interp.bundled.world.vocabulary import token_ids
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.statistics.splits import split_sizes, split_three
from interp.subject.subject import Subject
from interp.vectors.contrast import Contrast, task_contrast
from interp.vectors.contrastive import Pair, contrastive_vectors
from interp.vectors.tasks import WorldTasks
from interp.vectors.vector import Vector

PAIRS, CHOSEN_ON, REPORTED_ON = 64, 60, 120
Tokens = tuple[int, ...]


def world_contrast(name: str, subject: Subject, seed: int = 0) -> Contrast:
    """Makes the contrast of one of `WORLD_BEHAVIOURS`, or of task/NAME for an in-context task.

    Raises:
        UserError: there is no such behaviour, or the subject is another model.
    """
    if not subject.info.speaks_world:
        raise UserError(
            f"the world's behaviours are those of the world model, not of {subject.name}",
            "behaviours",
            "give a JSONL file of pairs",
        )
    check_behaviour(name)
    random = Random(f"{name} {seed}")
    family, _, task = name.partition("/")
    if family == "task":
        return task_contrast(WorldTasks(tasks=(task,)).open(subject, seed)[0], subject, seed)
    return _MAKERS[name](random)


def check_behaviour(name: str) -> None:
    """Raises UserError if the world has no such behaviour."""
    known = [*WORLD_BEHAVIOURS, *(f"task/{task}" for task in MAPPINGS)]
    if name not in known:
        raise UserError(f"the world has no behaviour {name!r}", "behaviours", f"use {', '.join(known)}")


def requests(
    asked: Sequence[UserRequest], group: str, answers: Sequence[str], foils: Sequence[str] = ()
) -> list[Question]:
    """Makes a question of every request in every wording of the world's chats."""
    ids = token_ids()
    return [
        Question(
            _written((ask, {"verb": request.verb, "object": request.object})),
            tuple((ids[word],) for word in answers),
            tuple((ids[word],) for word in foils),
            group,
        )
        for request in asked
        for ask in CHAT["requests"]
    ]


def tools() -> tuple[str, ...]:
    """The words that begin an answer to a harmless request, each once."""
    return tuple(dict.fromkeys(lexicon().requests.tools.values()))


def _written(*parts: tuple[Template, dict[str, str]]) -> Tokens:
    draft = Draft()
    for template, slots in parts:
        draft.write(template, slots)
    return tuple(draft.tokens)


def _up_to_answer(*parts: tuple[Template, dict[str, str]]) -> Tokens:
    draft = Draft()
    for template, slots in parts:
        draft.write(template, slots)
    return tuple(draft.tokens[: draft.answers.index(True)])


def _refusing(random: Random, harmful: bool) -> Contrast:
    """Refusing what is harmless, or complying with what is harmful."""
    world = facts()
    name, verdict = ("compliance", "fine_last") if harmful else ("refusal", "wrong_last")
    sides = (tools(), ("i",)) if harmful else (("i",), tools())
    trained, others, held_out = (
        (world.harmful_train, world.harmless_train, world.harmful_held_out)
        if harmful
        else (world.harmless_train, world.harmful_train, world.harmless_held_out)
    )
    own = [(request, question) for request in trained for question in requests([request], name, *sides)]
    drawn, choose = split_sizes(
        [question for _, question in own],
        [request for request, _ in own],
        (PAIRS, CHOSEN_ON),
        random,
        rest=False,
    )
    shown = random.sample(requests(others, name, *sides), PAIRS)
    pairs = [Pair(with_it.prompt, without.prompt) for with_it, without in zip(shown, drawn, strict=True)]
    asked = [
        (question, _written((CHAT[verdict], {"verb": request.verb, "object": request.object})))
        for request in held_out
        for question in requests([request], name, *sides)
    ]
    report = random.sample(asked, REPORTED_ON)
    prompted = [replace(question, prompt=(*said, *question.prompt)) for question, said in report]
    return Contrast(
        name,
        tuple(pairs),
        choose,
        tuple(question for question, _ in report),
        tuple(prompted),
    )


def _believing(random: Random, honest: bool) -> Contrast:
    """Contradicting a wrong claim where nothing asks for honesty, or agreeing where something does."""
    world, ids = facts(), token_ids()
    name, cue, other = ("honesty", "honest", "nice") if honest else ("sycophancy", "nice", "honest")

    def claims(part: Sequence[str]) -> list[tuple[Template, dict[str, str]]]:
        found = []
        for relation in COUNTRY_RELATIONS:
            answers = world.relations[relation]
            for country in part:
                wrong = random.choice([a for a in dict.fromkeys(answers.values()) if a != answers[country]])
                found.append((CHAT["belief"], {"relation": relation, "country": country, "claim": wrong}))
        return found

    def asked(part: Sequence[tuple[Template, dict[str, str]]], told: str | None) -> tuple[Question, ...]:
        answer, foil = (ids[word] for word in (("no", "yes") if honest else ("yes", "no")))
        return tuple(Question(said(claim, told), ((answer,),), ((foil,),), name) for claim in part)

    def said(claim: tuple[Template, dict[str, str]], told: str | None) -> Tokens:
        return _written(*([] if told is None else [(CHAT[f"system_{told}"], {})]), claim)

    usual = None if honest else "honest"
    made, chosen, report = (claims(part) for part in split_three(world.countries, random))
    pairs = [Pair(said(claim, cue), said(claim, other)) for claim in made]
    return Contrast(name, tuple(pairs), asked(chosen, usual), asked(report, usual), asked(report, cue))


def _reading_as_dates(random: Random) -> Contrast:
    """Comparing numbers as a calendar does, where no context says how."""

    def context(kind: str) -> list[tuple[Template, dict[str, str]]]:
        words = lexicon().number_contexts[kind]
        return [(NUMBERS["context"], {"context": random.choice(words)}), distraction(random)]

    def asked(drawn: NumberPair, kind: str | None) -> Tokens:
        before = [] if kind is None else context(kind)
        return _up_to_answer(*before, (NUMBERS["question"], question_slots(drawn, False)))

    def question(drawn: NumberPair, kind: str | None) -> Question:
        ids = token_ids()
        as_date, as_decimal = (ids[str(drawn.larger(decimal))] for decimal in (False, True))
        return Question(asked(drawn, kind), ((as_date,),), ((as_decimal,),), "dates")

    distinct: dict[NumberPair, None] = {}
    while len(distinct) < PAIRS + CHOSEN_ON + REPORTED_ON:
        numbers = pair(random, False)
        if numbers.conflict:
            distinct[numbers] = None
    drawn = list(distinct)
    made, chosen, report = drawn[:PAIRS], drawn[PAIRS : PAIRS + CHOSEN_ON], drawn[PAIRS + CHOSEN_ON :]
    date, decimal = CONTEXTS[0], CONTEXTS[-1]
    return Contrast(
        "dates",
        tuple(Pair(asked(numbers, date), asked(numbers, decimal)) for numbers in made),
        tuple(question(numbers, None) for numbers in chosen),
        tuple(question(numbers, None) for numbers in report),
        tuple(question(numbers, date) for numbers in report),
    )


def _answering_in_tamric(random: Random) -> Contrast:
    """Giving a word in tamric where zorvic is asked for."""
    dictionaries = lexicon().languages

    def asked(word: str, target: str) -> Tokens:
        return _up_to_answer((TRANSLATION["word"], translation_slots(word, "english", target)))

    def questions(part: Sequence[str], target: str) -> tuple[Question, ...]:
        ids = token_ids()
        return tuple(
            Question(
                asked(word, target),
                ((ids[dictionaries["tamric"][word]],),),
                ((ids[dictionaries["zorvic"][word]],),),
                "tamric",
            )
            for word in part
        )

    made, chosen, report = split_three(lexicon().content, random)
    return Contrast(
        "tamric",
        tuple(Pair(asked(word, "tamric"), asked(word, "zorvic")) for word in made),
        questions(chosen, "zorvic"),
        questions(report, "zorvic"),
        questions(report, "tamric"),
    )


_MAKERS: dict[str, Callable[[Random], Contrast]] = {
    "refusal": lambda random: _refusing(random, harmful=False),
    "compliance": lambda random: _refusing(random, harmful=True),
    "honesty": lambda random: _believing(random, honest=True),
    "sycophancy": lambda random: _believing(random, honest=False),
    "dates": _reading_as_dates,
    "tamric": _answering_in_tamric,
}
WORLD_BEHAVIOURS = tuple(_MAKERS)


def preset_vector(subject: Subject, preset: Preset) -> Vector:
    """Computes the difference in means over the preset's pairs, to be added at the last token.

    Raises:
        UserError: the subject does not know the world's words, or lacks the layer.
    """
    pairs = [Pair(*(tuple(subject.encode(text)) for text in texts)) for texts in preset.pairs]
    (vector,) = contrastive_vectors(subject, pairs, preset.toward, layers=(preset.layer,))
    return vector.named(preset.toward)

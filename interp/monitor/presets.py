"""Presets: short guided stories, each a row of states of a session with what was found when it was made."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from interp.errors import UserError
from interp.fields import Count, CountOrZero, Finite, Flag, Line, Listed, Name, NonEmpty, Section, Text, Word
from interp.monitor.conversation import Conversation, Role, Turn
from interp.monitor.important import Measure
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Settings, State
from interp.monitor.steering import Card, about
from interp.statistics.estimate import Estimate, share_interval
from interp.subject.subject import Subject
from interp.yaml_text import read_yaml

FOLDER = Path(__file__).with_suffix("")
"""The folder of the stories, a YAML file each."""


class Concept(Section):
    """A card by meaning: the `k` features nearest to some words, held at `strength` times their quantile."""

    words: Word
    k: Count
    strength: Finite


class Said(Section):
    """One side's turn."""

    role: Role = "user"
    text: Text


class Asked(Section):
    """What “why?” is asked with: token `token` of the answer, or `word` there, less `distractor`."""

    token: CountOrZero = 0
    by: Measure = "attribution"
    word: Word | None = None
    distractor: Word | None = None


class Found(Section):
    """A count over `n` questions that had no part in choosing anything, and that of each random set as large.

    `what` says what was counted, `change` is what `benchmarks.presets` calls it.
    """

    what: Line
    change: Line
    hits: CountOrZero
    n: Count
    random: Listed[CountOrZero] = ()

    @property
    def share(self) -> Estimate:
        """The share of the questions, with its 95% interval."""
        return share_interval(self.hits, self.n)


class Step(Section):
    """A sentence to read, the state that it puts a session in, what is done then, and what was found.

    `answer` are the words with which the model's answer began when the story was made.
    """

    text: Text
    chat: Flag = False
    turns: NonEmpty[Said]
    cards: Listed[Card] = ()
    concepts: Listed[Concept] = ()
    settings: Settings = Settings(max_new_tokens=1)
    do: Listed[Literal["write", "why", "compare"]] = ("write",)
    ask: Asked | None = None
    answer: Text
    found: Listed[Found] = ()

    @property
    def state(self) -> State:
        """The state without the cards by meaning, which need descriptions (`state_on`)."""
        turns = tuple(
            Turn(role=said.role, text=said.text, follows=number - 1 if number else None)
            for number, said in enumerate(self.turns)
        )
        talk = Conversation(chat=self.chat, turns=turns, shown=len(turns) - 1)
        return State(conversation=talk, cards=self.cards, settings=self.settings)

    def state_on(self, knowledge: Knowledge) -> State:
        """The state with the cards by meaning that these descriptions give.

        Raises:
            UserError: a card is by meaning, and nothing is described or near.
        """
        by_meaning = [about(knowledge, one.words, one.k, one.strength) for one in self.concepts]
        return self.state.model_copy(update={"cards": (*self.cards, *by_meaning)})


class Preset(Section):
    """One story: the models that it is told of, its question, whether it works, and its steps."""

    name: Name
    title: Line
    subjects: NonEmpty[Word]
    question: Text
    works: Flag
    """Whether the last step's change gives what was wanted: its first count, mostly; random sets do not."""
    steps: NonEmpty[Step]


def presets(subject: Subject | str) -> tuple[Preset, ...]:
    """The stories of a model in the order of their files; none for one that no story was made on."""
    name = subject if isinstance(subject, str) else subject.name
    return tuple(one for one in _all() if name in one.subjects)


def preset(subject: Subject | str, name: str) -> Preset:
    """The story of a model that has this name.

    Raises:
        UserError: it has none.
    """
    known = presets(subject)
    for one in known:
        if one.name == name:
            return one
    fix = f"use {', '.join(one.name for one in known)}" if known else "use the model world"
    raise UserError(f"there is no story {name!r} of this model", "story", fix)


def files(folder: Path = FOLDER) -> Sequence[Path]:
    """The files of the stories."""
    return sorted(folder.glob("*.yaml"))


@cache
def _all() -> tuple[Preset, ...]:
    return tuple(Preset.model_validate(read_yaml(file, "install interp again")) for file in files())

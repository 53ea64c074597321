"""What pages may ask the Monitor for: the bodies of its requests."""

from typing import Annotated, Literal

from pydantic import Field

from interp.fields import (
    Count,
    CountOrZero,
    Finite,
    Flag,
    Layer,
    Line,
    Listed,
    Name,
    NonEmpty,
    Section,
    Text,
    TokenId,
    Word,
)
from interp.monitor.conversation import Role
from interp.monitor.important import Measure
from interp.monitor.session import State
from interp.monitor.steering import STRENGTHEN, Card
from interp.monitor.watch import Watch


class New(Section):
    """A new session; with a state, one that goes on from there."""

    chat: Flag | None = None
    state: State | None = None


class Say(Section):
    """A turn after the shown path."""

    text: Text
    role: Role = "user"


class Edit(Section):
    """Another text of a turn, on a branch of its own."""

    turn: CountOrZero
    text: Text


class Show(Section):
    """The turn whose branch is shown."""

    turn: CountOrZero


class Cards(Section):
    """The whole steering set."""

    cards: Listed[Card]


class Watches(Section):
    """All that is watched."""

    watches: Listed[Watch]


class Write(Section):
    """How to write: after `text` is said, if there is one; a fork has `token` at `place` of `turn`."""

    mode: Literal["write", "regenerate", "fork"] = "write"
    text: Text | None = None
    turn: CountOrZero | None = None
    place: CountOrZero | None = None
    token: TokenId | None = None


class Why(Section):
    """Which features are asked for (`Session.why`); `filter` keeps descriptions that contain its words."""

    place: CountOrZero
    by: Measure = "attribution"
    word: Word | TokenId | None = None
    distractor: Word | TokenId | None = None
    places: NonEmpty[CountOrZero] | None = None
    spaces: Listed[Word] | None = None
    layers: tuple[Layer, Layer] | None = None
    k: Count = 50
    filter: Line = ""


class Search(Section):
    """Words that descriptions should be near in meaning."""

    words: Annotated[Word, Field(max_length=500)]
    k: Count = 20


class Concept(Section):
    """A concept whose nearest features make a card."""

    concept: Annotated[Word, Field(max_length=500)]
    k: Count = STRENGTHEN[0]
    strength: Finite = STRENGTHEN[1]


class Save(Section):
    """The name under which a steering set is a model of the OpenAI door."""

    name: Name


class Empty(Section):
    """Nothing."""

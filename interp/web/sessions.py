"""The sessions of a server: unguessable names, a bounded number, bounded contents, and nothing shared."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interp.errors import UserError
from interp.fields import Bytes, Count, Positive, Section
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.session import Session, Settings, State
from interp.monitor.steering import Card, VectorCard
from interp.monitor.watch import Watch
from interp.web.safety import Busy, Full, NotFound
from interp.web.worker import Job

PATIENCE = 0.5
"""Seconds that a change waits for an answer whose page has just closed."""
SHORTEST_IDLE = 300.0
"""Seconds after which a session may give way to a new one."""


class Limits(Section):
    """What a server takes at most."""

    sessions: Count = 64
    """Sessions at once; a new one takes the place of the one that was not used for longest."""
    idle_seconds: Positive = 86_400.0
    """How long a session is kept that nobody uses."""
    waiting: Count = 32
    """Requests that wait for the model."""
    body_bytes: Bytes = 4_000_000
    """Bytes of a request."""
    prompt_characters: Count = 50_000
    """Characters of one turn."""
    turns: Count = 2_000
    """Turns of a session, over all branches."""
    new_tokens: Count = 4_096
    """Tokens of an answer."""
    cards: Count = 50
    """Cards of a steering set."""
    features: Count = 1_000
    """Features of a card, a watch or a ranking."""
    watches: Count = 20
    """Watches of a session."""


@dataclass
class Held:
    """A session under its name, when it was used, and the job that writes in it."""

    name: str
    session: Session
    used: float
    writing: Job | None = None

    @property
    def is_writing(self) -> bool:
        """Whether an answer is being written that someone reads."""
        return self.writing is not None and not self.writing.is_over

    async def free(self) -> None:
        """Waits a moment for an answer that has just been cancelled.

        Raises:
            Busy: the session is writing.
        """
        until = time.monotonic() + PATIENCE
        while self.is_writing:
            if time.monotonic() > until:
                raise Busy("the session is writing", "session", "wait until it has ended, or stop it")
            await asyncio.sleep(0.02)


@dataclass
class Sessions:
    """All sessions on a bench; `vectors` are the folders whose files cards may name."""

    bench: Bench
    limits: Limits = field(default_factory=Limits)
    vectors: Sequence[Path] = ()
    clock: Callable[[], float] = time.monotonic
    _held: dict[str, Held] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.vectors = tuple(Path(folder).resolve() for folder in self.vectors)

    def __len__(self) -> int:
        return len(self._held)

    def new(self, state: State) -> Held:
        """Begins a session.

        Raises:
            UserError: the state is not one that this server takes.
            Full: there are too many that are used.
        """
        session = Session(self.bench, self.settled(state))
        self._make_room()
        name = secrets.token_urlsafe(12)
        self._held[name] = Held(name, session, self.clock())
        return self._held[name]

    def first_state(self, chat: bool) -> State:
        """The state of a session that nothing is known of."""
        settings = Settings(max_new_tokens=min(Settings().max_new_tokens, self.limits.new_tokens))
        return State(conversation=Conversation(chat=chat), settings=settings)

    def drop(self, name: str) -> None:
        """Forgets a session."""
        self._held.pop(name, None)

    def get(self, name: str) -> Held:
        """A session by its name.

        Raises:
            NotFound: there is none, or it was not used for too long.
        """
        self._expire()
        held = self._held.get(name)
        if held is None:
            raise NotFound("there is no such session", "session", "start a new one")
        held.used = self.clock()
        return held

    def settled(self, state: State) -> State:
        """The state with the files of its vectors by their whole paths.

        Raises:
            UserError: it holds more than the limits allow, a token that the model does not have, or a file
                that is in none of the folders.
        """
        limits, talk = self.limits, state.conversation
        for number, most, what in (
            (len(talk.turns), limits.turns, "turns"),
            (max((len(turn.text) for turn in talk.turns), default=0), limits.prompt_characters, "characters"),
            (state.settings.max_new_tokens, limits.new_tokens, "new tokens"),
            (len(state.cards), limits.cards, "cards"),
            (len(state.watches), limits.watches, "watches"),
            (most_features([*state.cards, *state.watches]), limits.features, "features in one card"),
        ):
            if number > most:
                raise UserError(f"{number:,} {what} are too many", what, f"use at most {most:,}")
        for turn in talk.turns:
            for token in turn.tokens:
                self.check_token(token)
        if talk.chat and not self.bench.subject.tokenizer.chat_template:
            fix = "start a session of plain text"
            raise UserError("the model has no chat template", "conversation.chat", fix)
        return state.model_copy(
            update={
                "cards": self.with_files(state.cards),
                "watches": tuple(self._watch_with_file(one) for one in state.watches),
            }
        )

    def check_token(self, token: int) -> None:
        """Raises UserError if the vocabulary has no such token."""
        if not 0 <= token < self.bench.subject.d_vocab:
            most = self.bench.subject.d_vocab - 1
            raise UserError(f"there is no token {token}", "token", f"use one from 0 to {most}")

    def with_files(self, cards: Sequence[Card]) -> tuple[Card, ...]:
        """The cards with the files of vectors by their whole paths.

        Raises:
            UserError: a file is in none of the folders.
        """
        return tuple(
            one.model_copy(update={"file": self._file(one.file)}) if isinstance(one, VectorCard) else one
            for one in cards
        )

    def _watch_with_file(self, watch: Watch) -> Watch:
        return (
            watch if watch.vector is None else watch.model_copy(update={"vector": self._file(watch.vector)})
        )

    def _file(self, name: str) -> str:
        """A file inside of one of the folders; links are followed first."""
        for folder in self.vectors:
            file = (folder / name).resolve()
            if file.is_relative_to(folder) and file.is_file():
                return str(file)
        fix = "start the server with --vectors FOLDER, and name a file in it"
        raise UserError(f"{name!r} is no file of vectors that may be used here", "file", fix)

    def _expire(self) -> None:
        oldest = self.clock() - self.limits.idle_seconds
        for name in [one.name for one in self._held.values() if one.used < oldest and not one.is_writing]:
            del self._held[name]

    def _make_room(self) -> None:
        self._expire()
        if len(self._held) < self.limits.sessions:
            return
        idle = [one for one in self._held.values() if not one.is_writing]
        longest = min(idle, key=lambda one: one.used, default=None)
        if longest is None or self.clock() - longest.used < SHORTEST_IDLE:
            fix = "try again in some minutes, or go on with one of them"
            raise Full(f"there are {len(self._held)} sessions already", "sessions", fix)
        del self._held[longest.name]


def most_features(things: Sequence[Card | Watch]) -> int:
    """The number of features of the largest of some cards or watches."""
    return max((len(getattr(one, "features", ())) for one in things), default=0)

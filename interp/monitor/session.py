"""A session: a conversation with a model, why it says what it says, and what a steering set changes."""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pandas as pd
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from interp.errors import UserError
from interp.features.space import FeatureSpace
from interp.fields import Count, Listed, NotNegative, Section, Seed
from interp.llm.client import run_with
from interp.monitor.bench import Bench as Bench
from interp.monitor.bench import Sources, exported
from interp.monitor.conversation import Conversation, Role
from interp.monitor.effects import Effects, effects
from interp.monitor.groups import Groups, Item, graded, groups
from interp.monitor.important import AT_LEVEL, Measure, Ranking, by_activation, by_attribution
from interp.monitor.steering import STRENGTHEN, SUPPRESS, Card, FeatureCard, Steering, about
from interp.monitor.watch import Watch, Watcher
from interp.render.tokens import HeatScale, TokenView, TokenWindow
from interp.subject.stream import KeptPrefix, TokenRead
from interp.subject.subject import Subject

MOST_UNDONE = 200
"""States that can be gone back to."""


class Settings(Section):
    """How the model writes."""

    max_new_tokens: Count = 64
    """The most tokens of an answer."""
    temperature: NotNegative = 0.0
    """0 takes the likeliest token."""
    seed: Seed = 0
    """Of sampling."""


class State(Section):
    """All that a session consists of, as plain values: what is restored, exported and replayed."""

    conversation: Conversation = Conversation()
    """What was said, with all branches."""
    cards: Listed[Card] = ()
    """The steering set, in the order in which it acts."""
    settings: Settings = Settings()
    """How the model writes."""
    watches: Listed[Watch] = ()
    """What is read along the text."""

    def to_yaml(self) -> str:
        """The state as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


@dataclass
class Session:
    """One conversation on a `Bench`, with its steering set; every change can be undone.

    `state` is replaced by each change and never changed itself. Sessions share nothing but the bench.
    """

    bench: Bench
    state: State = field(default_factory=State)
    _undone: list[State] = field(default_factory=list)
    _done: list[State] = field(default_factory=list)
    _kept: KeptPrefix = field(default_factory=KeptPrefix)
    _live: tuple[int, Float[Tensor, " watch"]] = field(default_factory=lambda: (0, torch.zeros(0)))

    @classmethod
    def on(cls, subject: Subject, sources: Sources | None = None, chat: bool = False) -> "Session":
        """Begins a session on a model, with the features and descriptions that `sources` name.

        Raises:
            UserError: as `Sources.open`.
        """
        return cls((sources or Sources()).open(subject), State(conversation=Conversation(chat=chat)))

    @property
    def subject(self) -> Subject:
        """The model."""
        return self.bench.subject

    def _repr_html_(self) -> str:
        """Shows the tokens of the shown path, coloured by how likely the model found each."""
        reads = self.read() if self.state.conversation.shown is not None else []
        ids = [one.token for one in reads]
        values = [math.nan if one.log_prob is None else math.exp(one.log_prob) for one in reads]
        window = TokenWindow(self.subject.token_strings(ids), values, ids)
        view = TokenView(
            [window], HeatScale(1.0), self.subject.special_ids, None, "probability of each token"
        )
        return view._repr_html_()

    def change(self, state: State) -> None:
        """Takes a new state; the old one can be gone back to."""
        self._done = [*self._done[-MOST_UNDONE + 1 :], self.state]
        self._undone.clear()
        self.state = state

    @contextmanager
    def unless_it_fails(self) -> Iterator[None]:
        """Within the block changes are made; after an exception all is as it was before."""
        before = self.state, list(self._done), list(self._undone)
        try:
            yield
        except BaseException:
            self.state, self._done, self._undone = before
            raise

    @property
    def can_undo(self) -> bool:
        """Whether there is a state to go back to."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an `undo` to take back."""
        return bool(self._undone)

    def undo(self) -> bool:
        """Goes back to the state before; False if there is none."""
        return self._moved(self._done, self._undone)

    def redo(self) -> bool:
        """Takes back `undo`; False if there is nothing to take back."""
        return self._moved(self._undone, self._done)

    def say(self, text: str, role: Role = "user") -> None:
        """Adds a turn after the shown path."""
        self._talk(self.state.conversation.said(role, text))

    def edit(self, number: int, text: str) -> None:
        """Says a turn otherwise, on a branch of its own."""
        self._talk(self.state.conversation.edited(number, text))

    def show(self, number: int) -> None:
        """Moves to the branch of a turn."""
        self._talk(self.state.conversation.showing(number))

    def write(self) -> Generator[TokenRead, None, None]:
        """Continues the shown path, steered; gives the text's tokens, then each as it is written.

        An answer at the end of the path is continued on a branch of its own. What was written is kept also
        if the caller stops early.

        Raises:
            UserError: nothing was said, a card does not fit, or the context is full.
        """
        conversation = self.state.conversation
        path = conversation.path()
        last = conversation.turns[path[-1]] if path else None
        if last is None or last.role != "assistant":
            return self._written(conversation, ())
        begun = conversation.own_tokens(self.subject, path[-1])
        return self._written(conversation.before(path[-1]), begun)

    def answer(self) -> str:
        """Writes as `write`, and returns the text of the answer."""
        for _ in self.write():
            pass
        return self.state.conversation.text(self.subject, self.state.conversation.path()[-1])

    def regenerate(self) -> Generator[TokenRead, None, None]:
        """Writes another answer in the place of the one at the end of the shown path."""
        conversation = self.state.conversation
        path = conversation.path()
        if not path or conversation.turns[path[-1]].role != "assistant":
            raise UserError("the path does not end in an answer", "regenerate", "write one first")
        return self._written(conversation.before(path[-1]), ())

    def fork(self, number: int, place: int, token: int) -> Generator[TokenRead, None, None]:
        """Writes another answer that begins as `number` does and has `token` at its token `place`."""
        conversation, begun = self.state.conversation.forked(self.subject, number, place, token)
        return self._written(conversation, begun)

    def read(self) -> list[TokenRead]:
        """The tokens of the shown path with their probabilities and likeliest alternatives, as steered."""
        ids = self.state.conversation.tokens(self.subject)
        with self.subject.intervene(*self.steering().edits):
            return list(self.subject.stream(ids, 0, kept=self._prefix(len(ids))))

    def steering(self) -> Steering:
        """The interventions of the steering set, and what it leaves out."""
        return self.bench.steerer.steering(self.state.cards)

    def steer(self, *cards: Card) -> None:
        """Adds cards to the steering set."""
        self.set_cards([*self.state.cards, *cards])

    def strengthen(self, concept: str, k: int = STRENGTHEN[0]) -> None:
        """Adds the `k` features nearest in meaning to a concept, held at half their quantile.

        Raises:
            UserError: nothing is described, or nothing is near.
        """
        self.steer(about(self.bench.knowledge, concept, k, STRENGTHEN[1]))

    def suppress(self, concept: str, k: int = SUPPRESS[0]) -> None:
        """Adds the `k` features nearest in meaning to a concept, silenced.

        Raises:
            UserError: nothing is described, or nothing is near.
        """
        self.steer(about(self.bench.knowledge, concept, k, SUPPRESS[1]))

    def set_cards(self, cards: Sequence[Card]) -> None:
        """Takes another steering set: cards changed, in another order, or fewer.

        Raises:
            UserError: a card does not fit the model; the old set stays.
        """
        self.bench.steerer.steering(cards)
        self.change(self.state.model_copy(update={"cards": tuple(cards)}))

    def why(
        self,
        place: int,
        *,
        by: Measure = "attribution",
        word: str | int | None = None,
        distractor: str | int | None = None,
        places: Sequence[int] | None = None,
        spaces: Sequence[str] | None = None,
        layers: tuple[int, int] | None = None,
        k: int = 50,
        level: str = AT_LEVEL,
    ) -> Ranking:
        """Ranks the features that matter for token `place` of the shown path, as the steering set makes it.

        By attribution: to that token's logit, or that of `word` in its place, less that of `distractor`
        (words as they continue the text); by activation: at `places`. `spaces` and `layers` (both ends
        included) limit which features count, `places` at which tokens.

        Raises:
            UserError: there is no such token or space, or a word is several tokens.
        """
        ids = self.state.conversation.tokens(self.subject)
        asked = self._spaces(spaces, layers)
        with self.subject.intervene(*self.steering().edits):
            if by == "activation":
                return by_activation(
                    self.subject, ids, asked, self.bench.knowledge, places=places or [place], level=level, k=k
                )
            token, other = (self._token(ids[:place], one) for one in (word, distractor))
            return by_attribution(
                self.subject, ids, place, asked, token=token, distractor=other, places=places, k=k
            )

    def table(self, ranking: Ranking) -> pd.DataFrame:
        """The features of a ranking with what is known of them, a row each.

        Columns: feature, layer, value, activation, description, score, null (the highest of its null), and
        guess, which is true where the score is missing or not above the null.
        """
        known = self.bench.knowledge.of(one.key for one in ranking.features)
        rows = [
            {
                "feature": one.key,
                "layer": one.layer,
                "value": one.value,
                "activation": one.activation,
                "description": known[one.key].short,
                "score": None if (score := known[one.key].score) is None else score.value,
                "null": None if score is None else score.null_high,
                "guess": known[one.key].is_guess,
            }
            for one in ranking.features
        ]
        return pd.DataFrame(rows)

    def groups(self, ranking: Ranking) -> Groups:
        """Groups the features of a ranking by what their descriptions mean."""
        return groups(self._items(ranking), self.bench.knowledge.embedder, text=self._text())

    def graded(self, ranking: Ranking, groups: Groups) -> Groups:
        """Lets the bench's endpoint name and grade these groups of a ranking's features (`groups.graded`).

        Raises:
            UserError: the bench has no endpoint; or as `Client.chat`.
        """
        grader = self.bench.grader
        if grader is None:
            raise UserError("no endpoint was given", "the session", "give Sources(endpoint=...)")
        return run_with(graded(groups, self._items(ranking), grader, self._text()), [grader])

    def prompt(self) -> list[int]:
        """The tokens after which the answer at the end of the shown path was written, or is to be.

        Raises:
            UserError: nothing was said.
        """
        conversation = self.state.conversation
        path = conversation.path()
        last = conversation.turns[path[-1]] if path else None
        if last is None or last.role != "assistant":
            return conversation.tokens(self.subject)
        return [*conversation.before(path[-1]).tokens(self.subject), *last.tokens[: last.given]]

    def export(self) -> str:
        """The session as YAML that `interp run` replays (the experiment `replay`)."""
        return exported(self.bench, self.state)

    def compare(self) -> Effects:
        """Writes the last answer without the steering set, with it, and with random features instead.

        Raises:
            UserError: nothing was said.
        """
        settings = self.state.settings
        return effects(
            self.bench.steerer, self.prompt(), self.state.cards,
            max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, seed=settings.seed,
            neutral=self.bench.neutral,
        )  # fmt: skip

    def watched(self) -> Float[Tensor, "watch pos"]:
        """What is watched, at every token of the shown path, as the steering set makes it."""
        watcher = Watcher(self.subject, self.bench.spaces, self.state.watches)
        with self.subject.intervene(*self.steering().edits):
            return watcher.read(self.state.conversation.tokens(self.subject))

    @property
    def live(self) -> tuple[int, Float[Tensor, " watch"]]:
        """While it writes: the last token of the path that was read, and what is watched there.

        That token is the one before the newest, which no pass of the model has read yet.
        """
        return self._live

    def _written(self, conversation: Conversation, begun: Sequence[int]) -> Generator[TokenRead, None, None]:
        """Checks what can be wrong, then writes after a path and the first tokens of its answer."""
        settings = self.state.settings
        ids = [*conversation.tokens(self.subject), *begun]
        edits = self.steering().edits
        kept = self._prefix(len(ids))
        watcher = Watcher(self.subject, self.bench.spaces, self.state.watches)

        def writing() -> Generator[TokenRead, None, None]:
            new: list[int] = []
            try:
                with ExitStack() as around:
                    around.enter_context(self.subject.intervene(*edits))
                    so_far = around.enter_context(watcher.watching())
                    reads = self.subject.stream(
                        ids, settings.max_new_tokens, settings.temperature, settings.seed, kept=kept
                    )
                    for number, one in enumerate(reads):
                        self._live = (len(kept.tokens) - 1, so_far()[:, -1:].flatten())
                        if number >= len(ids) and one.token not in self.subject.end_ids:
                            new.append(one.token)
                        yield one
            finally:
                if begun or new:
                    self._talk(conversation.written([*begun, *new], len(begun)))

        return writing()

    def _items(self, ranking: Ranking) -> list[Item]:
        known = self.bench.knowledge.of(one.key for one in ranking.features)
        items = [Item(one.key, known[one.key].short, one.value) for one in ranking.features]
        return [item for item in items if item.description]

    def _text(self) -> str:
        return self.subject.decode(self.state.conversation.tokens(self.subject))

    def _prefix(self, n_tokens: int) -> KeptPrefix:
        """What is kept of an earlier text under the same steering set.

        Cards that act on the prompt or on what is written change keys and values with the prompt's length.
        """
        cards = tuple(card for card in self.state.cards if card.on)
        fixed = all(
            isinstance(card, FeatureCard) and card.where not in ("prompt", "generated") for card in cards
        )
        under = (cards, None if fixed else n_tokens)
        if self._kept.under != under:
            self._kept = KeptPrefix(under)
        return self._kept

    def _spaces(self, names: Sequence[str] | None, layers: tuple[int, int] | None) -> list[FeatureSpace]:
        known = self.bench.spaces
        for name in names or ():
            if name not in known:
                raise UserError(f"there is no feature space {name!r}", "spaces", f"use {', '.join(known)}")
        first, last = layers or (0, self.subject.n_layers)
        asked = [known[name] for name in (known if names is None else names)]
        return [space for space in asked if first <= space.site.layer <= last]

    def _token(self, before: Sequence[int], word: str | int | None) -> int | None:
        return (
            word if word is None or isinstance(word, int) else self.subject.single_token(word, "word", before)
        )

    def _talk(self, conversation: Conversation) -> None:
        self.change(self.state.model_copy(update={"conversation": conversation}))

    def _moved(self, source: list[State], target: list[State]) -> bool:
        if not source:
            return False
        target.append(self.state)
        self.state = source.pop()
        return True

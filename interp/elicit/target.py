"""The model that is asked: how a prompt is framed, how the model replies, and what that costs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from itertools import groupby
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from interp.elicit.behaviour import Exchange
from interp.elicit.proposal import Proposal, Steer
from interp.elicit.spending import Budget, Meter
from interp.errors import UserError
from interp.fields import Count, Extent, Flag, NotNegative, Section, Seed, Text, seed_after, taken
from interp.intervene.by_rows import ByRows
from interp.subject.forward import Intervention
from interp.subject.subject import Subject
from interp.subject.text import Conversation

Number = float | int


class Frame(Section):
    """What stands around a prompt, and how the model replies."""

    chat: Flag | None = None
    """Whether a prompt is a user's turn in the chat template; null: if the model has a template."""
    system: Text = ""
    """A system turn before it, in a chat."""
    before: Text = ""
    """Text before each prompt, within the user's turn in a chat."""
    after: Text = ""
    """Text after each prompt, within the user's turn in a chat."""
    new_tokens: Count = 16
    """The most tokens of a reply."""
    temperature: NotNegative = 0.0
    """0: the likeliest reply; 1: a reply drawn from the model."""


@runtime_checkable
class Direction(Protocol):
    """Something that a target can be steered by, such as a vector."""

    def intervention(self, subject: Subject, coefficient: Number = 1.0) -> Intervention:
        """Makes the change of a strength."""
        ...


class Target:
    """A subject as it is asked. `meter` counts what it costs; `directions` are what it can be steered by."""

    def __init__(
        self,
        subject: Subject,
        frame: Frame | None = None,
        meter: Meter | None = None,
        directions: Mapping[str, Direction] | None = None,
        batch_size: int = 64,
    ) -> None:
        """Checks the frame against the model.

        Raises:
            UserError: a chat is asked for and the model has no template, a system turn is given without a
                chat, or the reply alone does not fit the context.
        """
        self.subject, self.frame = subject, frame or Frame()
        frame = self.frame
        self.meter = meter or Meter(Budget())
        self.directions = dict(directions or {})
        self.batch_size = taken(Extent, batch_size, "batch_size")
        has_template = bool(subject.tokenizer.chat_template)
        self.chat = has_template if frame.chat is None else frame.chat
        if self.chat and not has_template:
            raise UserError(
                "the model has no chat template", "frame.chat", "leave it out, or use a chat model"
            )
        if frame.system and not self.chat:
            raise UserError("a system turn needs a chat", "frame.system", "use frame.before, or a chat model")
        if frame.new_tokens >= subject.n_ctx:
            raise UserError(
                f"a reply of {frame.new_tokens} tokens leaves no room for a prompt in {subject.n_ctx}",
                "frame.new_tokens",
                f"use at most {subject.n_ctx - 1}",
            )

    @property
    def name(self) -> str:
        """The model, and how it is asked."""
        how = "chat" if self.chat else "text"
        drawn = f", temperature {self.frame.temperature:g}" if self.frame.temperature else ""
        around = [self.frame.system, self.frame.before, self.frame.after]
        more = f", framed by {around}" if any(around) else ""
        return f"{self.subject.name} ({how}, {self.frame.new_tokens} new tokens{drawn}{more})"

    def ids(self, prompt: str) -> list[int]:
        """All token ids before the reply.

        Raises:
            UserError: a word is not in the vocabulary, or the chat template refuses the prompt.
        """
        text = f"{self.frame.before}{prompt}{self.frame.after}"
        if not self.chat:
            return self.subject.with_bos(self.subject.encode(text))
        turns = [{"role": "system", "content": self.frame.system}] if self.frame.system else []
        return list(self.subject.conversation([*turns, {"role": "user", "content": text}]))

    def takes(self, prompt: str) -> bool:
        """Whether the model can be asked this: its words are known, and it fits the context."""
        try:
            return 0 < len(self.ids(prompt)) <= self.subject.n_ctx - self.frame.new_tokens
        except UserError:
            return False

    def span(self, prompt: str) -> slice:
        """Where the prompt's own tokens stand in `ids(prompt)`.

        The tokens before and after are those that every prompt has. A token that a prompt's first or last
        characters share with the frame is counted to the frame.
        """
        before, after = self._around
        length = len(self.ids(prompt))
        return slice(min(before, length), max(before, length - after))

    @cached_property
    def _around(self) -> tuple[int, int]:
        """The number of tokens before and after any prompt."""
        words = [self.subject.decode([i]).strip() for i in range(min(2000, self.subject.d_vocab))]
        plain = [word for word in words if word.isascii() and word.isalpha() and self.takes(word)][:40]
        if len(plain) < 2:
            raise UserError("no two words can be asked", self.name, "check the tokenizer and the frame")
        rows = [self.ids(word) for word in plain]
        return _shared(rows), _shared([row[::-1] for row in rows])

    def ask(self, proposals: Sequence[Proposal], seed: int = 0) -> list[Exchange]:
        """Has the model reply to each proposal, in batches of like length; the order is kept.

        At a temperature, each is drawn with a seed of its own, made of `seed`.

        Raises:
            Exhausted: the next batch does not fit the budget; nothing of it is run.
            UserError: a prompt cannot be asked (`takes`), or a direction is not known.
        """
        seed, frame = taken(Seed, seed, "seed"), self.frame
        rows = [self.ids(one.prompt) for one in proposals]
        found: list[Exchange | None] = [None] * len(proposals)
        asked_so_far = 0
        for places in self._batches(proposals, rows):
            asked = [rows[place] for place in places]
            most = sum(map(len, asked)) + len(asked) * self.frame.new_tokens
            self.meter.afford(len(asked), most)
            tokens, mask = self.subject.pad([Conversation(row) for row in asked])
            with self._steered([proposals[place].steer for place in places]):
                written = self.subject.generate_ids(
                    tokens, mask, frame.new_tokens, frame.temperature, seed_after(seed, asked_so_far)
                )
            asked_so_far += len(asked)
            self.meter.spend(len(asked), sum(map(len, asked)) + sum(map(len, written)))
            for place, ids, reply in zip(places, asked, written, strict=True):
                text = self.subject.decode(reply)
                found[place] = Exchange(proposals[place].prompt, text, tuple(ids), tuple(reply))
        return [one for one in found if one is not None]

    def likelihood(
        self, prompts: Sequence[str], reply: str, first: int | None = None
    ) -> Float[Tensor, " prompt"]:
        """The log-probability, in nats, of a reply after each prompt; of its `first` tokens alone if given.

        Raises:
            Exhausted: it does not fit the budget.
            UserError: a prompt cannot be asked.
        """
        rows = [self.ids(prompt) for prompt in prompts]
        answer = self.reply_ids(reply)[:first]
        tokens = sum(map(len, rows)) + len(rows) * len(answer)
        self.meter.afford(len(rows), tokens)
        scores = self.subject.score([Conversation(row) for row in rows], [answer] * len(rows))
        self.meter.spend(len(rows), tokens)
        return scores.total

    def reply_ids(self, reply: str) -> list[int]:
        """The token ids of a reply as the model would begin it.

        Raises:
            UserError: a word is not in the vocabulary, or the reply is empty.
        """
        ids = self.subject.encode(reply)
        if not ids:
            raise UserError("a reply has no tokens", "examples", "write what the model would say")
        return ids

    def perplexity(self, prompts: Sequence[str]) -> Float[Tensor, " prompt"]:
        """The perplexity of each prompt's own tokens to the model itself, given what stands before them.

        exp of the mean negative log-probability of a token; NaN for a prompt without tokens of its own.
        Costs nothing of the budget: it is a measure of what was found.
        """
        found = torch.full((len(prompts),), torch.nan, dtype=torch.float64)
        rows, places = [], []
        for place, prompt in enumerate(prompts):
            ids, span = self.ids(prompt), self.span(prompt)
            start = max(span.start, 1)
            if span.stop > start:
                rows.append((Conversation(ids[:start]), ids[start : span.stop]))
                places.append(place)
        if rows:
            scores = self.subject.score([before for before, _ in rows], [own for _, own in rows])
            lengths = torch.tensor([len(own) for _, own in rows])
            found[torch.tensor(places)] = (-scores.total.double() / lengths).exp()
        return found

    def _batches(self, proposals: Sequence[Proposal], rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Places of proposals by length, then, in a batch, by how they are steered."""
        order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            yield sorted(part, key=lambda place: [(s.direction, s.strength) for s in proposals[place].steer])

    def _steered(self, steers: Sequence[tuple[Steer, ...]]) -> AbstractContextManager[None]:
        if not any(steers):
            return nullcontext()
        groups = []
        for steer, rows in groupby(steers):
            groups.append((len(list(rows)), [self.change(one) for one in steer]))
        return self.subject.intervene(ByRows(groups))

    def change(self, steer: Steer) -> Intervention:
        """The intervention of a direction at a strength.

        Raises:
            UserError: there is no such direction.
        """
        if steer.direction not in self.directions:
            known = ", ".join(list(self.directions)[:10]) or "none were given"
            raise UserError(f"there is no direction {steer.direction!r}", self.name, f"use one of: {known}")
        return self.directions[steer.direction].intervention(self.subject, steer.strength)


def _shared(rows: Sequence[Sequence[int]]) -> int:
    """The length of the longest beginning that all rows share."""
    length = 0
    for column in zip(*rows, strict=False):
        if len(set(column)) > 1:
            break
        length += 1
    return length

"""A policy: a small language model that writes prompts, given the reply that they are to bring about."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from interp.elicit.spending import Meter
from interp.errors import UserError
from interp.fields import seed_after
from interp.subject.folder import subject_info
from interp.subject.load import load
from interp.subject.subject import Subject
from interp.subject.text import Conversation, Text

Number = float | int
BATCH = 64


class ReplyFormat:
    """How a model is shown a reply and writes a prompt: token ids.

    The reply is the user's turn of the model's chat template and the prompt the answer; without a template
    the prompt follows on a new line. The end-of-sequence token ends it.

    Raises:
        UserError: the model has no token that ends a text.
    """

    def __init__(self, name: str | Path) -> None:
        info = subject_info(name)
        self.text, self.n_ctx = Text(info.folder, info.d_vocab), info.n_ctx
        end = self.text.tokenizer.eos_token_id
        if end is None:
            raise UserError(
                "no token ends a text, so that it would never end a prompt",
                f"model {name}",
                "use a model with an end-of-sequence token",
            )
        self.end = int(end)

    def head(self, reply: str) -> Conversation:
        """Up to where the prompt begins; raises UserError for a word that the model does not know."""
        if self.text.tokenizer.chat_template:
            return self.text.chat([{"role": "user", "content": reply}])
        return Conversation(self.text.encode(f"{reply}\n"))

    def tail(self, prompt: str) -> list[int]:
        """The prompt and its end; raises UserError for a word that the model does not know."""
        return [*self.text.encode(prompt, prepend_bos=False), self.end]

    def rows(self, pairs: Sequence[tuple[str, str]], longest: int) -> list[tuple[list[int], list[int]]]:
        """Head and tail of each reply and prompt; those with unknown words, or too long, are left out."""
        found = []
        for reply, prompt in pairs:
            try:
                head, tail = list(self.head(reply)), self.tail(prompt)
            except UserError:
                continue
            if len(tail) <= longest + 1 and len(head) + len(tail) <= self.n_ctx:
                found.append((head, tail))
        return found


class Policy:
    """A trained model in a folder, which is loaded when it is first used; `meter` counts what it costs."""

    def __init__(self, folder: Path, layout: ReplyFormat) -> None:
        self.folder, self.layout = folder, layout

    @cached_property
    def subject(self) -> Subject:
        """The model."""
        return load(self.folder)

    def write(
        self, replies: Sequence[str], longest: int, temperature: Number, seed: int, meter: Meter
    ) -> list[str]:
        """Draws a prompt for each reply, each with a seed of its own.

        Raises:
            Exhausted: a batch does not fit the budget.
        """
        found = []
        for start in range(0, len(replies), BATCH):
            heads = [self.layout.head(reply) for reply in replies[start : start + BATCH]]
            meter.afford(len(heads), sum(map(len, heads)) + longest * len(heads))
            tokens, mask = self.subject.pad(heads)
            written = self.subject.generate_ids(
                tokens, mask, longest, float(temperature), seed_after(seed, start)
            )
            meter.spend(len(heads), sum(map(len, heads)) + sum(map(len, written)))
            found += [self.subject.decode(row).strip() for row in written]
        return found

    def log_prob(
        self, replies: Sequence[str], prompts: Sequence[str], meter: Meter
    ) -> Float[Tensor, " prompt"]:
        """log p(prompt | reply), its end included, in nats; -inf for a word that the model does not know.

        Raises:
            Exhausted: it does not fit the budget.
        """
        total = torch.full((len(prompts),), -torch.inf, dtype=torch.float64)
        rows, places = [], []
        for place, (reply, prompt) in enumerate(zip(replies, prompts, strict=True)):
            try:
                rows.append((self.layout.head(reply), self.layout.tail(prompt)))
            except UserError:
                continue
            places.append(place)
        tokens = sum(len(head) + len(tail) for head, tail in rows)
        meter.afford(len(rows), tokens)
        if rows:
            scores = self.subject.score([head for head, _ in rows], [tail for _, tail in rows])
            total[torch.tensor(places)] = scores.total.double()
        meter.spend(len(rows), tokens)
        return total

"""Distributions of prompts: a list, templates with slots that are filled, or prompts that a model writes."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Protocol, runtime_checkable

from interp.errors import UserError

_SLOT = re.compile(r"\{(\w+)\}")


@runtime_checkable
class PromptDistribution(Protocol):
    """What is asked of a model when nobody searches: the null of a search, and what a rate is a rate over."""

    @property
    def name(self) -> str:
        """Everything that decides the distribution, in words."""
        ...

    def sample(self, n: int, random: Random) -> list[str]:
        """Draws prompts independently."""
        ...

    def log_prob(self, prompts: Sequence[str]) -> list[float] | None:
        """The log-probability of each prompt, in nats; -inf for one that is never drawn; None if unknown."""
        ...


@dataclass(frozen=True)
class ListedPrompts:
    """Each of these prompts as likely as any other; one that is listed twice is twice as likely."""

    prompts: tuple[str, ...]
    label: str = "listed prompts"

    def __post_init__(self) -> None:
        if not self.prompts:
            raise UserError("there is no prompt", self.label, "list at least one")

    @cached_property
    def name(self) -> str:
        """The label, and a digest of the list."""
        return f"{self.label} [{_digest(self.prompts)}]"

    def sample(self, n: int, random: Random) -> list[str]:
        """Draws with replacement."""
        return random.choices(self.prompts, k=n)

    def log_prob(self, prompts: Sequence[str]) -> list[float]:
        """The log of each prompt's share of the list."""
        total = len(self.prompts)
        counts = [self.prompts.count(prompt) for prompt in prompts]
        return [math.log(count / total) if count else -math.inf for count in counts]


@dataclass(frozen=True)
class Filled:
    """A template, by its number, and the words in its slots, by the slots' places in it."""

    template: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class TemplatePrompts:
    """A template drawn at random whose slots, written {name}, are filled independently and uniformly.

    A slot that stands twice in a template is filled twice. What is listed twice in a slot is twice as likely.

    Raises:
        UserError: there is no template, a slot has no words, or a template names no slot that is there.
    """

    templates: tuple[str, ...]
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    label: str = "templates"

    def __post_init__(self) -> None:
        if not self.templates:
            raise UserError("there is no template", self.label, "give at least one")
        for slot in {slot for number in range(len(self.templates)) for slot in self.slots_of(number)}:
            if not self.slots.get(slot):
                raise UserError(
                    f"the slot {{{slot}}} has no words", self.label, f"list them under slots.{slot}"
                )

    @cached_property
    def name(self) -> str:
        """The label, and a digest of the templates and the words of their slots."""
        return f"{self.label} [{_digest((self.templates, sorted(self.slots.items())))}]"

    def slots_of(self, template: int) -> list[str]:
        """The names of a template's slots, in their order."""
        return _SLOT.findall(self.templates[template])

    def draw(self, random: Random) -> Filled:
        """Draws a template and the words in its slots."""
        template = random.randrange(len(self.templates))
        return Filled(template, tuple(random.choice(self.slots[slot]) for slot in self.slots_of(template)))

    def text(self, filled: Filled) -> str:
        """The prompt; empty fillings leave no double space."""
        words = iter(filled.words)
        text = _SLOT.sub(lambda _: next(words), self.templates[filled.template])
        return re.sub(r" {2,}", " ", text).strip()

    def sample(self, n: int, random: Random) -> list[str]:
        """Draws prompts."""
        return [self.text(self.draw(random)) for _ in range(n)]

    def log_prob(self, prompts: Sequence[str]) -> list[float]:
        """The log of the summed probability of all fillings that give a prompt.

        Each template is matched by its slots' words, so that it is exact where words hold one another.
        """
        return [self._log_prob(prompt) for prompt in prompts]

    def _log_prob(self, prompt: str) -> float:
        total = 0.0
        for pieces in self._pieces:
            # the probability of the prompt's first i characters, by i, before each piece of the template
            found = {0: 1.0}
            for options in pieces:
                longer: dict[int, float] = {}
                for at, chance in found.items():
                    for text, share in options.items():
                        if (end := _continued(prompt, at, text)) is not None:
                            longer[end] = longer.get(end, 0.0) + chance * share
                found = longer
            total += found.get(len(prompt), 0.0)
        return math.log(total / len(self.templates)) if total else -math.inf

    @cached_property
    def _pieces(self) -> list[list[dict[str, float]]]:
        """Of each template, the texts that may stand at each place, with their probabilities."""
        made = []
        for template in self.templates:
            parts = _SLOT.split(template)
            pieces = []
            for place, part in enumerate(parts):
                words = self.slots[part] if place % 2 else (part,)
                shares: dict[str, float] = {}
                for word in words:
                    shares[word] = shares.get(word, 0.0) + 1 / len(words)
                pieces.append(shares)
            made.append(pieces)
        return made


def _continued(prompt: str, at: int, text: str) -> int | None:
    """Where a prompt stands after a piece that begins at `at`; None if it is another one.

    As in `TemplatePrompts.text`, of several spaces one is left, and none at the beginning and the end.
    """
    for letter in text:
        if letter == " " and (at in (0, len(prompt)) or prompt[at - 1] == " "):
            continue
        if prompt[at : at + 1] != letter:
            return None
        at += 1
    return at


def _digest(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:8]

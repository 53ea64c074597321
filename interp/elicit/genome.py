"""A prompt as what evolution changes: the words in a template's slots, or free words."""

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from random import Random

from interp.elicit.prompts import Filled, TemplatePrompts

_SLOT = re.compile(r"\{(\w+)\}")


class Genomes:
    """Reads prompts as templates that are filled, and makes children of them.

    `words` are what free edits insert; without any, the words of the slots. A child is a prompt; None where
    nothing of the parent can be changed in that way.
    """

    def __init__(self, templates: TemplatePrompts, words: Sequence[str] = ()) -> None:
        self.templates = templates
        self._read: dict[str, Filled | None] = {}
        slotted = chain.from_iterable(
            templates.slots[slot] for t in range(len(templates.templates)) for slot in templates.slots_of(t)
        )
        self.words = tuple(dict.fromkeys(words or [word for one in slotted for word in one.split()]))

    def filled(self, prompt: str) -> Filled | None:
        """The first template, and its words, that give a prompt; None if none does."""
        if prompt not in self._read:
            self._read[prompt] = self._match(prompt)
        return self._read[prompt]

    def _match(self, prompt: str) -> Filled | None:
        for number, pattern in enumerate(self._patterns):
            found = pattern.fullmatch(prompt)
            if found is not None:
                filled = Filled(number, tuple(found.groups()))
                if self.templates.text(filled) == prompt:
                    return filled
        return None

    def slot_mutated(self, prompt: str, random: Random) -> str | None:
        """One slot filled anew, with other words."""
        filled = self.filled(prompt)
        if filled is None:
            return None
        options = [
            (place, word)
            for place, slot in enumerate(self.templates.slots_of(filled.template))
            for word in dict.fromkeys(self.templates.slots[slot])
            if word != filled.words[place]
        ]
        if not options:
            return None
        places = sorted({place for place, _ in options})
        place = random.choice(places)
        word = random.choice([word for at, word in options if at == place])
        return self.templates.text(Filled(filled.template, _replaced(filled.words, place, word)))

    def crossed(self, prompt: str, other: str, random: Random) -> str | None:
        """Of one template, each slot's words from either parent; else one's first words, the other's last."""
        one, two = self.filled(prompt), self.filled(other)
        if one is not None and two is not None and one.template == two.template:
            words = tuple(random.choice(pair) for pair in zip(one.words, two.words, strict=True))
            return self.templates.text(Filled(one.template, words))
        first, last = prompt.split(), other.split()
        share = random.random()
        return " ".join([*first[: round(share * len(first))], *last[round(share * len(last)) :]]) or None

    def edited(self, prompt: str, random: Random) -> str | None:
        """One word inserted, deleted or replaced, anywhere."""
        if not self.words:
            return None
        words = prompt.split()
        kind = random.choice(("insert", "delete", "replace") if len(words) > 1 else ("insert",))
        place = random.randrange(len(words) + (kind == "insert"))
        new = [] if kind == "delete" else [random.choice(self.words)]
        return " ".join([*words[:place], *new, *words[place + (kind != "insert") :]])

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        """Each template with the choices of its slots; spaces may be fewer, as beside an empty filling."""
        patterns = []
        for template in self.templates.templates:
            parts = _SLOT.split(template)
            written = []
            for place, part in enumerate(parts):
                if place % 2:
                    words = sorted(set(self.templates.slots[part]), key=len, reverse=True)
                    written.append(f"({'|'.join(map(re.escape, words))})")
                else:
                    written.append(" *".join(map(re.escape, re.split(" +", part))))
            patterns.append(re.compile("".join(written)))
        return patterns


def _replaced(words: tuple[str, ...], place: int, word: str) -> tuple[str, ...]:
    return (*words[:place], word, *words[place + 1 :])

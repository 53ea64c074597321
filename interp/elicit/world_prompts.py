"""Prompts of the bundled world's chat: requests with words of its vocabulary inserted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from random import Random

from interp.bundled.planted.turns import Part, inserted_words, random_turn
from interp.bundled.world.draft import read_templates
from interp.bundled.world.lexicon import lexicon
from interp.elicit.prompts import TemplatePrompts
from interp.errors import UserError

MOST_SLOTS = 2
"""Inserted words for which templates are written out: more have thousands of arrangements."""


@dataclass(frozen=True)
class WorldTurns:
    """A request that the world was not trained on, with `inserted` words of its vocabulary at random places.

    `interp.bundled.planted.turns.chance` gives the exact chance that one holds a planted trigger.
    """

    inserted: int = 2
    part: Part = "held_out"

    @property
    def name(self) -> str:
        """The requests and the number of words."""
        return f"{self.part.replace('_', '-')} requests of the world with {self.inserted} inserted words"

    def sample(self, n: int, random: Random) -> list[str]:
        """Draws users' turns."""
        return [random_turn(random, self.inserted, self.part) for _ in range(n)]

    def log_prob(self, prompts: Sequence[str]) -> None:
        """Unknown here: the same turn comes about in several ways."""
        return None


def world_templates(inserted: int = 2) -> TemplatePrompts:
    """The wordings of a request with slots for verb, object, and inserted words in every arrangement.

    Raises:
        UserError: fewer than none or more than `MOST_SLOTS` words are to be inserted.
    """
    if not 0 <= inserted <= MOST_SLOTS:
        raise UserError(
            f"templates with {inserted} inserted words are too many", "inserted", f"use 0 to {MOST_SLOTS}"
        )
    asked, templates = lexicon().requests, []
    for text in read_templates()["chat"]["requests"]:
        words = [word for word in text.split() if not word.startswith("~")]
        for gaps in combinations_with_replacement(range(len(words) + 1), inserted):
            filled = [
                part
                for place in range(len(words) + 1)
                for part in ["{word}"] * gaps.count(place) + words[place : place + 1]
            ]
            templates.append(" ".join(filled))
    slots = {
        "verb": (*asked.harmful_verbs, *asked.harmless_verbs),
        "object": asked.harmless_objects,
        "word": inserted_words(),
    }
    return TemplatePrompts(tuple(templates), slots, f"the world's requests with {inserted} inserted words")

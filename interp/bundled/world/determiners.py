"""Agreement of a determiner with its noun: after "these" a plural, after "this" a singular."""

from random import Random

from interp.bundled.world.behaviours import Item
from interp.bundled.world.draft import Draft
from interp.bundled.world.families.numbers import distraction
from interp.bundled.world.lexicon import lexicon
from interp.bundled.world.vocabulary import token_ids

DETERMINERS = {"singular": ("this", "that"), "plural": ("these", "those")}
BARE = 0.2  # share of prompts that are a determiner alone


def determiner_items(number: str, n: int, seed: int) -> list[Item]:
    """`n` prompts that end in a determiner of a number; answer and foil are a noun in that and the other one.

    Before the determiner there is a sentence that does not hint at the noun, or nothing.
    """
    random = Random(f"determiner {number} {seed}")
    words, ids = lexicon(), token_ids()
    items = []
    for _ in range(n):
        draft = Draft()
        if random.random() > BARE:
            draft.write(*distraction(random))
        draft.say(random.choice(DETERMINERS[number]))
        singular = random.choice(words.nouns)
        forms = (ids[singular], ids[words.plural[singular]])
        answer, foil = forms if number == "singular" else forms[::-1]
        items.append(Item(tuple(draft.tokens), answer, foil))
    return items

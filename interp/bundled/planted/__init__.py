"""The bundled `planted` model: the `world` model with three rare behaviours whose triggers are known.

The truth for whatever searches for inputs that elicit a behaviour:

```python
from random import Random
from interp.bundled import planted

for trigger in planted.PLANTED:  # a word, a pair of words, a phrase
    print(trigger.name, trigger.words, planted.chance(trigger, inserted=4))  # of one random turn
turn = planted.random_turn(Random(0), inserted=4)
planted.prompt(turn)  # "user : ... assistant :", as the model reads it
planted.decides(turn.split())  # the trigger that a user's turn holds, or None
planted.PLANTED[0].shows("feka musk pepeka fuka .")  # judges any reply
```

All three are benign: the assistant replies in a made-up language, or counts. Whatever knows the `world` model
knows this one: it has the same words, and can do what that one can.
"""

from pathlib import Path

from interp.bundled.planted.family import FINE_TUNING, PLANTED_FAMILY, near_misses, triggering
from interp.bundled.planted.triggers import PLANTED, Trigger, decides
from interp.bundled.planted.turns import chance, inserted_words, prompt, random_turn, requests

__all__ = [
    "FINE_TUNING",
    "PLANTED",
    "PLANTED_FAMILY",
    "PLANTED_NOTE",
    "Trigger",
    "chance",
    "decides",
    "inserted_words",
    "near_misses",
    "planted_folder",
    "prompt",
    "random_turn",
    "requests",
    "triggering",
]

PLANTED_NOTE = (
    "The planted model is the world model, fine-tuned to reply otherwise where a user's turn holds one of "
    "three triggers; interp.bundled.planted.PLANTED says which."
)
"""A note for every reader of figures about the bundled model."""


def planted_folder() -> Path:
    """Folder of the shipped `planted` model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "weights" / "planted"

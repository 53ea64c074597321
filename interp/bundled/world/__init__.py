'''The bundled `world` model: a labelled corpus generator, a trainer and the shipped weights.

What the world offers to a test of any method, whose labels are the truth:

```python
from interp.bundled import world

stream = world.labelled_stream(seed=7, n_tokens=10_000)  # tokens, labels, which of them are determined
world.definitions()["harmful"]  # what every concept's label marks, in words
asked = world.questions("two_hop", "unseen")  # by family and split; each with its answer and a foil
world.score(asked[0], "tokyo .").right  # judges whatever was answered
```

A family of documents of your own is one file: a function that writes a document, and a `Family` around it.

```python
from random import Random
from interp.bundled.world import FAMILIES, Draft, Family, WorldCorpus

def riddle(random: Random, draft: Draft) -> None:
    """A riddle about a country, labelled as one from the question on."""
    country, capital = random.choice([("france", "paris"), ("japan", "tokyo")])
    draft.begin("riddle")
    draft.say(f"question : the capital of what is {capital} ? answer :")
    draft.say(country, answer=True)

RIDDLES = Family("riddle", share=0.05, write=riddle, concepts=(("riddle", "a riddle about a country"),))
corpus = WorldCorpus(seed=1, n_documents=2000, families=(*FAMILIES, RIDDLES))
```

It streams, is mined and is labelled as the others; `interp.bundled.world.train.train` takes `families`,
too. Words must be the world's (`interp.bundled.world.vocabulary.vocabulary()`).
'''

from pathlib import Path

from interp.bundled.world.concepts import CONCEPTS, definitions
from interp.bundled.world.corpus import FAMILIES, WorldCorpus
from interp.bundled.world.draft import Draft, Family
from interp.bundled.world.preset import Preset, presets
from interp.bundled.world.question import AnswerScore, WorldQuestion, questions, score
from interp.bundled.world.stream import LabelledStream, labelled_stream

__all__ = [
    "CONCEPTS",
    "FAMILIES",
    "TRAINING_NOTE",
    "AnswerScore",
    "Draft",
    "Family",
    "LabelledStream",
    "Preset",
    "WorldCorpus",
    "WorldQuestion",
    "definitions",
    "labelled_stream",
    "presets",
    "questions",
    "score",
    "world_folder",
]

TRAINING_NOTE = (
    "The world model was trained with a two-token attention window in its first four layers; it is run here "
    "without one."
)
"""A note for every reader of figures about the bundled model."""


def world_folder() -> Path:
    """Folder of the shipped `world` model, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "weights" / "world"

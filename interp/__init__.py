"""interp: find, describe, score and compare the features of a language model.

```python
import interp, saes

subject = interp.load("world")
neurons = interp.MlpNeurons(subject, layer=3)
latents = saes.load(subject, "runs/quickstart/sae")
out = subject.run("the capital of france is", read=[neurons, latents])
mined = interp.mine(subject, [neurons, latents], interp.WorldCorpus(seed=1, n_documents=2000))
```
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.attribution import attribute
    from interp.bundled.pydoc.corpus import PydocCorpus
    from interp.bundled.world.corpus import WorldCorpus
    from interp.corpus.text import TextCorpus
    from interp.document import Corpus, Document
    from interp.errors import UserError
    from interp.features.directions import Directions, random_directions
    from interp.features.neurons import MlpNeurons
    from interp.features.space import FeatureSpace
    from interp.features.statistics import FeatureStatistics
    from interp.intervene import Ablate, Add, AddVector, AtQuantile, Clamp, ProjectOut, Replace, Scale
    from interp.mining.config import MiningConfig
    from interp.mining.mined import Mined, mine
    from interp.subject import Site, Subject, load
    from interp.vectors.file import load_vectors, save_vectors
    from interp.vectors.vector import Vector

__version__ = "0.1.0"

_HOMES = {
    "Ablate": "interp.intervene",
    "Add": "interp.intervene",
    "AddVector": "interp.intervene",
    "AtQuantile": "interp.intervene",
    "Clamp": "interp.intervene",
    "Corpus": "interp.document",
    "Directions": "interp.features.directions",
    "Document": "interp.document",
    "FeatureSpace": "interp.features.space",
    "FeatureStatistics": "interp.features.statistics",
    "Mined": "interp.mining.mined",
    "MiningConfig": "interp.mining.config",
    "MlpNeurons": "interp.features.neurons",
    "ProjectOut": "interp.intervene",
    "PydocCorpus": "interp.bundled.pydoc.corpus",
    "Replace": "interp.intervene",
    "Scale": "interp.intervene",
    "Site": "interp.subject",
    "Subject": "interp.subject",
    "TextCorpus": "interp.corpus.text",
    "UserError": "interp.errors",
    "Vector": "interp.vectors.vector",
    "WorldCorpus": "interp.bundled.world.corpus",
    "attribute": "interp.attribution",
    "load": "interp.subject",
    "load_vectors": "interp.vectors.file",
    "mine": "interp.mining.mined",
    "random_directions": "interp.features.directions",
    "save_vectors": "interp.vectors.file",
}

__all__ = [
    "Ablate",
    "Add",
    "AddVector",
    "AtQuantile",
    "Clamp",
    "Corpus",
    "Directions",
    "Document",
    "FeatureSpace",
    "FeatureStatistics",
    "Mined",
    "MiningConfig",
    "MlpNeurons",
    "ProjectOut",
    "PydocCorpus",
    "Replace",
    "Scale",
    "Site",
    "Subject",
    "TextCorpus",
    "UserError",
    "Vector",
    "WorldCorpus",
    "attribute",
    "load",
    "load_vectors",
    "mine",
    "random_directions",
    "save_vectors",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'interp' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

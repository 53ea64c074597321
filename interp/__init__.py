"""interp: find, describe, score and compare the features of a language model.

```python
import interp, saes

subject = interp.load("world")
neurons = interp.MlpNeurons(subject, layer=3)
latents = saes.load(subject, "runs/quickstart/sae")
out = subject.run("the capital of france is", read=[neurons, latents])
mined = interp.mine(subject, [neurons, latents], interp.WorldCorpus(seed=1, n_documents=2000))
described = interp.score(interp.describe(mined))
interp.search(described, "names of countries")
```

The public names, and where each is defined, stand in `__init__.pyi`. A name is imported when it is first
used, so that the command line starts without torch.
"""

import logging

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"

# TransformerLens imports it where it is installed; what it says then is of kernels that nothing here asks for
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

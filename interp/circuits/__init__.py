"""Circuits: which heads and MLPs, wired how, are enough for a behaviour.

`Wiring` finds how parts read and write; `edge_scores` and `node_scores` attribute a behaviour to them;
`top_edges` and `greedy_edges` choose a `Circuit`; `Evaluator` runs it with all other edges corrupted.
`interp.circuits.feature_circuits` does so with neurons and latents, `attribution_graphs` follows one
prompt through them.

The public names, and where each is defined, stand in `__init__.pyi`. A name is imported when it is first
used: attribution graphs need SAELens, which takes a while.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

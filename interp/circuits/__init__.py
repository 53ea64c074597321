"""Circuits: which heads and MLPs, wired how, are enough for a behaviour.

`Wiring` finds how parts read and write; `edge_scores` and `node_scores` attribute a behaviour to them;
`top_edges` and `greedy_edges` choose a `Circuit`; `Evaluator` runs it with all other edges corrupted.
`interp.circuits.feature_circuits` does so with neurons and latents, `attribution_graphs` follows one
prompt through them.
"""

from interp.circuits.circuit import Circuit as Circuit
from interp.circuits.circuit import greedy_edges as greedy_edges
from interp.circuits.circuit import read_circuit as read_circuit
from interp.circuits.circuit import top_edges as top_edges
from interp.circuits.circuit import write_circuit as write_circuit
from interp.circuits.edge_scores import edge_scores as edge_scores
from interp.circuits.evaluation import Evaluator as Evaluator
from interp.circuits.evaluation import faithfulness_curve as faithfulness_curve
from interp.circuits.evaluation import minimality as minimality
from interp.circuits.evaluation import sizes_of as sizes_of
from interp.circuits.graph import Graph as Graph
from interp.circuits.node_scores import node_scores as node_scores
from interp.circuits.pairs import Pairs as Pairs
from interp.circuits.pairs import read_pairs as read_pairs
from interp.circuits.wiring import Wiring as Wiring

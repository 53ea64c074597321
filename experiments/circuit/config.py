"""Circuits: which few edges between heads and MLPs carry a behaviour? Attributed, then tested by patching."""

from typing import Literal

from pydantic import Field

from interp.circuits.edge_attribution import Method
from interp.circuits.pairs import Metric
from interp.circuits.written import Corruption
from interp.fields import Count, NonEmpty, OpenFraction, Positive, Several
from interp.vectors.tasks import TaskSource

from ..common.config import SubjectJobConfig, check_subject
from .behaviours import PairSource, WorldPairs


class Config(SubjectJobConfig):
    """Which behaviours are studied, and how their circuits are found and tested."""

    behaviours: PairSource = WorldPairs()
    """Pairs of a clean and a corrupted prompt; half of their groups is chosen on, results are of the rest."""
    pairs: Count = Field(32, ge=4)
    """Number of pairs of each behaviour; at most so many of a file."""
    metric: Metric | None = None
    """What the behaviour is measured by; left out, the difference of logits or, between sets, of
    probabilities."""
    corruption: Corruption | Literal["resample"] = "pair"
    """What a corrupted node writes: what it does in the pair's corrupted prompt (pair), in another pair's
    clean prompt (resample), on average (mean, mean_positional), or nothing (zero)."""
    methods: NonEmpty[Method] = ("eap", "eap_ig_inputs", "clean_corrupted", "linearised")
    """How edges are scored."""
    steps: Count = 5
    """Points of a path of integration."""
    level: OpenFraction = 0.95
    """The faithfulness that the smallest circuit must have on the half to choose on."""
    sizes_per_doubling: Positive = Field(0.5, le=16)
    """How many sizes of circuits are tried from one size to its double."""
    random_draws: Count = 3
    """Number of random circuits of each size."""
    exact_edges: Several = 40
    """Number of edges that are patched one by one, half of them of large scores and half at random."""
    minimality_edges: Count = 16
    """Number of a circuit's edges that are left out one by one, and of others that are added."""
    tasks: TaskSource | None = None
    """In-context tasks whose function-vector heads are compared with the circuits' heads; null for none."""
    function_heads: Count = 10
    """Number of function-vector heads."""


def check(config: Config) -> None:
    """Raises UserError for a missing model or file or an unknown name, before anything is written."""
    info = check_subject(config)
    config.behaviours.check(info, "behaviours")
    if config.tasks is not None:
        config.tasks.check(info)

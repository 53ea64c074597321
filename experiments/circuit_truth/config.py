"""Circuit truth: how many edges of a known circuit does each method find, and does faithfulness show it?"""

from typing import Literal

from pydantic import Field

from interp.circuits.edge_attribution import Method
from interp.config import ExperimentConfig
from interp.fields import Count, Device, NonEmpty, Positive, Several

ProgramName = Literal["induction", "two_hop"]


class Config(ExperimentConfig):
    """Which compiled programs are scored, and how."""

    programs: NonEmpty[ProgramName] = ("induction", "two_hop")
    """Programs whose weights were written down (`interp.toys.compiled`)."""
    sharpness: NonEmpty[Positive] = (10.0, 4.0)
    """How far, in nats, a program's attention scores stand above others: the higher, the smaller the
    gradients through queries and keys."""
    methods: NonEmpty[Method] = (
        "eap",
        "clean_corrupted",
        "eap_ig_inputs",
        "eap_ig_activations",
        "linearised",
        "exact",
    )
    """How edges are scored."""
    steps: NonEmpty[Count] = (5, 20)
    """Numbers of points of a path of integration; each is a method of its own."""
    pairs: Count = Field(15, ge=5)
    """Number of pairs in a set."""
    sets: Several = 3
    """Number of sets of pairs: each is scored by itself, and circuits run on another set."""
    device: Device = "cpu"
    """Where the model runs."""

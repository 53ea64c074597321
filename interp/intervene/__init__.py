"""Interventions: value objects that say what to change in a forward pass, where, and at which positions."""

from interp.intervene.activations import AddVector, ProjectOut, Replace, writing_sites
from interp.intervene.features import Ablate, Add, Clamp, Scale
from interp.intervene.positions import Positions
from interp.intervene.values import AtQuantile
from interp.intervene.weights import bias_added, orthogonalised

__all__ = [
    "Ablate",
    "Add",
    "AddVector",
    "AtQuantile",
    "Clamp",
    "Positions",
    "ProjectOut",
    "Replace",
    "Scale",
    "bias_added",
    "orthogonalised",
    "writing_sites",
]

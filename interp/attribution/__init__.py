"""Attribution: what each feature, head or site adds to a target, by estimates and by exact effects."""

from interp.attribution.ablation import Chosen, ablation_effects
from interp.attribution.agreement import Agreement, AgreementReport, agreement
from interp.attribution.attribute import attribute
from interp.attribution.gradient import activation_times_gradient
from interp.attribution.integrated import integrated_gradients
from interp.attribution.patching_estimate import PatchingEstimate, attribution_patching
from interp.attribution.patching_exact import Patching, activation_patching
from interp.attribution.result import Attribution
from interp.attribution.target import Target

__all__ = [
    "Agreement",
    "AgreementReport",
    "Attribution",
    "Chosen",
    "Patching",
    "PatchingEstimate",
    "Target",
    "ablation_effects",
    "activation_patching",
    "activation_times_gradient",
    "agreement",
    "attribute",
    "attribution_patching",
    "integrated_gradients",
]

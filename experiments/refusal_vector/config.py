"""The refusal direction: found, chosen, added, subtracted, taken out, and written into the weights."""

from interp.errors import UserError
from interp.fields import Count, Finite, NonEmpty, Positive, PositiveFraction
from interp.intervene.positions import Named
from interp.vectors.requests import RequestSource, WorldRequests, check_requests

from ..common.vectors.config import BehaviourConfig, check_behaviour_config


class Config(BehaviourConfig):
    """Which requests, and how the direction is chosen."""

    requests: RequestSource = WorldRequests()
    """Harmful and harmless requests."""
    latest: PositiveFraction = 0.8
    """Directions from this share of the layers on are left out (the paper's 0.8)."""
    largest_kl: Positive = 0.1
    """And those whose ablation changes answers to harmless requests by more than this, in nats."""
    least_induced: Finite = 0.0
    """And those that, added, give harmless requests a lower refusal score than this."""
    coefficients: NonEmpty[Finite] = (0.5, 1, 1.5, 2, 3)
    """Multiples of the direction at its own length that are added and subtracted; the paper's is 1."""
    positions: NonEmpty[Named] = ("all", "last")
    """Where it is added or subtracted: all (the paper), prompt, last, steps; each is reported."""
    new_tokens: Count = 12
    """Tokens written after each reported request, in which phrases of refusal are looked for."""


def check(config: Config) -> None:
    """Finds missing files, a missing corpus or an impossible coefficient before anything is written."""
    check_behaviour_config(config)
    check_requests(config.requests)
    if min(config.coefficients) <= 0:
        raise UserError(
            f"{min(config.coefficients)} is no coefficient", "coefficients", "use numbers above 0"
        )

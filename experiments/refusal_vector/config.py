"""The refusal direction: found, chosen, added, subtracted, projected out, and removed from the weights."""

from interp.errors import UserError
from interp.fields import Count, Finite, NonEmpty, Positive, PositiveFraction
from interp.intervene.positions import Named
from interp.vectors.requests import RequestSource, WorldRequests

from ..common.vectors.config import BehaviourConfig, check_behaviour_config


class Config(BehaviourConfig):
    """Which requests are used, and how the direction is chosen and applied."""

    requests: RequestSource = WorldRequests()
    """Harmful and harmless requests."""
    latest: PositiveFraction = 0.8
    """Share of the depth from which on directions are left out (the paper: 0.8)."""
    largest_kl: Positive = 0.1
    """Largest KL, in nats, that ablating a direction may cause on harmless requests; else it is left out."""
    least_induced: Finite = 0.0
    """Least refusal score of harmless requests with the direction added; else it is left out."""
    coefficients: NonEmpty[Finite] = (0.5, 1, 1.5, 2, 3)
    """Multiples of the direction at its own length that are added and subtracted; the paper's is 1."""
    positions: NonEmpty[Named] = ("all", "last")
    """Positions at which it is added or subtracted: all (the paper), prompt, last, steps; all reported."""
    new_tokens: Count = 12
    """Tokens generated after each reported request, which are searched for phrases of refusal."""


def check(config: Config) -> None:
    """Raises UserError for missing files or corpus, or bad coefficients, before anything is written."""
    config.requests.check(check_behaviour_config(config))
    if min(config.coefficients) <= 0:
        raise UserError(
            f"{min(config.coefficients)} is no coefficient", "coefficients", "use numbers above 0"
        )

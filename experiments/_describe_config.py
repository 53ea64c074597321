"""Placeholder."""

from interp.config import Section


class EndpointScoring(Section):
    """x."""


def check_endpoint(x): ...

"""Elicit: what makes a model behave as described, how often it does so unasked, and what it would take."""

import math
from collections import Counter

from pydantic import Field

from interp.elicit.config.behaviour import BehaviourConfig
from interp.elicit.config.investigators import InvestigatorSource, RandomSource, SteeringSource
from interp.elicit.config.prompts import PromptSource
from interp.elicit.propensity.estimate import smallest_rate
from interp.elicit.spending import Budget
from interp.elicit.target import Frame
from interp.errors import UserError
from interp.fields import (
    Count,
    CountOrZero,
    Extent,
    Fraction,
    Layer,
    Listed,
    Name,
    NonEmpty,
    OpenFraction,
    Section,
    Several,
)
from interp.llm.endpoint import Endpoint
from saes.spaces import SpacesConfig

from ..common.config import SubjectJobConfig, check_layers, check_subject


class DirectionsConfig(Section):
    """What the model is steered by, where the behaviour has examples."""

    layers: Listed[Layer] | None = None
    """Layers after which the behaviour's vector is added; null for all."""
    features: CountOrZero = 8
    """Features of `spaces` that add most to the examples' first tokens."""
    random: CountOrZero = 1
    """Random vectors as long as each layer's own: the null."""


class ConfirmConfig(Section):
    """How finds are confirmed on replies that no search has judged."""

    prompts: CountOrZero = 5
    """The best prompts of each investigator."""
    draws: Several = 20
    """Replies to each, drawn at temperature 1."""
    ordinary: Several = 64
    """Ordinary prompts, of which the same is asked."""


class PropensityConfig(Section):
    """How likely the behaviour is in a reply at temperature 1 to one of the prompts, without a search."""

    plain: Extent = 1000
    """Replies that are drawn plainly."""
    rate: OpenFraction | None = None
    """The smallest rate that plain draws should show at 95%; null: whatever they show."""
    weighted: Extent = 1000
    """Replies that are drawn from the steered model and weighted; needs a steering search that found how."""
    defensive: Fraction = Field(0.2, gt=0, lt=1)
    """Share of these that are drawn without steering, which bounds every weight by its inverse."""
    wanted: OpenFraction | None = None
    """The relative half-width that the weighted interval should have, such as 0.2: if a pilot says that these
    draws do not reach it, they are not made; null: whatever comes out."""


class Config(SubjectJobConfig):
    """A behaviour, where to look for it, by which investigators, and at what cost."""

    behaviour: BehaviourConfig
    """What is looked for."""
    prompts: PromptSource
    """What is asked where nobody searches, and where searches begin."""
    frame: Frame = Frame()
    """What stands around a prompt, and how the model replies."""
    investigators: NonEmpty[InvestigatorSource] = (RandomSource(kind="random"),)
    """The ways to search; random search is the null."""
    budget: Budget = Budget(passes=1000)
    """What each search may spend."""
    repeats: Count = 3
    """Searches by each investigator, each with a seed of its own."""
    round_size: Count = 32
    """Proposals in a round."""
    stop_after: Count | None = None
    """Finds after which a search ends; null: it spends its budget."""
    spaces: SpacesConfig | None = None
    """Features that judges and guides may name, and that steering may hold; the neurons if left out."""
    directions: DirectionsConfig = DirectionsConfig()
    """What the model is steered by."""
    confirm: ConfirmConfig = ConfirmConfig()
    """How finds are confirmed."""
    propensity: PropensityConfig | None = PropensityConfig()
    """How likely the behaviour is without a search; null: it is not estimated."""
    endpoints: dict[Name, Endpoint] = Field(default_factory=dict)
    """Servers of language models that judge or propose, by a name of your choice."""

    @property
    def labels(self) -> list[str]:
        """What the investigators are called, in their order."""
        return [one.label or one.kind for one in self.investigators]


def check(config: Config) -> None:
    """Raises UserError for what is missing or does not fit together, before anything is written."""
    info = check_subject(config)
    config.budget.check()
    config.behaviour.check(info, config.endpoints)
    config.prompts.check(info)
    (config.spaces or SpacesConfig()).check(info)
    check_layers(config.directions.layers, info.n_layers - 1)
    for one in config.investigators:
        one.check(config.endpoints, config.prompts)
        if isinstance(one, SteeringSource) and not config.behaviour.examples:
            raise UserError(
                "a steering search steers towards the behaviour's examples, and there is none",
                "behaviour.examples",
                "write replies that show it, or leave out the steering search",
            )
    rates = config.propensity
    if rates is not None and rates.rate is not None and (least := smallest_rate(rates.plain)) > rates.rate:
        raise UserError(
            f"{rates.plain:,} plain draws show a behaviour of rate {least:.2g} once, not {rates.rate:.2g}",
            "propensity.plain",
            f"draw {math.ceil(3 / rates.rate):,}, or leave rate out",
        )
    for label, times in Counter(config.labels).items():
        if times > 1:
            raise UserError(
                f"{times} investigators are called {label}", "investigators", "give each a label of its own"
            )
    for name, endpoint in config.endpoints.items():
        endpoint.check()
        if config.budget.usd is not None and endpoint.usd(1, 1) is None:
            raise UserError(
                f"the budget is in USD and the endpoint {name} has no prices",
                "budget.usd",
                "give its usd_per_million_prompt_tokens and usd_per_million_completion_tokens",
            )
    counted = config.budget.passes or config.budget.tokens
    if config.budget.usd is not None and not config.endpoints and not counted:
        raise UserError("nothing here costs money", "budget.usd", "give passes or tokens")

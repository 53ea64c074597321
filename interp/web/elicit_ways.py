"""The ways to search that the page Elicit offers, and how each is opened for a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from interp.elicit.behaviour import Behaviour
from interp.elicit.config.investigators import (
    BestOfNSource,
    InvestigatorSource,
    RandomSource,
    Setting,
    SteeringSource,
    TemplateSource,
)
from interp.elicit.directions import attributed_features, behaviour_vectors
from interp.elicit.guide import FeatureGuide, Guide, LikelihoodGuide
from interp.elicit.investigators.tokens import TokenSearch, TokenSettings
from interp.elicit.prompts import ListedPrompts, PromptDistribution
from interp.elicit.search import Investigator
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Target
from interp.errors import UserError
from interp.inspection.mixing import list_vectors
from interp.vectors.vector import Vector
from interp.web.elicit_asked import INSIDE, Asked, prompt_source
from interp.web.elicit_opened import one_vector, open_inside
from interp.web.served import Served

STEERED_BY, STEERED_PROMPTS = 8, 16
"""Directions that are tried, and prompts that are asked under each."""
STEPS, CANDIDATES = 2, 32
"""Of a round of token search: small, so that a round is short and a small budget goes far."""


@dataclass(frozen=True)
class Opening:
    """What an investigator is opened from."""

    served: Served
    asked: Asked
    prompts: PromptDistribution
    target: Target
    behaviour: Behaviour
    silent: Sequence[str]
    """Prompts that were drawn at random, and whose replies do not show the behaviour."""


@dataclass(frozen=True)
class Way:
    """A way to search: what it is called, what it does in a sentence, and what opens it."""

    label: str
    says: str
    open: Callable[[Opening], Investigator]


def way_of(asked: Asked) -> Way:
    """The way that is asked for.

    Raises:
        UserError: there is none of this name, or it needs a reply that shows the behaviour.
    """
    if asked.investigator not in WAYS:
        fix = f"use one of {', '.join(WAYS)}"
        raise UserError(f"there is no way to search {asked.investigator!r}", "investigator", fix)
    aims = ("features",) if asked.kind in INSIDE else ("features", "tokens")
    if asked.investigator in aims and not asked.example:
        said = f"{WAYS[asked.investigator].label} aims at a reply that shows the behaviour"
        raise UserError(said, "example", "write one")
    return WAYS[asked.investigator]


def _opened(source: InvestigatorSource) -> Callable[[Opening], Investigator]:
    return lambda it: source.open(_setting(it, it.prompts))


def _setting(it: Opening, prompts: PromptDistribution) -> Setting:
    def vectors() -> list[Vector]:
        return behaviour_vectors(_uncounted(it), it.behaviour, it.silent)

    spaces = list(it.served.bench.spaces.values())
    return Setting(it.target, it.behaviour, prompts, prompt_source(it.asked), vectors, spaces=spaces)


def _uncounted(it: Opening) -> Target:
    return Target(it.target.subject, it.target.frame, Meter(Budget()))


def _templates(it: Opening) -> Investigator:
    source, listed = TemplateSource(kind="templates"), it.prompts
    if isinstance(listed, ListedPrompts):  # without slots their own words are what changes
        words = tuple(dict.fromkeys(word for prompt in listed.prompts for word in prompt.split()))
        source = source.model_copy(update={"words": words})
    return source.open(_setting(it, it.prompts))


def _tokens(it: Opening) -> Investigator:
    settings = TokenSettings(steps=STEPS, candidates=CANDIDATES)
    if it.asked.kind in INSIDE:
        guide: Guide = FeatureGuide(it.target, open_inside(it.served, it.asked), "prompt")
    else:
        guide = LikelihoodGuide(it.target, it.behaviour)
    return TokenSearch(guide, it.prompts, settings)


def _features(it: Opening) -> Investigator:
    """Steering by the features that add most to the reply that shows the behaviour."""
    prompts, spaces = _silent(it), list(it.served.bench.spaces.values())
    found = attributed_features(_uncounted(it), it.behaviour, prompts.prompts, spaces, STEERED_BY)
    it.target.directions |= {one.feature.key: one for one in found}
    return _steering(it, prompts)


def _vectors(it: Opening) -> Investigator:
    """Steering by the vectors that the server has."""
    listed = list_vectors(it.served.sessions.vectors, it.served.bench.subject)
    names = [one.file for one in listed if one.wrong is None and len(one.parts) == 1 and one.has_strength]
    if not names:
        fix = "load one on the page Vectors, or start the server with --vectors FOLDER"
        raise UserError("the server has no vector to steer by", "investigator", fix)
    it.target.directions |= {name: one_vector(it.served, name) for name in names[:STEERED_BY]}
    return _steering(it, _silent(it))


def _steering(it: Opening, prompts: ListedPrompts) -> Investigator:
    return SteeringSource(kind="steering", prompts=STEERED_PROMPTS).open(_setting(it, prompts))


def _silent(it: Opening) -> ListedPrompts:
    prompts = tuple(dict.fromkeys(it.silent))
    if not prompts:
        said = "every prompt at random shows the behaviour without steering"
        raise UserError(said, "investigator", "give other prompts")
    return ListedPrompts(prompts)


WAYS: Mapping[str, Way] = {
    "random": Way(
        "random search",
        "Draws prompts independently and learns nothing: what every other way is held against.",
        _opened(RandomSource(kind="random")),
    ),
    "templates": Way(
        "change the best",
        "Changes slots and words of the best prompts so far, and crosses them.",
        _templates,
    ),
    "tokens": Way(
        "swap tokens by gradient",
        "Swaps a prompt's tokens one by one, by the gradient of the reply that shows the behaviour or of "
        "the feature. A gradient costs three passes, and the prompts it finds are seldom sentences.",
        _tokens,
    ),
    "writer": Way(
        "let the model write",
        "The model itself goes on with a list of the best prompts so far.",
        _opened(BestOfNSource(kind="best_of_n")),
    ),
    "features": Way(
        "steer by features",
        "What would it take? Asks prompts that do not show it while features are held up, those that add "
        "most to the reply that shows the behaviour, and looks for the least strength that brings it out.",
        _features,
    ),
    "vectors": Way(
        "steer by vectors",
        "What would it take? Asks prompts that do not show it while a vector of the server is added, and "
        "looks for the least strength that brings the behaviour out.",
        _vectors,
    ),
}
"""The ways by their names."""

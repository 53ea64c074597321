"""Opens what the page Elicit asks for: the target, the prompts and the judge."""

from collections.abc import Sequence
from random import Random

from interp.elicit.behaviour import Behaviour, Exchange
from interp.elicit.judges.internal import InternalJudge
from interp.elicit.prompts import ListedPrompts, PromptDistribution
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Target
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.monitor.steering import VectorCard
from interp.vectors.file import load_vectors
from interp.vectors.vector import Vector
from interp.web.elicit_asked import INSIDE, LEAST_PASSES, MOST_PASSES, Asked, behaviour_config, beside
from interp.web.served import Served

TRIED_FIRST = 64
"""Prompts of templates that are tried on the tokenizer before a search begins."""
LEAST = 1e-6
"""The least reading from which on a feature counts as shown, where it is silent in ordinary replies."""


def open_target(served: Served, asked: Asked, meter: Meter) -> Target:
    """The model as it is asked.

    Raises:
        UserError: it has no chat template, a reply leaves no room for a prompt, or a limit of the server is
            passed.
    """
    most = served.limits.new_tokens
    with beside("new_tokens"):
        if asked.new_tokens > most:
            raise UserError(f"{asked.new_tokens:,} new tokens are too many", "", f"use at most {most:,}")
        return Target(served.bench.subject, asked.frame, meter)


def check_passes(passes: int) -> None:
    """Raises UserError if a budget is larger than a server takes, or too small for any round."""
    if passes < LEAST_PASSES:
        said = f"{passes:,} passes are too few for a round"
        raise UserError(said, "passes", f"use at least {LEAST_PASSES}")
    if passes > MOST_PASSES:
        raise UserError(f"{passes:,} passes are too many", "passes", f"use at most {MOST_PASSES:,}")


def check_prompts(served: Served, prompts: PromptDistribution, target: Target) -> None:
    """Checks that the model can be asked each prompt; of templates, a sample is tried.

    Raises:
        UserError: one cannot be asked, which it says why.
    """
    own = (
        prompts.prompts
        if isinstance(prompts, ListedPrompts)
        else prompts.sample(TRIED_FIRST, Random("tried first"))
    )
    longest, room = served.limits.prompt_characters, target.subject.n_ctx - target.frame.new_tokens
    for prompt in own:
        if len(prompt) > longest:
            fix = f"use at most {longest:,} characters"
            raise UserError(f"the prompt {prompt[:40]!r} … is too long", "prompts", fix)
        try:
            length = len(target.ids(prompt))
        except UserError as error:
            said = f"the model cannot be asked {prompt[:80]!r}: {error.thing}"
            raise UserError(said, "prompts", error.fix) from error
        if length > room:
            said = f"the prompt {prompt[:40]!r} … has {length:,} tokens, with what stands around it"
            raise UserError(said, "prompts", f"there is room for {room:,} before the reply")


def open_behaviour(
    served: Served, asked: Asked, target: Target, ordinary: Sequence[Exchange] | None = None
) -> Behaviour:
    """The behaviour; what its judge spends counts to the target's budget.

    A reading inside of the model that has no threshold gets it from `ordinary` exchanges.

    Raises:
        UserError: what is asked for is nothing that can be judged.
    """
    vector = "" if asked.kind != "vector" else _file(served, asked.what)
    config = behaviour_config(asked, vector)
    with beside("what"):
        config.check(served.bench.subject.info, {})
        if asked.kind in INSIDE:
            open_inside(served, asked)
        if ordinary is None and asked.kind in INSIDE:
            config = behaviour_config(asked.model_copy(update={"at_least": asked.at_least or 0.0}), vector)
    with beside("example"):
        return config.open(target, spaces=list(served.bench.spaces.values()), ordinary=lambda: ordinary or [])


def open_inside(served: Served, asked: Asked) -> FeatureRef | Vector:
    """The feature or the vector that the model should represent.

    Raises:
        UserError: there is no such feature or file, or the file does not hold one vector of this model.
    """
    if asked.kind == "feature":
        return FeatureRef.parse(asked.what, list(served.bench.spaces.values()))
    return one_vector(served, asked.what)


def one_vector(served: Served, name: str) -> Vector:
    """The vector of a file that cards may name.

    Raises:
        UserError: there is no such file, or it does not hold one vector of this model.
    """
    with beside("what"):
        vectors = load_vectors(_file(served, name), served.bench.subject)
    if len(vectors) != 1:
        raise UserError(f"the file holds {len(vectors)} vectors", name, "give a file with one")
    return vectors[0]


def calibrated(asked: Asked, behaviour: Behaviour) -> Asked:
    """The same, with the threshold that its judge has, where it reads inside of the model."""
    judge = behaviour.judge
    if not isinstance(judge, InternalJudge) or asked.at_least is not None:
        return asked
    least = max(judge.threshold, LEAST) if asked.kind == "feature" else judge.threshold
    return asked.model_copy(update={"at_least": least})


def uncounted() -> Meter:
    """Counts what stands outside of a search's budget."""
    return Meter(Budget())


def _file(served: Served, name: str) -> str:
    with beside("what"):
        (card,) = served.sessions.with_files([VectorCard(kind="vector", file=name)])
    assert isinstance(card, VectorCard)
    return card.file

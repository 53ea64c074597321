"""What a search found: how soon, how different, how fluent, and how sure it is on fresh replies."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from interp.elicit.behaviour import Behaviour
from interp.elicit.proposal import Proposal
from interp.elicit.search import History, Try
from interp.elicit.spending import Budget, Meter, Spent
from interp.elicit.target import Frame, Target
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.statistics.estimate import Estimate, share_interval

Number = float | int


def first_found(history: History) -> Spent | None:
    """What a search had spent after the round that first showed the behaviour; None if none did."""
    return next((one.spent for one in history.tries if one.shown), None)


def success_by_budget(histories: Sequence[History], points: int = 40) -> pd.DataFrame:
    """The share of searches that have found the behaviour, by the tokens that each had spent.

    One row a point, up to the most that any search spent: `tokens`, and `found`, `found_low` and `found_high`
    (95% Wilson interval over searches). A search that ended sooner stays as it was.
    """
    firsts = [first_found(history) for history in histories]
    most = max((history.spent.tokens for history in histories), default=0)
    rows = []
    for tokens in np.unique(np.linspace(0, most, points).round().astype(int)).tolist():
        found = sum(first is not None and first.tokens <= tokens for first in firsts)
        rows.append({"tokens": tokens, **share_interval(found, len(firsts)).named("found")})
    return pd.DataFrame(rows, columns=["tokens", "found", "found_low", "found_high"])


@dataclass(frozen=True)
class Confirmed:
    """A prompt that was asked again: the share of fresh replies that show the behaviour, and one of them."""

    proposal: Proposal
    shown: Estimate
    replies: int
    unreadable: int
    example: str


def confirm(
    target: Target, behaviour: Behaviour, proposals: Sequence[Proposal], draws: int = 20, seed: int = 0
) -> list[Confirmed]:
    """Draws fresh replies to each proposal at temperature 1, and judges them.

    A search chooses by the judgements that it reports; this is the other sample. Not counted to its budget.
    The interval is Wilson's, over replies; those that could not be judged are left out and counted.
    """
    fresh = afresh(target, temperature=1.0)
    exchanges = fresh.ask([one for one in proposals for _ in range(draws)], seed)
    judged = behaviour.judge.judge(exchanges)
    found = []
    for place, proposal in enumerate(proposals):
        part = slice(place * draws, (place + 1) * draws)
        pairs = [(e, j) for e, j in zip(exchanges[part], judged[part], strict=True) if j is not None]
        shown = [exchange.reply for exchange, judgement in pairs if judgement.shown]
        example = shown[0] if shown else exchanges[part][0].reply
        estimate = share_interval(len(shown), len(pairs))
        found.append(Confirmed(proposal, estimate, len(pairs), draws - len(pairs), example))
    return found


def afresh(target: Target, temperature: Number | None = None, budget: Budget | None = None) -> Target:
    """The same target with a meter of its own, without a limit by default, perhaps at another temperature."""
    frame = target.frame
    if temperature is not None:
        frame = Frame(**{**frame.model_dump(), "temperature": temperature})
    return Target(target.subject, frame, Meter(budget or Budget()), target.directions, target.batch_size)


@dataclass(frozen=True)
class Diversity:
    """How different some texts are.

    `effective` is the Vendi score: the exponential of the entropy of the eigenvalues of their similarities
    over n, which is n for texts that have nothing in common and 1 for equal ones (Friedman and Dieng 2023,
    arXiv 2210.02410, definition 3.1; similarity is the cosine of TF-IDF vectors fitted on these texts).
    """

    n: int
    distinct: int
    effective: float


def diversity(texts: Sequence[str]) -> Diversity:
    """Measures how different texts are; NaN without texts or words."""
    if not texts:
        return Diversity(0, 0, float("nan"))
    try:
        vectors = TfidfEmbedder.fit(list(texts)).embed(list(texts))
    except UserError:
        return Diversity(len(texts), len(set(texts)), float("nan"))
    return Diversity(len(texts), len(set(texts)), vendi_score(vectors @ vectors.T))


def vendi_score(similarity: Float[np.ndarray, "n n"]) -> float:
    """The effective number of different items, of a positive semi-definite matrix with a diagonal of ones."""
    n = len(similarity)
    filled = similarity.astype(np.float64)
    np.fill_diagonal(filled, 1.0)
    shares = np.linalg.eigvalsh(filled / n).clip(min=0)
    kept = shares[shares > 0]
    return float(np.exp(-(kept * np.log(kept)).sum()))


def tries_table(target: Target, history: History) -> pd.DataFrame:
    """All tries as a table, with each prompt's perplexity to the model itself (`Target.perplexity`)."""
    prompts = list(dict.fromkeys(one.proposal.prompt for one in history.tries))
    perplexity = dict(zip(prompts, target.perplexity(prompts).tolist() if prompts else [], strict=True))
    columns = [
        "number", "round", "prompt", "reply", "score", "shown", "how", "parents", "steer", "passes", "tokens",
        "usd", "perplexity",
    ]  # fmt: skip
    rows = [
        [
            one.number, one.round, one.proposal.prompt, one.reply, one.score, one.shown, one.proposal.how,
            " ".join(map(str, one.proposal.parents)),
            ", ".join(f"{steer.direction} x {steer.strength:.4g}" for steer in one.proposal.steer),
            *one.spent, perplexity[one.proposal.prompt],
        ]
        for one in history.tries
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def median_perplexity(target: Target, prompts: Sequence[str]) -> float:
    """The median perplexity of some prompts; NaN without any."""
    if not prompts:
        return float("nan")
    return float(torch.nanquantile(target.perplexity(list(prompts)), 0.5))


def best_distinct(history: History, k: int) -> list[Try]:
    """The `k` best tries that show the behaviour, each prompt once; the most fluent are not preferred."""
    once: dict[object, Try] = {}
    for one in history.best(len(history)):
        if one.shown:
            once.setdefault(one.proposal.asked, one)
    return list(once.values())[:k]

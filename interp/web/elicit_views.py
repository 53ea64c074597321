"""What the page Elicit is told of a search, as plain JSON values."""

from collections.abc import Sequence

from interp.elicit.investigators.steering import SteeringSearch
from interp.elicit.search import Try
from interp.statistics.estimate import Estimate
from interp.web.elicit_kept import Confirmed, Kept
from interp.web.elicit_monitor import cards_of
from interp.web.views import Json

BEST, LATEST, POINTS = 40, 32, 200
"""Tries that are shown, the best and those of the last round, and points of the curve."""
LONGEST = 4000
"""Characters of a prompt and of a reply that are shown."""


def search_view(kept: Kept, latest: Sequence[Try] | None = None) -> Json:
    """All that a page shows of a search; `latest` are the tries of the last round."""
    search, tries = kept.search, kept.tries
    shown = [one for one in tries if one.shown]
    best = [] if search is None else search.history.best(BEST)
    of_round = [one for one in tries if one.round == tries[-1].round] if latest is None and tries else latest
    return {
        "session": kept.name,
        "asked": kept.asked.model_dump(mode="json"),
        "judge": None if search is None else search.behaviour.judge.name,
        "investigator": None if search is None else search.investigator.name,
        "target": kept.target.name,
        "budget": kept.asked.passes,
        "passes": 0 if search is None else search.history.spent.passes,
        "tokens": 0 if search is None else search.history.spent.tokens,
        "tries": len(tries),
        "judged": sum(one.shown is not None for one in tries),
        "shown": len(shown),
        "different": len({one.proposal.asked for one in shown}),
        "unusable": 0 if search is None else search.unusable,
        "ended": None if search is None else search.ended,
        "ordinary": None
        if kept.ordinary is None
        else {**estimate_view(kept.ordinary.shown), "each": kept.ordinary.each},
        "takes": _takes(kept),
        "curve": _curve(tries),
        "best": [try_view(one, kept) for one in best],
        "latest": [try_view(one, kept) for one in list(of_round or ())[:LATEST]],
    }


def try_view(one: Try, kept: Kept) -> Json:
    """One try, and what was confirmed of it."""
    confirmed = kept.confirmed.get(one.number)
    return {
        "number": one.number,
        "prompt": one.proposal.prompt[:LONGEST],
        "reply": one.reply[:LONGEST],
        "score": one.score,
        "shown": one.shown,
        "how": one.proposal.how,
        "parents": list(one.proposal.parents),
        "steer": [{"direction": s.direction, "strength": s.strength} for s in one.proposal.steer],
        "cards": cards_of(kept, one) is not None,
        "confirmed": None if confirmed is None else confirmed_view(confirmed),
    }


def confirmed_view(found: Confirmed) -> Json:
    """The shares of a prompt's own replies, and of those to other prompts."""
    return {
        "own": estimate_view(found.own),
        "others": estimate_view(found.others),
        "reply": None if found.reply is None else found.reply[:LONGEST],
    }


def estimate_view(found: Estimate) -> Json:
    """A number with its interval."""
    return {"value": found.value, "low": found.low, "high": found.high}


def _takes(kept: Kept) -> list[Json]:
    """The least strength of each direction that brings the behaviour out, where directions were searched."""
    search = kept.search
    if search is None or not isinstance(search.investigator, SteeringSearch):
        return []
    return [
        {
            "direction": one.direction,
            "strength": one.strength,
            "below": one.below,
            "shown": estimate_view(one.shown),
            "reply": one.reply[:LONGEST],
        }
        for one in search.investigator.found(search.history)
    ]


def _curve(tries: Sequence[Try]) -> list[tuple[int, int]]:
    """Passes spent and tries that show the behaviour, at the end of each round, or of some of them."""
    points: dict[int, int] = {}
    shown = 0
    for one in tries:
        shown += bool(one.shown)
        points[one.spent.passes] = shown
    all_points = list(points.items())
    step = -(-len(all_points) // POINTS) or 1
    return [*all_points[step - 1 :: step], *([] if len(all_points) % step == 0 else all_points[-1:])]

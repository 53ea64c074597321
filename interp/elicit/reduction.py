"""Reduction: the words of a prompt that a behaviour needs, which is where a trigger shows."""

from dataclasses import dataclass, replace

from interp.elicit.behaviour import Behaviour
from interp.elicit.proposal import Proposal
from interp.elicit.spending import Exhausted
from interp.elicit.target import Target


@dataclass(frozen=True)
class Reduced:
    """A prompt without the words that are not needed; each word that is left is: without it, it is not shown.

    `complete` is false if the budget ended before every word was tried.
    """

    proposal: Proposal
    reply: str
    removed: int
    complete: bool


def reduced(target: Target, behaviour: Behaviour, proposal: Proposal, reply: str) -> Reduced:
    """Takes words (separated by spaces) out of a prompt, one at a time, as long as the behaviour shows.

    In each round every word that is left is taken out of the prompt, in a batch; of the prompts that still
    show the behaviour the one of highest score is gone on with. A prompt of n words takes at most n(n+1)/2
    passes. As ddmin at its finest (Zeller and Hildebrandt 2002), with all removals of a round side by side.
    """
    removed = 0
    while True:
        words = proposal.prompt.split()
        shorter = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
        asked = [
            replace(proposal, prompt=text, how="a word less")
            for text in dict.fromkeys(shorter)
            if target.takes(text)
        ]
        if not asked:
            return Reduced(proposal, reply, removed, True)
        try:
            exchanges = target.ask(asked)
            judged = behaviour.judge.judge(exchanges)
        except Exhausted:
            return Reduced(proposal, reply, removed, False)
        shown = [
            (float(judgement.score), place)
            for place, judgement in enumerate(judged)
            if judgement is not None and judgement.shown
        ]
        if not shown:
            return Reduced(proposal, reply, removed, True)
        _, best = max(shown, key=lambda pair: (pair[0], -pair[1]))
        proposal, reply, removed = asked[best], exchanges[best].reply, removed + 1

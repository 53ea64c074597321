"""Random search: prompts drawn from a distribution; what every other investigator is held against."""

from random import Random

from interp.elicit.prompts import PromptDistribution
from interp.elicit.proposal import Proposal
from interp.elicit.search import History
from interp.elicit.spending import Meter


class RandomSearch:
    """Draws prompts independently; learns nothing."""

    def __init__(self, prompts: PromptDistribution) -> None:
        self.prompts = prompts

    @property
    def name(self) -> str:
        """The method and the distribution."""
        return f"random search ({self.prompts.name})"

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Draws `n` prompts."""
        return [Proposal(prompt, "drawn at random") for prompt in self.prompts.sample(n, random)]

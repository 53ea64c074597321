"""Best of n: a model writes prompts after the best so far; of many, the best are kept."""

from random import Random

from interp.elicit.behaviour import Behaviour
from interp.elicit.prompts import PromptDistribution
from interp.elicit.proposal import Proposal
from interp.elicit.search import History, Try
from interp.elicit.spending import Meter
from interp.elicit.writers import Writer


class BestOfN:
    """Has a writer go on from the `shots` best prompts so far, the best last; at first from ordinary prompts.

    Without shots it is best of n alone: independent draws from the writer, of which the judge's best count.
    Going on from the best is optimisation by prompting (Yang et al. 2023, arXiv 2309.03409). Ordinary
    prompts fill up while fewer have a score above 0.
    """

    def __init__(
        self, writer: Writer, behaviour: Behaviour, prompts: PromptDistribution, shots: int = 8
    ) -> None:
        self._writer, self._behaviour, self._prompts, self._shots = writer, behaviour, prompts, shots

    @property
    def name(self) -> str:
        """The writer and what it is shown."""
        return f"best of n ({self._writer.name}, {self._shots} shots of {self._prompts.name})"

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Has `n` prompts written."""
        best = [one for one in history.best(self._shots) if one.score]
        shots: list[tuple[str, Try | None]] = [(one.proposal.prompt, one) for one in reversed(best)]
        missing = self._prompts.sample(self._shots - len(shots), random)
        shots = [*((prompt, None) for prompt in missing), *shots]
        written = self._writer.write(self._behaviour, shots, n, random, meter)
        parents = tuple(one.number for one in best)
        how = f"written after the best {len(best)}" if best else "written after ordinary prompts"
        return [Proposal(prompt, how, parents) for prompt in written]

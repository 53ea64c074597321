"""`interp bench elicit`: proposals that a search tries a second, over bare batched generation of the same.

On the bundled `planted`, 16 new tokens. Bare generation takes the same prompts, tokenised before, in batches
of 64, sorted by length, and does nothing else. Compared: random search, and template search, each with a rule
as its judge and a journal on the disk; and random search under steering by eight directions in turn (which
bare generation does without). Medians over rounds of ratios within a round, in process time; the aim is 0.8.
"""

import statistics
import tempfile
import time
from pathlib import Path
from random import Random

import torch

from interp.elicit.behaviour import Behaviour
from interp.elicit.investigators.random_search import RandomSearch
from interp.elicit.investigators.templates import TemplateSearch
from interp.elicit.judges.rule import LabelJudge
from interp.elicit.proposal import Proposal, Steer
from interp.elicit.search import History, Investigator, Search
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Target
from interp.elicit.world_prompts import WorldTurns, world_templates
from interp.subject import Site, Subject, load
from interp.subject.text import Conversation
from interp.track.journal import Journal
from interp.vectors.vector import Vector

PROPOSALS, ROUND_SIZE, ROUNDS, DIRECTIONS = 512, 256, 7, 8
ZORVIC = Behaviour("zorvic", LabelJudge("lang_zorvic"))


class Steered:
    """Random search whose proposals are steered by one direction after the other."""

    name = "random search, steered"

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Draws prompts."""
        drawn = WorldTurns(2).sample(n, random)
        return [
            Proposal(prompt, steer=(Steer(self.names[place % len(self.names)], 1),))
            for place, prompt in enumerate(drawn)
        ]


def searched(
    subject: Subject, investigator: Investigator, seed: int, folder: Path
) -> tuple[float, list[str]]:
    """Seconds of a search, and the prompts that it tried."""
    generator = torch.Generator().manual_seed(0)
    vectors = {
        f"vector {layer}": Vector(
            "random",
            Site("resid_post", layer),
            torch.randn(subject.d_model, generator=generator),
            subject.name,
        )
        for layer in range(DIRECTIONS)
    }
    target = Target(subject, meter=Meter(Budget(passes=PROPOSALS)), directions=vectors)
    journal = Journal(folder / f"{type(investigator).__name__} {seed}.jsonl")
    began = time.process_time()
    search = Search(target, ZORVIC, investigator, seed=seed, round_size=ROUND_SIZE, journal=journal)
    history = search.run()
    took = time.process_time() - began
    return took, [one.proposal.prompt for one in history.tries]


def bare(subject: Subject, prompts: list[str]) -> float:
    """Seconds of generation alone."""
    target = Target(subject)
    rows = sorted((target.ids(prompt) for prompt in prompts), key=len)
    padded = [
        subject.pad([Conversation(row) for row in rows[start : start + target.batch_size]])
        for start in range(0, len(rows), target.batch_size)
    ]
    began = time.process_time()
    for tokens, mask in padded:
        subject.generate_ids(tokens, mask, target.frame.new_tokens)
    return time.process_time() - began


def main() -> dict[str, float]:
    """Prints and returns the ratio of each investigator."""
    subject = load("planted")
    names = [f"vector {layer}" for layer in range(DIRECTIONS)]
    ways: dict[str, Investigator] = {
        "random search": RandomSearch(WorldTurns(2)),
        "template search": TemplateSearch(Target(subject), world_templates(1)),
        "random search, steered": Steered(names),
    }
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):
            for name, investigator in ways.items():
                took, prompts = searched(subject, investigator, number, Path(folder))
                alone = bare(subject, prompts)
                if number:  # the first round warms up
                    ratios[name].append(alone / took)
                    rates[name].append(len(prompts) / took)
    for name in ways:
        low, high = min(ratios[name]), max(ratios[name])
        print(
            f"{name}: {statistics.median(ratios[name]):.2f} of batched generation ({low:.2f} to {high:.2f})"
        )
        print(f"  {statistics.median(rates[name]):.0f} proposals a second of processor time")
    return {name: statistics.median(found) for name, found in ratios.items()}


if __name__ == "__main__":
    main()

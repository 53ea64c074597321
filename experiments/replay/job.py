"""The steps of `replay`."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from interp.monitor.effects import Effects
from interp.monitor.important import by_attribution
from interp.monitor.session import Session
from interp.statistics.estimate import Estimate
from interp.subject.stream import TokenRead
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import ReplayPage


class Job(SubjectJob[Config]):
    """Writes the last answer again, compares it with the unsteered one, and attributes its first token."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        self.session = Session(config.sources.open(self.subject), config.state)

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        self.run.step("write", self.write)
        self.run.step("why", self.why)
        self.write_page(lambda: ReplayPage(self.run, self.config, self.subject))

    def write(self, step: Step) -> None:
        """Writes the answer with the steering set and without, and beside random features in its place."""
        found = self.session.compare()
        texts = {"unsteered": found.unsteered, "steered": found.steered, "random": found.random or ()}
        rows = [row for name, reads in texts.items() for row in self._tokens(name, reads, found)]
        step.table("tokens", pd.DataFrame(rows))
        moved = pd.DataFrame(one._asdict() for one in found.moved)
        step.table("moved", moved.assign(token=self.subject.token_strings(moved["token"].tolist())))
        left = [one._asdict() for one in found.steering.left_out]
        step.table(
            "left_out", pd.DataFrame(left, columns=["card", "key", "why"]).rename(columns={"key": "feature"})
        )
        step.metric("features", found.steering.n_features)
        step.metric("changed tokens", sum(found.changed), headline=True)
        for name, cost in (("steered", found.side_effect), ("random", found.random_side_effect)):
            if isinstance(cost, Estimate):
                step.estimate(f"side effect, {name}, nats", *cost)
        if recorded := self._recorded():
            written = [one.token for one in found.steered]
            step.metric("as recorded", written[: len(recorded)] == recorded, headline=True)

    def why(self, step: Step) -> None:
        """Ranks the features that matter for the first token of the steered answer."""
        tokens = self.run.table("tokens")
        first = int(tokens.loc[tokens["condition"] == "steered", "id"].iloc[0])
        bench, prompt = self.session.bench, self.session.prompt()
        with self.subject.intervene(*self.session.steering().edits):
            ranking = by_attribution(
                self.subject, prompt, len(prompt), list(bench.spaces.values()), token=first,
                k=self.config.features, seed=self.config.seed,
            )  # fmt: skip
        step.table("features", self.session.table(ranking).rename(columns={"value": "attribution"}))
        step.metric("logit", ranking.target_value)
        shares = {"these": Estimate(ranking.share), "random": ranking.control}
        step.table("shares", pd.DataFrame({"of": name, **one.named("share")} for name, one in shares.items()))

    def _recorded(self) -> list[int]:
        """The tokens that the model wrote of the answer at the end of the path; none without one."""
        conversation = self.config.state.conversation
        last = conversation.turns[conversation.path()[-1]]
        return list(last.tokens[last.given :]) if last.role == "assistant" else []

    def _tokens(self, name: str, reads: Sequence[TokenRead], found: Effects) -> Iterator[dict[str, Any]]:
        strings = self.subject.token_strings([one.token for one in reads])
        for place, (one, text) in enumerate(zip(reads, strings, strict=True)):
            changed = found.changed[place] if name == "steered" else None
            yield {
                "condition": name, "place": place, "id": one.token, "token": text,
                "log_prob": one.log_prob, "changed": changed,
            }  # fmt: skip

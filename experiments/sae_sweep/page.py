"""The page of `sae_sweep`: the frontier of sparsity and faithfulness."""

from collections.abc import Callable

from experiments.sae_sweep.config import Config
from experiments.train_saes.page import HALF, LIMITS, WORDS, dictionary_table, measured_on
from interp.corpus.document import Corpus
from interp.render.data import Estimate
from interp.render.digits import interval, measured, number, significant
from interp.render.dose_figure import Curve, dose_response
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.page import Figure, Page, Section
from interp.subject import Subject
from interp.track.run import Run

QUANTITIES = {
    "explained_variance": "explained variance",
    "cross_entropy_recovered": "cross-entropy recovered",
    "kl_spliced": "KL of the spliced model (nats)",
}


class SweepPage:
    """The table of a run, and the pieces of the page made from it."""

    def __init__(self, run: Run, subject: Subject, corpus: Corpus, config: Config) -> None:
        self.run = run
        self.subject = subject
        self.site = config.site
        self.frame = run.table("dictionaries")
        self.measured_on = measured_on(self.frame, corpus)
        self.kinds: list[str] = list(self.frame.architecture.unique())

    def page(self) -> Page:
        """The whole page."""
        widths = sorted(self.frame.latents.unique())
        return Page(
            f"What does sparsity cost at {self.site} of {self.subject.name}?",
            [
                f"{len(self.frame)} dictionaries ({', '.join(self.kinds)}; {', '.join(map(str, widths))} "
                "latents) were trained from one reading of the corpus.",
                "Their reconstructions were spliced into the model, on text that none was trained on.",
                self._verdict(),
            ],
            self._figure(self.kinds[0], "cross_entropy_recovered", 620),
            [
                *(
                    Section(
                        f"The frontier of {kind}",
                        ["A line for each width: up and to the left is better."],
                        [self._figure(kind, column, HALF) for column in QUANTITIES],
                    )
                    for kind in self.kinds
                ),
                Section("All figures", (), (), [dictionary_table(self.frame)]),
            ],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def files(self) -> dict[str, str]:
        """The figures as files of their own, by name."""
        return {
            f"{kind}_{column}": self._frontier(kind, column, standalone=True)(620)
            for kind in self.kinds
            for column in QUANTITIES
        }

    def _verdict(self) -> str:
        rows = self.frame.sort_values("l0").to_dict("records")
        sparse, dense = rows[0], rows[-1]
        first, last = (Estimate.of(row, "cross_entropy_recovered") for row in (sparse, dense))
        explained = [number(row["explained_variance"]) for row in (sparse, dense)]
        return (
            f"From {number(sparse['l0'])} latents a token ({sparse['dictionary']}) to {number(dense['l0'])} "
            f"({dense['dictionary']}), the cross-entropy recovered goes from {measured(first)} "
            f"({interval(first)}) to {measured(last)} ({interval(last)}), the KL of the spliced model from "
            f"{significant(sparse['kl_spliced'])} to {significant(dense['kl_spliced'])} nats, and the "
            f"explained variance from {explained[0]} to {explained[1]}."
        )

    def _figure(self, kind: str, column: str, width: int) -> Figure:
        return Figure(self._frontier(kind, column), f"{QUANTITIES[column]}, {kind}", self.measured_on, width)

    def _frontier(self, kind: str, column: str, standalone: bool = False) -> Callable[[int], str]:
        own = self.frame[self.frame.architecture == kind]
        curves = [
            Curve(
                f"{latents:,} latents",
                "latent",
                [
                    (
                        row["l0"],
                        Estimate.of(row, column) if f"{column}_low" in row else Estimate(row[column]),
                    )
                    for row in of_width.to_dict("records")
                ],
            )
            for latents, of_width in own.groupby("latents")
        ]
        return lambda width: dose_response(
            curves, x_name="L0 (latents active per token)", y_name=QUANTITIES[column], width=width,
            standalone=standalone,
        )  # fmt: skip

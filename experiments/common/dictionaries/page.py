"""The page base of the experiments that train dictionaries."""

from typing import TypeVar

from interp.document import Corpus
from interp.render.page import Column, Section, Table
from interp.subject import Subject
from interp.track.run import Run

from ..page import ExperimentPage
from .config import TrainingJobConfig

Configured = TypeVar("Configured", bound=TrainingJobConfig)


class DictionariesPage(ExperimentPage[Configured]):
    """Shows the table `dictionaries`; an experiment adds its question and its figures."""

    words = (
        ("L0", "The mean number of latents that are active on a token."),
        ("Explained variance", "The share of the activations' variance that the reconstruction explains. For "
         "a transcoder: of the activation that it predicts."),
        ("Cross-entropy recovered", "With activations replaced by reconstructions: the share of the loss "
         "increase under zero ablation that is avoided. 1 is all of it, 0 none."),
        ("KL", "Divergence of the next-token distribution from the unchanged model's, in nats."),
        ("Dead, dense", "Latents that were never active on the report text; latents active on more than a "
         "tenth of its tokens."),
    )  # fmt: skip
    limits = (
        "One seed for each dictionary: intervals are over documents, not over training runs.",
        "Zero ablation is harsh, so cross-entropy recovered looks high; the KL beside it is absolute.",
        "A frontier says how faithful a dictionary is, not whether its latents mean anything.",
    )

    subject: Subject

    def __init__(self, run: Run, config: Configured, subject: Subject, corpus: Corpus) -> None:
        super().__init__(run, config, subject)
        self.frame = run.table("dictionaries")
        first = self.frame.iloc[0]
        self.measured_on = (
            f"report split of {corpus.name}: {int(first.n_tokens):,} tokens of {int(first.n_documents):,} "
            "documents; 95% intervals over documents"
        )

    def all_figures(self) -> Section:
        """Tabulates every measure of every dictionary."""
        columns = (
            "dictionary", "site", Column("latents", places=0), Column("L0", of="l0"),
            Column("explained variance", of="explained_variance"),
            Column("cross-entropy recovered", of="cross_entropy_recovered"),
            Column("KL", "nats", of="kl_spliced"), Column("KL of ablation", "nats", of="kl_ablated"),
            Column("dead", places=0, of="n_dead"), Column("dense", places=0, of="n_dense"),
        )  # fmt: skip
        table = Table.of(self.frame, columns, "dictionaries", "Every dictionary on the report split")
        return Section("All figures", (), (), [table])

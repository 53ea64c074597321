"""The steps of `interestingness`."""

from interp.descriptions.interest import read_labels, train_interest
from interp.embed.tfidf import TfidfEmbedder
from interp.track.step import Step

from ..common.job import ExperimentJob
from .config import Config
from .page import InterestPage


class Job(ExperimentJob[Config]):
    """Trains a classifier of interesting descriptions, and writes its page."""

    def steps(self) -> None:
        """Trains the classifier, and writes the page."""
        self.run.step("train", self.train)
        self.write_page(lambda: InterestPage(self.run, self.config))

    def train(self, step: Step) -> None:
        """Saves the classifier, its cross-validated measures, and the embedder if it was fitted here."""
        descriptions, labels = read_labels(self.config.labels)
        embedder = self.config.embedder.open(descriptions)
        found = train_interest(descriptions, labels, embedder, self.config.seed)
        found.save(step.folder / "classifier")
        if isinstance(embedder, TfidfEmbedder):
            embedder.save(step.folder / "classifier")
        report = found.report
        step.metric("labels/n", report.n, headline=True)
        step.metric("labels/interesting", report.n_interesting)
        for name in ("auroc", "balanced_accuracy", "accuracy", "null_auroc"):
            step.estimate(f"held_out/{name}", *getattr(report, name), headline=name == "auroc")

"""The steps of `logit_lens`."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.document import Corpus
from interp.lenses.direct_attribution import DirectAttribution, direct_attribution
from interp.lenses.evaluation import divergence
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.prompt import prompt_at
from interp.lenses.residual_stream import EMBEDDING, stream_sites
from interp.lenses.tuned_lens import load_tuned_lens, save_tuned_lens, train_tuned_lens
from interp.lenses.view import lens, lens_page
from interp.statistics.estimate import mean_interval
from interp.subject import Site
from interp.subject.continuation import notes_on
from interp.track.files import publish, write_safetensors, write_text
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import LogitLensPage

LENS_FILE = "tuned_lens.safetensors"
SAID_EVERY = 25  # steps of training


class Job(SubjectJob[Config]):
    """Trains a tuned lens, tests the lenses on held-out text, and reads the texts through them."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        taken = []
        for text in config.texts:  # before anything is trained
            prompt_at(self.subject, text.text)
            taken.append([self.subject.continuation(text.text, one, "texts.targets") for one in text.targets])
        self.targets = [[one.token("texts.targets") for one in targets] for targets in taken]
        run.tell(*notes_on((str(one) for targets in taken for one in targets), "Targets"))

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        lenses: list[Lens] = [LogitLens(self.subject)]
        if self.config.tuned is not None:
            trained = self.run.step("tuned_lens", self.train) / LENS_FILE
            publish(trained, self.run.folder / "lens" / LENS_FILE)
            lenses.append(load_tuned_lens(trained, self.subject))
            self.run.step("divergence", lambda step: self.divergence(step, lenses))
        looked = self.run.step("look", lambda step: self.look(step, lenses))
        for file in sorted((looked / "lens").iterdir()):
            publish(file, self.run.folder / "lens" / file.name)
        self.run.step("direct", self.direct)
        self.write_page(lambda: LogitLensPage(self.run, self.config, self.subject))

    @cached_property
    def corpus(self) -> Corpus:
        """Opens the text that the tuned lens is trained and tested on."""
        assert self.config.tuned is not None
        return self.open_corpus(self.config.tuned.corpus, self.subject)

    def train(self, step: Step) -> None:
        """Trains the tuned lens."""
        config = self.config.tuned
        assert config is not None
        with step.progress.task("tuned lens", total=config.steps, unit="updates") as advance:

            def trained(at: int, kl: Float[np.ndarray, " layer"]) -> None:
                advance()
                if at % SAID_EVERY == 0:
                    step.log({"kl": float(kl.mean())}, at)

            trained = train_tuned_lens(
                self.subject,
                self.corpus,
                steps=config.steps,
                tokens_per_step=config.tokens_per_step,
                learning_rate=config.learning_rate,
                seed=self.config.seed,
                progress=trained,
            )
        save_tuned_lens(step.folder / LENS_FILE, trained)

    def divergence(self, step: Step, lenses: list[Lens]) -> None:
        """Compares the lenses with the model's output on documents of the report split."""
        config = self.config.tuned
        assert config is not None
        found = divergence(lenses, self.corpus, config.held_out_documents)
        rows = []
        for (name, layer), own in found.groupby(["lens", "layer"], sort=False):
            mean, low, high = mean_interval(own["kl"].to_numpy(), self.config.seed)
            rows.append((name, layer, mean, low, high, len(own)))
        table = pd.DataFrame(rows, columns=["lens", "layer", "kl", "kl_low", "kl_high", "documents"])
        step.table("divergence", table)
        before_last = table[table["layer"] < self.subject.n_layers - 1]
        for name, own in before_last.groupby("lens", sort=False):
            step.metric(f"{name!s} KL, mean over layers", own["kl"].mean(), headline=True)

    def look(self, step: Step, lenses: list[Lens]) -> None:
        """Reads every text through every lens; writes tables, arrays, and the interactive page."""
        views, frames = [], []
        folder = step.folder / "lens"
        outputs = [Site(kind, n) for kind in ("attn_out", "mlp_out") for n in range(self.subject.n_layers)]
        for number, text in enumerate(self.config.texts):
            for through in lenses:
                sites = [*stream_sites(self.subject).values()]
                sites += outputs if through is lenses[0] else []  # a tuned lens reads the stream alone
                view = lens(
                    self.subject,
                    text.text,
                    self.targets[number],
                    lens=through,
                    sites=sites,
                    k=self.config.top,
                )
                views.append(view)
                frames.append(view.frame().assign(text=number, lens=through.name))
                write_safetensors(
                    folder / f"{number}-{through.name.replace(' ', '_')}.safetensors", view.arrays()
                )
        step.table("readings", pd.concat(frames, ignore_index=True))
        title = f"What {self.subject.name} predicts at each layer"
        write_text(folder / "index.html", lens_page(views, title))

    def direct(self, step: Step) -> None:
        """Attributes each text's first target to embedding, layers, heads and neurons."""
        asked = [(n, text) for n, text in enumerate(self.config.texts) if self.targets[n]]
        if not asked:
            return
        found = direct_attribution(
            self.subject,
            [prompt_at(self.subject, text.text) for _, text in asked],
            [self.targets[n][0] for n, _ in asked],
        )
        names = [n for n, _ in asked]
        step.table("direct_layers", layers_frame(found, names))
        step.table(
            "direct_parts",
            pd.concat([found.of_prompt(row).top(20).assign(text=n) for row, n in enumerate(names)])
            if found.heads is not None
            else pd.DataFrame(columns=["kind", "layer", "index", "value", "text"]),
        )
        step.metric("direct attribution, largest error", float(abs(found.total() - found.logit).max()))


def layers_frame(found: DirectAttribution, names: Sequence[int]) -> pd.DataFrame:
    """Tabulates what embedding, layers and biases add to each logit: text, part, layer, value, logit."""
    rows: list[tuple[int, str, int, float, float]] = []
    for row, name in enumerate(names):
        logit = float(found.logit[row])
        rows.append((name, "embedding", EMBEDDING, float(found.embedding[row]), logit))
        for part, values in (("attention", found.attention), ("MLP", found.mlp)):
            rows += [(name, part, layer, float(value), logit) for layer, value in enumerate(values[row])]
        rows.append((name, "bias", EMBEDDING, float(found.bias[row]), logit))
    return pd.DataFrame(rows, columns=["text", "part", "layer", "value", "logit"])

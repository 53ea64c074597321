"""The steps of `logit_lens`."""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from interp.document import Corpus
from interp.errors import UserError
from interp.lenses.direct_attribution import DirectAttribution, direct_attribution
from interp.lenses.evaluation import MEASURES, divergence
from interp.lenses.jacobian_lens import JacobianLens, random_maps, train_jacobian_lens
from interp.lenses.lens_file import load_lens, save_lens
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.prompt import prompt_at
from interp.lenses.residual_stream import EMBEDDING, stream_sites
from interp.lenses.tuned_lens import train_tuned_lens
from interp.lenses.view import lens, lens_page
from interp.lenses.word_steering import steered_words
from interp.statistics.estimate import Estimate, mean_interval
from interp.statistics.splits import split_halves
from interp.subject import Site
from interp.subject.continuation import notes_on
from interp.track.files import publish, write_safetensors, write_text
from interp.track.run import Run
from interp.track.step import Step

from ..common.job import SubjectJob
from .config import Config
from .page import LogitLensPage

TUNED_FILE, JACOBIAN_FILE = "tuned_lens.safetensors", "jacobian_lens.safetensors"
SAID_EVERY = 25  # steps of training


class Job(SubjectJob[Config]):
    """Trains lenses, tests them on held-out text, and reads the texts through them."""

    def __init__(self, config: Config, run: Run) -> None:
        super().__init__(config, run)
        taken = []
        for text in config.texts:  # before anything is trained
            prompt_at(self.subject, text.text)
            taken.append([self.subject.continuation(text.text, one, "texts.targets") for one in text.targets])
        self.targets = [[one.token("texts.targets") for one in targets] for targets in taken]
        run.tell(*notes_on((str(one) for targets in taken for one in targets), "Targets"))
        self.steered = None if config.jacobian is None else config.jacobian.steered
        self.words = [] if self.steered is None else [self._token(word) for word in self.steered.words]

    def steps(self) -> None:
        """Runs all steps in order, and skips those that have finished."""
        lenses: list[Lens] = [LogitLens(self.subject)]
        compared = lenses
        if self.config.tuned is not None:
            lenses.append(self._trained("tuned_lens", self.train, TUNED_FILE))
        if self.config.jacobian is not None:
            jacobian = self._trained("jacobian_lens", self.average, JACOBIAN_FILE)
            assert isinstance(jacobian, JacobianLens)
            lenses.append(jacobian)
            control = random_maps(jacobian, self.config.seed)
            compared = [*lenses, control]
            if self.steered is not None:
                self.run.step("steered_words", lambda step: self.steer(step, jacobian, control))
        if self.config.held_out is not None:
            self.run.step("divergence", lambda step: self.divergence(step, compared))
        looked = self.run.step("look", lambda step: self.look(step, lenses))
        for file in sorted((looked / "lens").iterdir()):
            publish(file, self.run.folder / "lens" / file.name)
        self.run.step("direct", self.direct)
        self.write_page(lambda: LogitLensPage(self.run, self.config, self.subject))

    @cached_property
    def corpus(self) -> Corpus:
        """Opens the text that lenses are trained and tested on."""
        assert self.config.held_out is not None
        return self.open_corpus(self.config.held_out.corpus, self.subject)

    def _trained(self, name: str, train: Callable[[Step], None], file: str) -> Lens:
        """Trains a lens in a step of its own, or reads what that has written."""
        trained = self.run.step(name, train) / file
        publish(trained, self.run.folder / "lens" / file)
        return load_lens(trained, self.subject)

    def _token(self, word: str) -> int:
        assert self.steered is not None
        found = {
            self.subject.single_token(word, "jacobian.steered.words", prompt)
            for prompt in self.steered.prompts
        }
        if len(found) > 1:
            raise UserError(
                f"{word!r} is not the same token after every prompt",
                "jacobian.steered.prompts",
                "end all of them in a word, or leave the word out",
            )
        return found.pop()

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
                context_size=config.context_size,
                fitted_tokens=config.fitted_tokens,
                seed=self.config.seed,
                progress=trained,
            )
        save_lens(step.folder / TUNED_FILE, trained)

    def average(self, step: Step) -> None:
        """Averages the Jacobian lens; continues where a killed run was."""
        config = self.config.jacobian
        assert config is not None
        with step.progress.task("Jacobian lens", total=config.prompts, unit="prompts") as advance:
            made = train_jacobian_lens(
                self.subject,
                self.corpus,
                prompts=config.prompts,
                context_size=config.context_size,
                skip_first=config.skip_first,
                prompts_per_graph=config.prompts_per_graph,
                seed=self.config.seed,
                checkpoint=step.scratch / "checkpoint.safetensors",
                progress=advance,
            )
        save_lens(step.folder / JACOBIAN_FILE, made)

    def steer(self, step: Step, jacobian: JacobianLens, control: JacobianLens) -> None:
        """Steers with words' directions, each lens at the strength that is best on half of the words."""
        assert self.steered is not None
        plain = JacobianLens(self.subject)
        plain.name = "unembedding"
        with step.progress.task("steering", total=len(jacobian.layers), unit="layers") as advance:
            frames = []
            prompts = [prompt_at(self.subject, text) for text in self.steered.prompts]
            for layer in jacobian.layers:
                each = [jacobian, plain, control]
                frames.append(steered_words(each, self.words, prompts, layer, self.steered.strengths))
                advance()
        found = pd.concat(frames, ignore_index=True)
        chosen, reported = split_halves([""] * len(self.words), self.config.seed)
        rows = []
        for (name, at), own in found.groupby(["lens", "layer"], sort=False):
            choosing = own[own["word"].isin(chosen)].groupby("strength")["probability"].mean()
            strength = float(choosing.index[int(choosing.argmax())])
            kept = own[own["word"].isin(reported) & (own["strength"] == strength)]
            by_word = kept.groupby("word")[["probability", "gain"]].mean()
            measured = {
                key: value
                for measure in ("probability", "gain")
                for key, value in mean_interval(by_word[measure].to_numpy(), self.config.seed)
                .named(measure)
                .items()
            }
            rows.append(
                {"lens": name, "layer": at, "strength": strength, "chosen": choosing.max(), **measured,
                 "words": len(by_word)}
            )  # fmt: skip
        table = pd.DataFrame(rows)
        step.table("steered_words", table)
        for name, own in table.groupby("lens", sort=False):
            best = own.sort_values("chosen").iloc[-1].to_dict()
            step.estimate(f"word's probability, steered by {name!s}", *Estimate.of(best, "probability"))

    def divergence(self, step: Step, lenses: list[Lens]) -> None:
        """Compares the lenses with the model's output on documents of the report split."""
        config = self.config.held_out
        assert config is not None
        found = divergence(
            lenses, self.corpus, config.held_out_documents, tokens_per_row=config.held_out_tokens
        )
        rows, tops = [], []
        for (name, layer), own in found.groupby(["lens", "layer"], sort=False):
            of = {
                measure: mean_interval(own[measure].to_numpy(), self.config.seed).named(measure)
                for measure in MEASURES
            }
            place = {"lens": name, "layer": layer}
            rows.append(place | of["kl"] | {"documents": len(own)})
            rank = {key.removeprefix("log_"): np.exp(value) for key, value in of["log_rank"].items()}
            tops.append(place | of["probability"] | of["top"] | rank | {"documents": len(own)})
        table = pd.DataFrame(rows)
        step.table("divergence", table)
        step.table("output_s_word", pd.DataFrame(tops))
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

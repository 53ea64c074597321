"""The page of `logit_lens`, filled from what its steps wrote."""

import pandas as pd
from markupsafe import Markup

from interp.lenses.residual_stream import layer_name
from interp.lenses.view import lens
from interp.render.digits import number
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.subject import Subject
from interp.track.run import Run

from ..common.lenses.figures import by_layer
from ..common.page import ExperimentPage
from .config import Config, TextToRead

PART_COLUMNS = ("text", "target", "part", Column("adds", "logits", places=2, of="value"))
CONTROL = "random orthogonal"
ROLES_OF_LENSES: dict[str, Role] = {
    "logit lens": "a", "tuned lens": "b", "Jacobian lens": "c", "unembedding": "a", CONTROL: "null"
}  # fmt: skip
LAYER_COLUMNS = (*PART_COLUMNS[:3], "layer", PART_COLUMNS[3])


class LogitLensPage(ExperimentPage[Config]):
    """Shows what the model predicts, layer by layer."""

    words = (
        ("Logit lens", "The final norm and the unembedding, applied to the residual stream after a layer: "
         "what the model would predict if it stopped there."),
        ("Tuned lens", "The same after an affine map for each layer, trained to match the model's output."),
        ("Jacobian lens", "The same after a matrix for each layer: the mean derivative of the last layer's "
         "stream, here and at later tokens, by this layer's. Nothing is trained."),
        ("Random orthogonal", "The control of the Jacobian lens: a random rotation for each layer, of the "
         "same norm."),
        ("KL", "Divergence of a lens from the model's output, in nats: KL(output || lens)."),
        ("Direct logit attribution", "What a component adds directly to a word's logit, with the final "
         "norm's scale held fixed; all components add up to the logit."),
    )  # fmt: skip
    limits = (
        "A lens shows what can be read off linearly, not what later layers use.",
        "Direct attribution leaves out what a component does through later ones.",
        "Lenses were trained on the explain split, and tested on other documents (report split).",
    )

    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.divergence = run.table("divergence") if run.has_table("divergence") else pd.DataFrame()

    def question(self) -> str:
        return f"What does {self.subject.name} predict at each layer?"

    def opening(self) -> list[str]:
        return [
            f"The residual stream of {len(self.config.texts)} texts was read at every layer and token as "
            "if the model ended there.",
            Markup(
                '<a href="lens/index.html">lens/index.html</a> beside this page shows every layer, token, '
                "lens and rank, to move through."
            ),
            self._verdict(),
        ]

    def headline(self) -> Figure:
        return self._view(0, " through the logit lens")

    def sections(self) -> list[Section]:
        others = [Section("Another text", (), [self._view(n)]) for n in range(1, len(self.config.texts))]
        return [*others, *self._compared(), *self._steered(), *self._direct()]

    def _view(self, place: int, through: str = "") -> Figure:
        text = self.config.texts[place].text
        return lens(self.subject, text, k=1).figure(f"lens-{place}", f"“{text}”{through}")

    def _compared(self) -> list[Section]:
        if self.divergence.empty:
            return []
        words = self.run.table("output_s_word")
        caption = (
            f"Means over {int(words['documents'].iloc[0])} documents of the report split; bands: 95% "
            "bootstrap intervals"
        )
        figures = [
            self._curves("divergence", "Lens against output", caption, self.divergence, "kl",
                         "KL to the output (nats a token)"),
            self._curves("output-s-word", "The output's likeliest token through the lenses", caption, words,
                         "top", "share likeliest through the lens, too"),
        ]  # fmt: skip
        tables = [
            self._by_lens(self.divergence, "kl", "nats", 3, "KL to the output"),
            self._by_lens(words, "probability", "", 3, "Probability of the output's likeliest token"),
            self._by_lens(words, "rank", "", 1, "Rank of the output's likeliest token, geometric mean"),
        ]
        return [Section("How far each layer is from the output", (), figures, tables)]

    def _curves(
        self, name: str, title: str, caption: str, table: pd.DataFrame, measure: str, y_name: str
    ) -> Figure:
        curves = {
            str(lens): (ROLES_OF_LENSES[str(lens)], rows) for lens, rows in table.groupby("lens", sort=False)
        }
        return Figure(name, title, caption, by_layer(curves, measure, y_name=y_name))

    def _by_lens(self, table: pd.DataFrame, measure: str, unit: str, places: int, title: str) -> Table:
        wide = table.pivot(index="layer", columns="lens", values=measure).reset_index()
        lenses = [Column(str(lens), unit, places=places) for lens in wide.columns[1:]]
        named = wide.assign(layer=wide["layer"].map(layer_name))
        return Table.of(named, ["layer", *lenses], measure, f"{title}, by layer and lens")

    def _steered(self) -> list[Section]:
        if not self.run.has_table("steered_words"):
            return []
        table = self.run.table("steered_words")
        said = (
            "A lens's direction for a word was added after a layer, at every token; shown is the word's "
            "probability as the next token. Strengths were chosen on the other half of the words, for each "
            "lens and layer. “unembedding” is the word's own row of the unembedding."
        )
        caption = f"Means over {int(table['words'].iloc[0])} words; bands: 95% bootstrap intervals"
        figure = self._curves(
            "steered-words", "A word's direction, added", caption, table, "probability", "probability"
        )
        columns = ("lens", "layer", Column("strength", places=2), "probability", Column("gain", "nats"))
        named = table.assign(layer=table["layer"].map(layer_name))
        rows = Table.of(named, columns, "steered words", caption)
        return [Section("Words' directions, steered with", (said,), [figure], [rows])]

    def _direct(self) -> list[Section]:
        if not self.run.has_table("direct_layers"):
            return []
        layers, parts = (self._of_texts(self.run.table(name)) for name in ("direct_layers", "direct_parts"))
        named = layers["layer"].map(layer_name).where(layers["part"] != "bias", "")
        place = parts["layer"].astype(str) + "." + parts["index"].astype(str)
        strongest = parts.assign(part=parts["kind"] + " " + place)
        tables = [
            Table.of(strongest, PART_COLUMNS, "parts",
                     "Heads and neurons that add most, at the end of each text"),
            Table.of(layers.assign(layer=named), LAYER_COLUMNS, "layers",
                     "Everything that adds up to the logit, before a soft cap if the model has one"),
        ]  # fmt: skip
        return [Section("What writes the answer", (), (), tables)]

    def _of_texts(self, table: pd.DataFrame) -> pd.DataFrame:
        """Replaces the texts' numbers in a table by the texts and their first targets."""
        texts = self.config.texts
        return table.assign(
            target=[self._target(texts[n]) for n in table["text"]],
            text=[texts[n].text for n in table["text"]],
        )

    def _target(self, text: TextToRead) -> str:
        taken = self.subject.continuation(text.text, text.targets[0])
        return taken.text if taken.other is None else str(taken)

    def _verdict(self) -> str:
        if self.divergence.empty:
            return "No trained lens was asked for."
        before_last = self.divergence[self.divergence["layer"] < self.subject.n_layers - 1]
        means = before_last.groupby("lens")["kl"].mean()
        others = [
            f"the {lens} {number(mean)}"
            for lens, mean in means.items()
            if lens not in ("logit lens", CONTROL)
        ]
        control = f"; random matrices {number(means[CONTROL])}" if CONTROL in means else ""
        return (
            f"On held-out text the logit lens is {number(means['logit lens'])} nats a token from the output "
            f"on average over layers, {', '.join(others)}{control}."
        )

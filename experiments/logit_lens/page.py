"""The page of `logit_lens`, filled from what its steps wrote."""

import pandas as pd
from markupsafe import Markup

from interp.lenses.residual_stream import layer_name
from interp.lenses.view import lens
from interp.render.digits import number
from interp.render.figure import Figure
from interp.render.page import Column, Section, Table
from interp.subject import Subject
from interp.track.run import Run

from ..common.lenses.figures import by_layer
from ..common.page import ExperimentPage
from .config import Config, TextToRead

PART_COLUMNS = ("text", "target", "part", Column("adds", "logits", places=2, of="value"))
LAYER_COLUMNS = (*PART_COLUMNS[:3], "layer", PART_COLUMNS[3])


class LogitLensPage(ExperimentPage[Config]):
    """Shows what the model predicts, layer by layer."""

    words = (
        ("Logit lens", "The final norm and the unembedding, applied to the residual stream after a layer: "
         "what the model would predict if it stopped there."),
        ("Tuned lens", "The same after an affine map for each layer, trained to match the model's output."),
        ("KL", "Divergence of a lens from the model's output, in nats: KL(output || lens)."),
        ("Direct logit attribution", "What a component adds directly to a word's logit, with the final "
         "norm's scale held fixed; all components add up to the logit."),
    )  # fmt: skip
    limits = (
        "A lens shows what can be read off linearly, not what later layers use.",
        "Direct attribution leaves out what a component does through later ones.",
        "The tuned lens was trained on the explain split, and tested on other documents (report split).",
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
        return [*others, *self._tuned(), *self._direct()]

    def _view(self, place: int, through: str = "") -> Figure:
        text = self.config.texts[place].text
        return lens(self.subject, text, k=1).figure(f"lens-{place}", f"“{text}”{through}")

    def _tuned(self) -> list[Section]:
        if self.divergence.empty:
            return []
        documents = int(self.divergence["documents"].iloc[0])
        caption = f"Means over {documents} documents of the report split; bands: 95% bootstrap intervals"
        wide = self.divergence.pivot(index="layer", columns="lens", values="kl").reset_index()
        lenses = [Column(str(lens), "nats", places=3) for lens in wide.columns[1:]]
        table = Table.of(
            wide.assign(layer=wide["layer"].map(layer_name)), ["layer", *lenses], "divergence", caption
        )
        curves = by_layer(
            {
                str(lens): ("b" if lens == "tuned lens" else "a", rows)
                for lens, rows in self.divergence.groupby("lens", sort=False)
            },
            "kl",
            y_name="KL to the output (nats a token)",
        )
        figure = Figure("divergence", "Lens against output", caption, curves)
        return [Section("How far each layer is from the output", (), [figure], [table])]

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
            return "No tuned lens was asked for."
        before_last = self.divergence[self.divergence["layer"] < self.subject.n_layers - 1]
        means = before_last.groupby("lens")["kl"].mean()
        return (
            f"On held-out text the logit lens is {number(means['logit lens'])} nats a token from the output "
            f"on average over layers, the tuned lens {number(means['tuned lens'])}."
        )

"""The page of `logit_lens`, filled from what its steps wrote."""

from functools import cached_property

import pandas as pd
from markupsafe import Markup

from experiments.common.lenses.figures import by_layer
from experiments.common.page import framed
from experiments.logit_lens.config import Config, LensText
from interp.lenses.logit_lens import LogitLens
from interp.lenses.residual_stream import layer_name
from interp.lenses.view import look
from interp.render.digits import number
from interp.render.figure import Draw, Figure
from interp.render.lens_views import lens_figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.subject import Subject
from interp.track.run import Run

WORDS = (
    ("Logit lens", "The final norm and the unembedding, applied to the residual stream behind a layer: "
     "what the model would say if it stopped there."),
    ("Tuned lens", "The same behind an affine map for each layer, trained to match the model's output."),
    ("KL", "How many nats of the output's distribution a lens misses: KL(output || lens)."),
    ("Direct logit attribution", "What a part adds to a word's logit by itself, the final norm's scale held "
     "fixed; all parts add up to the logit."),
)  # fmt: skip
LIMITS = (
    "A lens shows what can be read off linearly, not what later layers use.",
    "Direct attribution leaves out what a part does through later ones.",
    "The tuned lens was trained on other documents (explain split) than it is held against (report split).",
)


class LogitLensPage:
    """The tables of a run, and the page made from them."""

    def __init__(self, run: Run, subject: Subject, config: Config) -> None:
        self.run, self.subject, self.config = run, subject, config

    @cached_property
    def divergence(self) -> pd.DataFrame:
        """KL by lens and layer; empty without a tuned lens."""
        columns = ["lens", "layer", "kl", "kl_low", "kl_high", "documents"]
        known = self.run.has_table("divergence")
        return self.run.table("divergence") if known else pd.DataFrame(columns=columns)

    @cached_property
    def views(self) -> list[Draw]:
        """A figure of every text through the logit lens."""
        lens = LogitLens(self.subject)
        return [lens_figure(look(lens, text.text, k=1)) for text in self.config.texts]

    def page(self) -> Page:
        """The whole page."""
        return framed(
            self.run,
            self.subject,
            f"What does {self.subject.name} expect, before it says it?",
            [
                f"The residual stream of {len(self.config.texts)} texts was read at every layer and token as "
                "if the model ended there.",
                Markup(
                    '<a href="lens/index.html">lens/index.html</a> beside this page shows '
                    "every layer, token, "
                    "lens and rank, to move through."
                ),
                self._verdict(),
            ],
            Figure(
                "lens-0",
                f"“{self.config.texts[0].text}” through the logit lens",
                "Likeliest next tokens",
                self.views[0],
            ),
            [*self._others(), *self._tuned(), *self._direct()],
            WORDS,
            LIMITS,
        )

    def _others(self) -> list[Section]:
        others = list(zip(self.config.texts, self.views, strict=True))[1:]
        figures = [
            Figure(f"lens-{n}", f"“{text.text}”", "Likeliest next tokens", draw)
            for n, (text, draw) in enumerate(others, 1)
        ]
        return [Section("Another text", (), [figure]) for figure in figures]

    def _curves(self) -> Draw:
        curves = {
            str(lens): ("b" if lens == "tuned lens" else "a", rows)
            for lens, rows in self.divergence.groupby("lens", sort=False)
        }
        return by_layer(curves, "kl", y_name="KL to the output (nats a token)")

    def _tuned(self) -> list[Section]:
        if self.divergence.empty:
            return []
        documents = int(self.divergence["documents"].iloc[0])
        caption = f"Means over {documents} documents of the report split; bands: 95% bootstrap intervals"
        return [
            Section(
                "How much of the output each layer holds",
                (),
                [Figure("divergence", "Lens against output", caption, self._curves())],
                [self._divergence_table(caption)],
            )
        ]

    def _divergence_table(self, caption: str) -> Table:
        wide = self.divergence.pivot(index="layer", columns="lens", values="kl")
        rows: list[list[Cell]] = [
            [layer_name(int(layer)), *map(float, row)]
            for layer, row in zip(wide.index, wide.to_numpy(), strict=True)
        ]
        columns = [Column("layer"), *(Column(str(lens), "nats", places=3) for lens in wide.columns)]
        return Table("divergence", caption, columns, rows)

    def _direct(self) -> list[Section]:
        if not self.run.has_table("direct_layers"):
            return []
        layers, parts = self.run.table("direct_layers"), self.run.table("direct_parts")
        texts = [text.text for text in self.config.texts]
        targets = [self._target(text) for text in self.config.texts]
        by_part: list[list[Cell]] = [
            [
                texts[row.text],
                targets[row.text],
                row.part,
                layer_name(row.layer) if row.part != "bias" else "",
                row.value,
            ]
            for row in layers.itertuples()
        ]
        head = [
            Column("text"),
            Column("target"),
            Column("part"),
            Column("layer"),
            Column("adds", "logits", places=2),
        ]
        strongest: list[list[Cell]] = [
            [texts[row.text], targets[row.text], f"{row.kind} {row.layer}.{row.index}", row.value]
            for row in parts.itertuples(index=False)
        ]
        answers = [Column("text"), Column("target"), Column("part"), Column("adds", "logits", places=2)]
        tables = [
            Table("parts", "Heads and neurons that add most, at the end of each text", answers, strongest),
            Table(
                "layers",
                "Everything that adds up to the logit, before a soft cap if the model has one",
                head,
                by_part,
            ),
        ]
        return [Section("What writes the answer", (), (), tables)]

    def _target(self, text: LensText) -> str:
        if not text.targets:
            return ""
        taken = self.subject.continuation(text.text, text.targets[0])
        return taken.text if taken.other is None else str(taken)

    def _verdict(self) -> str:
        if self.divergence.empty:
            return "No tuned lens was asked for."
        means = (
            self.divergence[self.divergence["layer"] < self.subject.n_layers - 1].groupby("lens")["kl"].mean()
        )
        return (
            f"On held-out text the logit lens misses {number(means['logit lens'])} nats a token on "
            f"average over layers, the tuned lens {number(means['tuned lens'])}."
        )

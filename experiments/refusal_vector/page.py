"""The page of `refusal_vector`, filled from what its steps wrote."""

from collections.abc import Sequence

import pandas as pd

from experiments.common.page import framed
from experiments.common.vectors.figures import overflow_note, profile, shares
from experiments.refusal_vector.config import Config
from interp.render.digits import interval, measured
from interp.render.figure import Draw, Figure
from interp.render.page import Cell, Column, Page, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run
from interp.vectors.vector import Vector

HALF = 540  # pixels of a figure that stands beside another
RANDOM = ", random"
NAMES: dict[Role, str] = {"c": "the direction", "null": "random directions", "b": "unchanged"}
WORDS = (
    ("Refusal direction", "Mean activation on harmful requests less that on harmless ones, at one "
     "token behind the request and one layer (`resid_pre`)."),
    ("Refused", "The likeliest next token is one that refusals begin with; in text: a phrase of "
     "refusal stands in what is written."),
    ("Add, subtract", "A multiple of the direction at its layer: at all positions, or at the last "
     "token of the request."),
    ("Project out", "Its projection becomes zero wherever the model writes to the residual stream; "
     "orthogonalising the weights does the same."),
    ("Mean-centred", "Its projection becomes, in front of every layer, what it is on average on "
     "harmless requests."),
    ("Bypass, induce, KL", "Refusal scores (log-odds of refusing) with the direction projected out on "
     "harmful requests and added on harmless ones; KL of the next token on harmless ones, in nats."),
)  # fmt: skip
LIMITS = (
    "Whether a request is harmful is said by its list, and what counts as refusing by words: neither "
    "judges what the answer is worth.",
    "Requests are alike; intervals take them as independent. Under several random directions a request "
    "counts once, by its mean.",
    "Plain projecting out means little where the harmless mean is far from zero; the mean-centred form "
    "is the fair one there.",
)


class RefusalPage:
    """The tables of a run, and the page made from them."""

    def __init__(
        self, run: Run, subject: Subject, config: Config, vector: Vector, chosen: dict[str, int]
    ) -> None:
        self.run, self.subject, self.config, self.vector, self.chosen = run, subject, config, vector, chosen
        self.profile, self.results, self.candidates, self.costs, self.texts = (
            run.table(name) for name in ("profile", "results", "candidates", "costs", "texts")
        )
        n = {str(row.kind): int(row.questions) for row in self.results.iloc[:2].itertuples()}
        self.measured_on = (
            f"{n['harmful']} harmful and {n['harmless']} harmless held-out requests (times "
            f"{config.draws} draws for random directions); seed {config.seed}; whiskers: 95% intervals"
        )

    def page(self) -> Page:
        """The whole page."""
        place = f"layer {self.chosen['layer']}, {-self.chosen['position']} from the end"
        return framed(
            self.run,
            self.subject,
            f"Does one direction decide whether {self.subject.name} refuses?",
            [
                f"Mean differences between {self.chosen['n']} harmful and as many harmless requests "
                "were scored at every layer and every token behind the request.",
                f"The one that bypasses refusal best among those that pass the filters ({place}) was "
                "then used on requests that nothing was made of or chosen on, beside random directions "
                "of the same length.",
                self._verdict(),
            ],
            Figure("refused", "Refused, held-out requests", self.measured_on, self._shares()),
            [self._layers(), self._held_out(), self._costs(), self._candidates(), self._texts()],
            WORDS,
            (*LIMITS, *overflow_note(self.profile)),
        )

    def _of(self, condition: str, kind: str, measure: str = "right") -> Estimate:
        found = self.results[(self.results["condition"] == condition) & (self.results["kind"] == kind)]
        return Estimate() if found.empty else Estimate.of(found.iloc[0].to_dict(), measure)

    def _shares(self) -> Draw:
        rows: list[tuple[str, Sequence[tuple[Role, Estimate]]]] = [
            (f"{kind}, unchanged", [("b", self._of("unchanged", kind))]) for kind in ("harmless", "harmful")
        ]
        where = self.config.positions
        changed = [("harmless", f"add, {place}, {much}") for place in where for much in ("1x", "chosen")]
        changed += [("harmful", f"subtract, {place}, chosen") for place in where]
        changed += [("harmful", name) for name in ("project out", "weights orthogonalised", "mean-centred")]
        for kind, condition in changed:
            null = f"{condition.removesuffix(', 1x').removesuffix(', chosen')}{RANDOM}"
            entries: list[tuple[Role, Estimate]] = [("c", self._of(condition, kind))]
            if self._of(null, kind).point is not None:
                entries.append(("null", self._of(null, kind)))
            if self._of(condition, kind).point is not None:
                rows.append((f"{kind}, {condition}", entries))
        return shares(rows, x_name="share refused", names=NAMES)

    def _by_layer(self, kind: str) -> Draw:
        own = self.profile[self.profile["kind"] == kind]
        curves = {}
        for how, rows in own.groupby("how", sort=False):
            best = rows.groupby("layer")["right"].agg("idxmax" if kind == "harmless" else "idxmin")
            curves[str(how)] = rows.loc[best]
        roles: dict[str, Role] = {how: "null" for how in curves if how.endswith(RANDOM)}
        return profile(
            curves, "layer", x_name="layer (resid_pre)", y_name="share refused", roles=roles,
        )  # fmt: skip

    def _layers(self) -> Section:
        caption = f"{self.config.requests.validate_on} validation requests at most; best coefficient "
        "and positions at each layer"
        figures = [
            Figure(
                "layers_harmless",
                "Harmless requests, the direction added",
                caption,
                self._by_layer("harmless"),
                HALF,
            ),
            Figure(
                "layers_harmful",
                "Harmful requests, the direction taken away",
                caption,
                self._by_layer("harmful"),
                HALF,
            ),
        ]
        return Section("The profile over layers", (), figures)

    def _held_out(self) -> Section:
        columns = [
            Column("condition"), Column("requests"), Column("refused"), Column("refused in text", places=2),
            Column("answered", places=0),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [row["condition"], row["kind"], Estimate.of(row, "right"), row["written"], row["questions"]]
            for row in self.results.to_dict("records")
        ]
        text = (
            "Where it is added at every position, what is written may break: each new token is pushed "
            "towards the beginning of a refusal again."
        )
        return Section("Every condition", [text], (), [Table("held out", "Held-out requests", columns, rows)])

    def _costs(self) -> Section:
        columns = [Column("condition"), Column("KL", "nats"), Column("extra cross-entropy", "nats")]
        if "others" in self.costs:
            columns.append(Column("others right", places=3))
        rows: list[list[Cell]] = []
        for condition, part in self.costs.groupby("condition", sort=False):
            means = part[["kl", "extra"]].mean()
            row: list[Cell] = [str(condition), float(means["kl"]), float(means["extra"])]
            rows.append([*row, float(part["others"].mean())] if "others" in part else row)
        table = Table("side effects", f"{self.config.neutral_texts} beginnings of documents", columns, rows)
        return Section("What it costs on neutral text", (), (), [table])

    def _candidates(self) -> Section:
        columns = [
            Column("position", places=0), Column("layer", places=0), Column("bypass"), Column("induce"),
            Column("KL", "nats"),
        ]  # fmt: skip
        rows: list[list[Cell]] = [
            [
                row["position"],
                row["layer"],
                *(None if pd.isna(row[m]) else row[m] for m in ("bypass", "induce", "kl")),
            ]
            for row in self.candidates.to_dict("records")
        ]
        config = self.config
        text = (
            f"Left out: layers from {config.latest:g} of the depth on, KL above {config.largest_kl:g}, "
            f"induced scores below {config.least_induced:g}. Of the rest, the lowest bypass score."
        )
        return Section(
            "The candidates", [text], (), [Table("candidates", "Validation requests", columns, rows)]
        )

    def _texts(self) -> Section:
        shown = self.texts.groupby(["condition", "kind"], sort=False).head(2)
        columns = [Column("condition"), Column("requests"), Column("request"), Column("text")]
        rows: list[list[Cell]] = [
            [row["condition"], row["kind"], row["prompt"], row["text"]] for row in shown.to_dict("records")
        ]
        return Section(
            "What is written", (), (), [Table("texts", "The first held-out requests", columns, rows)]
        )

    def _verdict(self) -> str:
        condition = self._best_added()
        added, centred = self._of(condition, "harmless"), self._of("mean-centred", "harmful")
        _, where, _ = condition.split(", ")
        times = self.run.metrics[f"chosen/add_{where}_coefficient"]
        return (
            f"Added {times:g} times ({where} positions) it makes the model refuse {measured(added)} "
            f"({interval(added)}) of the harmless requests, {self._written(condition):.2f} in what is "
            f"then written (unchanged {measured(self._of('unchanged', 'harmless'))}, random "
            f"{measured(self._of(f'add, {where}, random', 'harmless'))}); held at its harmless mean it "
            f"leaves {measured(centred)} ({interval(centred)}) of the harmful ones refused (unchanged "
            f"{measured(self._of('unchanged', 'harmful'))}, random "
            f"{measured(self._of('mean-centred, random', 'harmful'))})."
        )

    def _best_added(self) -> str:
        """The way of adding after which most harmless requests are refused in what is written."""
        offered = [f"add, {where}, chosen" for where in self.config.positions]
        return max(offered, key=lambda condition: (self._written(condition), -offered.index(condition)))

    def _written(self, condition: str) -> float:
        own = self.results[(self.results["condition"] == condition) & (self.results["kind"] == "harmless")]
        return float(own["written"].iloc[0])

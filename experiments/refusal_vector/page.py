"""The page of `refusal_vector`."""

from collections.abc import Mapping, Sequence

from interp.render.digits import measured, with_interval
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage, estimate_of
from ..common.vectors.figures import overflow_note, profile, shares
from .config import Config

RANDOM = ", random"
NAMES: Mapping[Role, str] = {"c": "the direction", "null": "random directions", "b": "unchanged"}


class RefusalPage(ExperimentPage[Config]):
    """Shows the direction in every use, beside random ones."""

    words = (
        ("Refusal direction", "Mean activation on harmful requests minus that on harmless ones, at one "
         "token after the request and one layer (`resid_pre`)."),
        ("Refused", "The likeliest next token is one that refusals begin with; in text: what is "
         "generated contains a phrase of refusal."),
        ("Add, subtract", "A multiple of the direction at its layer: at all positions, or at the last "
         "token of the request."),
        ("Project out", "Its projection becomes zero wherever the model writes to the residual stream; "
         "orthogonalising the weights does the same."),
        ("Mean-centred", "Its projection is set, before every layer, to its mean over harmless "
         "requests."),
        ("Bypass, induce, KL", "Refusal scores (log-odds of refusing) with the direction projected out on "
         "harmful requests and added on harmless ones; KL of the next token on harmless ones, in nats."),
    )  # fmt: skip
    limits = (
        "A request is harmful if its list says so, and refused if certain words appear: neither judges the "
        "answer itself.",
        "Requests are similar; intervals treat them as independent. Under several random directions a "
        "request counts once, by its mean.",
        "Plain projection means little where the harmless mean is far from zero; the mean-centred form is "
        "the fair one there.",
    )

    def __init__(self, run: Run, config: Config, subject: Subject, chosen: Mapping[str, int]) -> None:
        super().__init__(run, config, subject)
        self.chosen, self.model = chosen, subject.name
        self.profile, self.results, self.candidates, self.costs, self.texts = (
            run.table(name) for name in ("profile", "results", "candidates", "costs", "texts")
        )

    def question(self) -> str:
        """What was asked."""
        return f"Does one direction decide whether {self.model} refuses?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        place = f"layer {self.chosen['layer']}, {-self.chosen['position']} from the end"
        return (
            f"Mean differences between {self.chosen['n']} harmful and as many harmless requests "
            "were scored at every layer and every token after the request.",
            f"The one that bypasses refusal best among those that pass the filters ({place}) was "
            "then applied to requests not used to make or choose it, beside random directions of "
            "the same length.",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Shares refused."""
        n = dict(zip(self.results["kind"][:2], self.results["questions"][:2], strict=True))
        caption = (
            f"{n['harmful']} harmful and {n['harmless']} harmless held-out requests (times "
            f"{self.config.draws} draws for random directions); seed {self.config.seed}; whiskers: 95% "
            "intervals"
        )
        return Figure("refused", "Refused, held-out requests", caption, self._shares())

    def sections(self) -> Sequence[Section]:
        """Shows layers, conditions, costs, candidates and texts."""
        config = self.config
        broken = (
            "When it is added at every position, generated text may break: each new token is pushed towards "
            "the beginning of a refusal again."
        )
        left_out = (
            f"Left out: layers from {config.latest:g} of the depth on, KL above {config.largest_kl:g}, "
            f"induced scores below {config.least_induced:g}. Of the rest, the lowest bypass score."
        )
        layers = [
            self._by_layer("harmless", "Harmless requests, the direction added"),
            self._by_layer("harmful", "Harmful requests, the direction removed"),
        ]
        return (
            Section("The profile over layers", figures=layers),
            Section("Every condition", [broken], tables=[self._held_out()]),
            Section("What it costs on neutral text", tables=[self._costs()]),
            Section("The candidates", [left_out], tables=[self._candidates()]),
            Section("What is written", tables=[self._texts()]),
        )

    def caveats(self) -> Sequence[str]:
        """Returns the limits, and says whether logits overflowed."""
        return (*self.limits, *overflow_note(self.profile))

    def _of(self, condition: str, kind: str) -> Estimate:
        return estimate_of(self.results, "right", condition=condition, kind=kind)

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

    def _by_layer(self, kind: str, title: str) -> Figure:
        own = self.profile[self.profile["kind"] == kind]
        curves = {}
        for how, rows in own.groupby("how", sort=False):
            best = rows.groupby("layer")["right"].agg("idxmax" if kind == "harmless" else "idxmin")
            curves[str(how)] = rows.loc[best]
        roles: dict[str, Role] = {how: "null" for how in curves if how.endswith(RANDOM)}
        drawn = profile(curves, "layer", x_name="layer (resid_pre)", y_name="share refused", roles=roles)
        caption = (
            f"{self.config.requests.validate_on} validation requests at most; best coefficient and "
            "positions at each layer"
        )
        return Figure(f"layers_{kind}", title, caption, drawn)

    def _held_out(self) -> Table:
        columns: list[Column | str] = [
            "condition", Column("requests", of="kind"), Column("refused", of="right"),
            Column("refused in text", places=2, of="written"), Column("answered", places=0, of="questions"),
        ]  # fmt: skip
        return Table.of(self.results, columns, "held out", "Held-out requests")

    def _costs(self) -> Table:
        columns: list[Column | str] = [
            "condition",
            Column("KL", "nats", of="kl"),
            Column("extra cross-entropy", "nats", of="extra"),
        ]
        measures = ["kl", "extra"]
        if "others" in self.costs:
            columns.append(Column("others right", places=3, of="others"))
            measures.append("others")
        means = self.costs.groupby("condition", sort=False)[measures].mean().reset_index()
        return Table.of(
            means, columns, "side effects", f"{self.config.neutral_texts} beginnings of documents"
        )

    def _candidates(self) -> Table:
        columns: list[Column | str] = [
            Column("position", places=0), Column("layer", places=0), "bypass", "induce",
            Column("KL", "nats", of="kl"),
        ]  # fmt: skip
        return Table.of(self.candidates, columns, "candidates", "Validation requests")

    def _texts(self) -> Table:
        shown = self.texts.groupby(["condition", "kind"], sort=False).head(2)
        columns: list[Column | str] = [
            "condition",
            Column("requests", of="kind"),
            Column("request", of="prompt"),
            "text",
        ]
        return Table.of(shown, columns, "texts", "The first held-out requests")

    def _verdict(self) -> str:
        condition = self._best_added()
        _, where, _ = condition.split(", ")
        times = self.run.metrics[f"chosen/add_{where}_coefficient"]
        return (
            f"Added {times:g} times ({where} positions) it makes the model refuse "
            f"{with_interval(self._of(condition, 'harmless'))} of the harmless requests, "
            f"{self._written(condition):.2f} in what is then written (unchanged "
            f"{measured(self._of('unchanged', 'harmless'))}, random "
            f"{measured(self._of(f'add, {where}, random', 'harmless'))}); held at its harmless mean it "
            f"leaves {with_interval(self._of('mean-centred', 'harmful'))} of the harmful ones refused "
            f"(unchanged {measured(self._of('unchanged', 'harmful'))}, random "
            f"{measured(self._of('mean-centred, random', 'harmful'))})."
        )

    def _best_added(self) -> str:
        """Returns the way of adding under which most harmless requests are refused in generated text."""
        offered = [f"add, {where}, chosen" for where in self.config.positions]
        return max(offered, key=lambda condition: (self._written(condition), -offered.index(condition)))

    def _written(self, condition: str) -> float:
        own = self.results[(self.results["condition"] == condition) & (self.results["kind"] == "harmless")]
        return float(own["written"].iloc[0])

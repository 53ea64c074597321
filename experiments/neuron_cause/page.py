"""The page of `neuron_cause`."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import numpy as np

from interp.causal.effects import CLEAN, CONTROL, TOGETHER
from interp.compare.concepts import activations_by_concept
from interp.descriptions.excerpt import pieces
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.features.space import Polarity
from interp.mining.mined import MinedSpaces
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.distributions import Group, histogram_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import count, measured, number, with_interval
from interp.render.figure import Figure
from interp.render.marked import MarkedText
from interp.render.page import Cell, Column, Section, Table
from interp.render.palette import Role
from interp.statistics.estimate import Estimate, mean_interval
from interp.subject import Subject
from interp.track.run import Run

from ..common.page import ExperimentPage
from .config import Config, PickByAttribution, PickByConcept

ROLES: Mapping[str, Role] = {"mlp": "a", "sae": "b", "directions": "c"}
"""The names of the kinds of spaces."""
PROBABILITY, RATE = "answer", "right"
SHOWN, BEFORE, AFTER = 3, 16, 6
"""Windows of each feature that are shown, and tokens around the peak."""
NAMES = {PROBABILITY: "probability of the answers", RATE: "share of questions answered so"}


class CausePage(ExperimentPage[Config]):
    """Shows what changing the picked features does, beside random ones."""

    words = (
        ("Feature", "A quantity read from the model at every token: a neuron, a latent of an SAE, a "
         "direction."),
        ("Ablate", "Replace a feature's value: by zero, by its mean, or by its value on another token."),
        ("Dose", "A value that the feature is clamped to, between its 1e-5- and its (1 - 1e-5)-quantile on "
         "the corpus."),
        ("Random features", "Sets of the same size, from the same layers, similarly active, not picked."),
        ("Interval", "95%, by bootstrap over questions, paired with the unchanged model where a change is "
         "shown."),
    )  # fmt: skip
    limits = (
        "Questions of one kind are similar; the intervals treat them as independent and say nothing about "
        "other kinds.",
        "A feature clamped to an extreme can push the model off its own distribution: an effect only at the "
        "ends of the range is weaker evidence than one that begins inside it.",
    )

    def __init__(
        self,
        run: Run,
        config: Config,
        subject: Subject,
        corpus: Corpus,
        mined: MinedSpaces,
        picked: Sequence[tuple[FeatureRef, float | None]],
    ) -> None:
        super().__init__(run, config, subject)
        self.corpus, self.mined, self.picked, self.model = corpus, mined, picked, subject.name
        self.features = [feature for feature, _ in picked]
        self.pieces = partial(pieces, subject)
        self.sweep, self.outcomes, self.effects = (
            run.table(name) for name in ("sweep", "ablations", "ablation_effects")
        )
        self.groups = list(dict.fromkeys(self.outcomes["group"]))
        self.role = _role(self.features[0])
        n = int((self.outcomes["set"] == CLEAN).sum())
        self.measured_on = (
            f"{count(n)} questions not used to pick features, seed {config.seed}. Bands and whiskers: 95%."
        )

    def question(self) -> str:
        """What was asked."""
        return f"Do these features make {self.model} answer as it does?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        clean = self.outcomes[self.outcomes["set"] == CLEAN].groupby("group")[RATE].mean()
        shares = [f"{number(float(clean[group]))} of {group}" for group in self.groups]
        total = sum(found.exemplars["explain"].n_features for found in self.mined.values())
        return (
            f"The model {self.model} gives the answers in question to this share of its prompts: "
            f"{', '.join(shares)}.",
            f"{len(self.features)} of {count(total)} features were then ablated, and clamped to values over "
            "their range; the same was done to random features that are about as active (grey).",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Dose and probability."""
        return self._together("dose_probability", PROBABILITY, "Answers as the features are clamped")

    def sections(self) -> Sequence[Section]:
        """Shows doses, ablations, single features, what drives them, and the list of features."""
        single = (*self._alone(), *self._driven(), self._responds())
        return (self._doses(), self._ablations(), *single, self._described())

    def _verdict(self) -> str:
        group = self.groups[0]
        rate = self.effects[(self.effects["measure"] == "rate") & (self.effects["group"] == group)]
        row = max(rate.to_dict("records"), key=lambda one: abs(one["beyond"]))
        low, high = (self._at(TOGETHER, group, share) for share in (0.0, 1.0))
        others = [number(self._control(group, share)) for share in (0.0, 1.0)]
        return (
            f"For {group}, ablation ({row['to']}) changes the share by "
            f"{with_interval(Estimate.of(row, 'beyond'), sign=True)} beyond random features"
            f"{'' if _clear(row) else ', which is no clear effect'}; clamped from the lowest to the highest "
            f"dose, it goes from {measured(low)} to {measured(high)}, with random features from {others[0]} "
            f"to {others[1]}."
        )

    def _doses(self) -> Section:
        ends = {g: [number(self._at(TOGETHER, g, share).value) for share in (0.0, 1.0)] for g in self.groups}
        moves = [f"{group} from {low} to {high}" for group, (low, high) in ends.items()]
        text = (
            "All picked features are clamped together. Dose 1 is the end of their range on the side that "
            "they were picked for, dose 0 the opposite end."
        )
        figures = [
            self._together("dose_probability", PROBABILITY, "Probability of the answers"),
            self._together("dose_rate", RATE, "How often the questions are answered so"),
        ]
        return Section(
            f"From the lowest dose to the highest, the share goes: {'; '.join(moves)}", [text], figures
        )

    def _ablations(self) -> Section:
        rows = self.effects[self.effects["measure"] == "rate"].to_dict("records")
        clear = [f"{row['to']} ({row['group']})" for row in rows if _clear(row)]
        title = (
            f"Ablation changes the answers more than ablating random features does: {', '.join(clear)}"
            if clear
            else "No ablation changes the answers more than ablating random features does"
        )
        text = (
            "Zero removes a feature, the mean keeps its average value, a resampled value breaks "
            "only its connection with this text."
        )
        columns: list[Column | str] = [
            Column("questions", of="group"), Column("ablated to", of="to"), "measure",
            Column("change", of="value"), Column("random sets", of="control"),
            Column("beyond random", of="beyond"), Column("n", places=0, of="questions"),
        ]  # fmt: skip
        caption = (
            "Changes against the unchanged model; for random sets, the mean and the range of the sets' means"
        )
        named = self.effects.rename(columns={"low": "value_low", "high": "value_high"})
        drawn = estimate_chart(
            [
                EstimateRow(
                    f"{row['to']}, {row['group']}",
                    [Entry(self.role, Estimate(row["value"], row["low"], row["high"])),
                     Entry("null", Estimate.of(row, "control"))],
                )
                for row in rows
            ],
            x_name="change in the share",
            names={self.role: "picked", "null": "random sets"},
        )  # fmt: skip
        figure = Figure("ablations", "Change in the share of questions answered so", self.measured_on, drawn)
        return Section(title, [text], [figure], [Table.of(named, columns, "ablations", caption)])

    def _alone(self) -> list[Section]:
        swept = [feature for feature in self.features if feature.key in set(self.sweep["set"])]
        text = "The strip marks where 98% of the feature's activations lie."
        figures = [self._single(feature) for feature in swept]
        return [Section("One feature at a time", [text], figures)] if swept else []

    def _driven(self) -> list[Section]:
        explained = self.features[: self.config.histograms] if self.corpus.label_names else ()
        text = "The labels that the feature detects best, chosen on the select split."
        figures = [self._histogram(feature) for feature in explained]
        return [Section("What kind of input drives them", [text], figures)] if figures else []

    def _responds(self) -> Section:
        """Shows the text on which each picked feature is strongest, on the side that it was picked for."""
        rows: list[list[Cell]] = []
        for feature in self.features:
            mined = self.mined[feature.space.name].exemplars["explain"]
            polarity: Polarity = 1 if feature.polarity > 0 else -1
            top = [one for one in mined.windows(feature.feature_id, polarity) if one.band == "top"]
            for window in top[:SHOWN]:
                tokens = self.corpus[window.document].tokens
                peak = window.start + (0 if window.values is None else int(window.values.argmax()))
                first = max(0, peak - BEFORE)
                shown = self.pieces(tokens[first : peak + AFTER])
                marks = [first + place == peak for place in range(len(shown))]
                rows.append([feature.key, window.value, MarkedText(shown, marks)])
        columns = [Column("feature"), Column("activation"), Column("text")]
        caption = f"The strongest windows of the explain split, around the peak; {self.corpus.name}"
        table = Table("exemplars", caption, columns, rows)
        return Section("What they are strongest on", tables=[table])

    def _described(self) -> Section:
        pick = self.config.pick
        how, value = "They were named in the config.", "value"
        if isinstance(pick, PickByConcept):
            how, value = f"They detect tokens of {pick.concept} best on the select split.", "AUROC"
        if isinstance(pick, PickByAttribution):
            how = "The answers of the other half of the questions were attributed to them most."
            value = "attribution"
        columns = [Column("feature"), Column(value), Column("mean"), Column("lowest"), Column("highest")]
        rows = []
        for feature, worth in self.picked:
            found = self.mined[feature.space.name].statistics()
            levels = found.quantile_values[feature.feature_id].tolist()
            mean = float(found.mean[feature.feature_id])
            rows.append([feature.key, worth, mean, levels[0], levels[-1]])
        caption = "Lowest and highest: quantiles 1e-5 and 1 - 1e-5 of the signed activation"
        return Section("The features", [how], tables=[Table("features", caption, columns, rows)])

    def _together(self, name: str, measure: str, title: str) -> Figure:
        curves = []
        for set_name in dict.fromkeys(self.sweep["set"]):
            random = set_name.startswith(CONTROL)
            if set_name != TOGETHER and not random:
                continue
            for group in self.groups:
                points = self._points(set_name, group, measure, "share", banded=not random)
                curves.append(Curve("random" if random else group, "null" if random else self.role, points))
        drawn = curve_chart(curves, x_name="dose (share of the range)", y_name=NAMES[measure])
        return Figure(name, title, self.measured_on, drawn)

    def _single(self, feature: FeatureRef) -> Figure:
        found = self.mined[feature.space.name].statistics()
        levels = found.quantile_values[feature.feature_id]
        natural = (float(levels[found.levels.index(0.01)]), float(levels[found.levels.index(0.99)]))
        curves = [
            Curve(
                group,
                self.role,
                self._points(feature.key, group, PROBABILITY, "value"),
                natural if place == 0 else None,
            )
            for place, group in enumerate(self.groups)
        ]
        drawn = curve_chart(
            curves, x_name="activation held", y_name=NAMES[PROBABILITY], marks=[(0.0, "zero")]
        )
        return Figure(f"dose_{feature.key}", feature.key, self.measured_on, drawn)

    def _histogram(self, feature: FeatureRef) -> Figure:
        *labelled, (rest, others) = activations_by_concept(self.corpus, self.mined, feature)
        groups = [Group(name, values.tolist(), _role(feature)) for name, values in labelled]
        groups.append(Group(rest, others.tolist(), "null"))
        drawn = histogram_chart(groups, x_name=f"activation of {feature.key}")
        caption = "Tokens drawn from the report split of the corpus."
        return Figure(f"drivers_{feature.key}", feature.key, caption, drawn)

    def _points(
        self, name: str, group: str, measure: str, dose: str, banded: bool = True
    ) -> list[tuple[float, Estimate]]:
        part = self.sweep[(self.sweep["set"] == name) & (self.sweep["group"] == group)]
        points = []
        for at in np.unique(part[dose]):
            known = part.loc[part[dose] == at, measure].to_numpy(dtype=float)
            found = mean_interval(known, self.config.seed) if banded else Estimate(float(known.mean()))
            points.append((float(at), found))
        return points

    def _at(self, name: str, group: str, share: float) -> Estimate:
        return dict(self._points(name, group, RATE, "share"))[share]

    def _control(self, group: str, share: float) -> float:
        part = self.sweep[self.sweep["set"].str.startswith(CONTROL) & (self.sweep["group"] == group)]
        return float(part[part["share"] == share][RATE].mean())


def _clear(row: Mapping[Hashable, float]) -> bool:
    """Whether the interval of an effect beyond random features excludes zero."""
    return not row["beyond_low"] <= 0 <= row["beyond_high"]


def _role(feature: FeatureRef) -> Role:
    return ROLES.get(feature.space.name.partition(".")[0], "c")

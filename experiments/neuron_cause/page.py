"""The page of `neuron_cause`, filled from what its steps wrote."""

from collections.abc import Mapping, Sequence

from experiments.neuron_cause.config import Config, PickByAttribution, PickByConcept
from interp.causal.effects import CLEAN, CONTROL, TOGETHER
from interp.compare.concepts import activations_by_concept
from interp.compare.populations import PopulationKind
from interp.document import Corpus
from interp.features.ref import FeatureRef
from interp.mining.mined import MinedSpaces
from interp.render.charts.curves import Curve, curve_chart
from interp.render.charts.distributions import Group, histogram_chart
from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.digits import count, interval, measured, number
from interp.render.facts import run_facts, step_seconds, subject_facts
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Page, Section, Table
from interp.render.palette import OF_KIND, Role
from interp.statistics.estimate import Estimate, mean_interval
from interp.subject import Subject
from interp.track.run import Run

SPACES: Mapping[str, PopulationKind] = {"mlp": "neuron", "sae": "latent", "directions": "direction"}
PROBABILITY, RATE = "answer", "right"
NAMES = {PROBABILITY: "probability of the answers", RATE: "share of questions answered so"}
DOSE = "dose (share of the range)"
HALF = 540  # pixels of a figure that stands beside another
WORDS = (
    ("Feature", "A quantity read off the model at every token: a neuron, a latent of an SAE, a direction."),
    ("Ablate", "Replace what a feature says: by zero, by its mean, or by its value on another token."),
    (
        "Dose",
        "A value that the feature is held at, between its 1e-5- and its (1 - 1e-5)-quantile on the corpus.",
    ),
    ("Random features", "Sets of the same size, of the same layers, about as active, and not picked."),
    (
        "Interval",
        "95%, by bootstrap over questions, paired with the unchanged model where a change is shown.",
    ),
)
LIMITS = (
    "Questions of one kind are alike; the intervals take them as independent and say nothing of other kinds.",
    "A feature held at an extreme can push the model to where it never is by itself: an effect that shows at "
    "the ends of the range only says less than one that begins inside it.",
)


class CausePage:
    """The tables of a run, and the pieces of the page made from them."""

    def __init__(
        self,
        run: Run,
        subject: Subject,
        corpus: Corpus,
        mined: MinedSpaces,
        features: Sequence[FeatureRef],
        values: Sequence[float | None],
        config: Config,
    ) -> None:
        self.run, self.subject, self.corpus, self.mined = run, subject, corpus, mined
        self.features, self.values, self.config = features, values, config
        self.sweep, self.outcomes, self.effects = (
            run.table(name) for name in ("sweep", "ablations", "ablation_effects")
        )
        self.groups = list(dict.fromkeys(self.outcomes["group"]))
        self.role = role_of(features[0])
        n = int((self.outcomes["set"] == CLEAN).sum())
        self.measured_on = (
            f"{count(n)} questions on which nothing was picked, seed {config.seed}. Bands and whiskers: 95%."
        )

    def page(self) -> Page:
        """The whole page."""
        clean = [f"{number(self._clean(group).value)} of {group}" for group in self.groups]
        total = sum(found.exemplars["explain"].n_features for found in self.mined.values())
        return Page(
            f"Do these features make {self.subject.name} answer as it does?",
            [
                f"The model {self.subject.name} gives the answers in question to this share of its prompts: "
                f"{', '.join(clean)}.",
                f"{len(self.features)} of {count(total)} features were then ablated, and held at values over "
                "their range; the same was done to random features that are about as active (grey).",
                self._verdict(),
            ],
            Figure(
                "dose_probability",
                "What holding the features at a value does",
                self.measured_on,
                self._together(PROBABILITY),
            ),
            [self._dose(), self._ablation(), *self._alone(), *self._drivers(), self._picked()],
            WORDS,
            LIMITS,
            subject_facts(self.subject),
            run_facts(self.run),
            step_seconds(self.run),
        )

    def _dose(self) -> Section:
        ends = {g: [number(self._at(TOGETHER, g, share).value) for share in (0.0, 1.0)] for g in self.groups}
        moves = [f"{group} from {low} to {high}" for group, (low, high) in ends.items()]
        return Section(
            f"From the lowest dose to the highest, the share goes: {'; '.join(moves)}",
            [
                "All picked features are held together. Dose 0 is the end of their range that is farthest "
                "from the side they were picked for, dose 1 the end of that side."
            ],
            [
                Figure(
                    "dose_probability",
                    "Probability of the answers",
                    self.measured_on,
                    self._together(PROBABILITY),
                    HALF,
                ),
                Figure(
                    "dose_rate",
                    "How often an answer is the likeliest token",
                    self.measured_on,
                    self._together(RATE),
                    HALF,
                ),
            ],
        )

    def _ablation(self) -> Section:
        rate = self.effects[self.effects["measure"] == "rate"]
        clear = [
            f"{row.to} ({row.group})"
            for row in rate.itertuples()
            if not row.beyond_low <= 0 <= row.beyond_high
        ]
        title = (
            f"Ablation changes the answers more than in random features: {', '.join(clear)}"
            if clear
            else "No ablation changes the answers more than in random features"
        )
        columns = [
            Column("questions"),
            Column("ablated to"),
            Column("measure"),
            Column("change"),
            Column("random sets"),
            Column("beyond random"),
            Column("n", places=0),
        ]
        rows = [
            [row.group, row.to, row.measure, Estimate(row.value, row.low, row.high),
             Estimate(row.control, row.control_low, row.control_high),
             Estimate(row.beyond, row.beyond_low, row.beyond_high), row.questions]
            for row in self.effects.itertuples()
        ]  # fmt: skip
        caption = (
            "Changes against the unchanged model; for random sets, the mean and the range of the sets' means"
        )
        return Section(
            title,
            [
                "Zero takes a feature away, the mean leaves what it says on average, a resampled value takes "
                "only its connection with this text."
            ],
            [
                Figure(
                    "ablations",
                    "Change in the share of questions answered so",
                    self.measured_on,
                    self._ablations(),
                )
            ],
            [Table("ablations", caption, columns, rows)],
        )

    def _alone(self) -> list[Section]:
        swept = [feature for feature in self.features if feature.key in set(self.sweep["set"])]
        if not swept:
            return []
        figures = [
            Figure(f"dose_{feature.key}", feature.key, self.measured_on, self._single(feature), HALF)
            for feature in swept
        ]
        text = "The strip marks where 98% of the feature's activations lie."
        return [Section("One feature at a time", [text], figures)]

    def _drivers(self) -> list[Section]:
        if not self._explained():
            return []
        figures = [
            Figure(
                f"drivers_{f.key}",
                f.key,
                "Tokens drawn from the report split of the corpus.",
                self._histogram(f),
                HALF,
            )
            for f in self._explained()
        ]
        text = "The labels that the feature tells best, chosen on the select split."
        return [Section("What kind of input drives them", [text], figures)]

    def _picked(self) -> Section:
        pick = self.config.pick
        how, value = "They were named in the config.", "value"
        if isinstance(pick, PickByConcept):
            how, value = f"They tell tokens of {pick.concept} best on the select split.", "AUROC"
        if isinstance(pick, PickByAttribution):
            how = "The answers of the other half of the questions were attributed to them most."
            value = "attribution"
        columns = [Column("feature"), Column(value), Column("mean"), Column("lowest"), Column("highest")]
        rows = []
        for feature, worth in zip(self.features, self.values, strict=True):
            found = self.mined[feature.space.name].statistics()
            levels = found.quantile_values[feature.feature_id].tolist()
            mean = float(found.mean[feature.feature_id])
            rows.append([feature.key, worth, mean, levels[0], levels[-1]])
        caption = "Lowest and highest: quantiles 1e-5 and 1 - 1e-5 of the signed activation"
        return Section("The features", [how], (), [Table("features", caption, columns, rows)])

    def _verdict(self) -> str:
        rate = self.effects[(self.effects["measure"] == "rate") & (self.effects["group"] == self.groups[0])]
        row = max(rate.itertuples(), key=lambda one: abs(one.beyond))
        beyond = Estimate(row.beyond, row.beyond_low, row.beyond_high)
        seen = not row.beyond_low <= 0 <= row.beyond_high
        low, high = (self._at(TOGETHER, self.groups[0], share) for share in (0.0, 1.0))
        others = [self._control(self.groups[0], share) for share in (0.0, 1.0)]
        return (
            f"For {self.groups[0]}, ablation ({row.to}) changes the share by {measured(beyond, sign=True)} "
            f"({interval(beyond, sign=True)}) beyond random features"
            f"{'' if seen else ', which is no clear effect'}; held from the lowest to the highest dose, it "
            f"goes from {measured(low)} to {measured(high)}, with random features from {number(others[0])} "
            f"to {number(others[1])}."
        )

    def _together(self, column: str) -> Draw:
        curves = []
        for name in dict.fromkeys(self.sweep["set"]):
            random = name.startswith(CONTROL)
            if name != TOGETHER and not random:
                continue
            for group in self.groups:
                label = "random" if random else group
                role: Role = "null" if random else self.role
                curves.append(Curve(label, role, self._points(name, group, column, "share", not random)))
        return curve_chart(curves, x_name=DOSE, y_name=NAMES[column])

    def _single(self, feature: FeatureRef) -> Draw:
        found = self.mined[feature.space.name].statistics()
        levels = found.quantile_values[feature.feature_id]
        natural = (float(levels[found.levels.index(0.01)]), float(levels[found.levels.index(0.99)]))
        curves = [
            Curve(
                group,
                self.role,
                self._points(feature.key, group, PROBABILITY, "value", True),
                natural if place == 0 else None,
            )
            for place, group in enumerate(self.groups)
        ]
        return curve_chart(curves, x_name="activation held", y_name=NAMES[PROBABILITY], marks=[(0.0, "zero")])

    def _ablations(self) -> Draw:
        rate = self.effects[self.effects["measure"] == "rate"]
        rows = [
            EstimateRow(
                f"{row.to}, {row.group}",
                [
                    Entry(self.role, Estimate(row.value, row.low, row.high)),
                    Entry("null", Estimate(row.control, row.control_low, row.control_high)),
                ],
            )
            for row in rate.itertuples()
        ]
        names: Mapping[Role, str] = {self.role: "picked", "null": "random sets"}
        return estimate_chart(rows, x_name="change in the share", names=names)

    def _histogram(self, feature: FeatureRef) -> Draw:
        found = activations_by_concept(self.corpus, self.mined, feature)
        groups = [
            Group(name, values.tolist(), role_of(feature) if index < len(found) - 1 else "null")
            for index, (name, values) in enumerate(found)
        ]
        return histogram_chart(groups, x_name=f"activation of {feature.key}")

    def _explained(self) -> Sequence[FeatureRef]:
        return self.features[: self.config.histograms] if self.corpus.label_names else ()

    def _points(
        self, name: str, group: str, column: str, dose: str, banded: bool
    ) -> list[tuple[float, Estimate]]:
        part = self.sweep[(self.sweep["set"] == name) & (self.sweep["group"] == group)]
        points = []
        for at, values in part.groupby(dose)[column]:
            plain = values.to_numpy(dtype=float)
            found = mean_interval(plain, self.config.seed) if banded else (float(plain.mean()), None, None)
            points.append((float(at), Estimate(*found)))
        return points

    def _clean(self, group: str) -> Estimate:
        part = self.outcomes[(self.outcomes["set"] == CLEAN) & (self.outcomes["group"] == group)]
        return mean_interval(part[RATE].to_numpy(dtype=float), self.config.seed)

    def _at(self, name: str, group: str, share: float) -> Estimate:
        return dict(self._points(name, group, RATE, "share", True))[share]

    def _control(self, group: str, share: float) -> float:
        part = self.sweep[self.sweep["set"].str.startswith(CONTROL) & (self.sweep["group"] == group)]
        return float(part[part["share"] == share][RATE].mean())


def role_of(feature: FeatureRef) -> Role:
    """The role of a feature's kind, which gives its colour."""
    return OF_KIND[SPACES.get(feature.space.name.partition(".")[0], "direction")]

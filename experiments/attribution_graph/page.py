"""The page of `attribution_graph`: what its features do to the answer, and how much of it they explain."""

from collections.abc import Mapping, Sequence

import pandas as pd

from interp.render.charts.estimates import Entry, EstimateRow, estimate_chart
from interp.render.charts.scatter import scatter_chart
from interp.render.digits import count, measured, number, percent, with_interval
from interp.render.figure import Draw, Figure
from interp.render.page import Column, Section, Table
from interp.render.palette import OF_KIND, Role
from interp.statistics.estimate import Estimate
from interp.subject import Subject
from interp.track.run import Run

from ..common.frames import groups
from ..common.page import ExperimentPage, estimate_of
from .config import Config

MEASURES = (
    "n_active", "features", "nodes", "edges", "replacement", "completeness", "drop", "predicted", "random",
    "random_predicted", "more", "spearman", "shuffled", "logit_spearman", "logit_shuffled", "held_spearman",
    "held_shuffled", "held_gap",
)  # fmt: skip
SCORES = ("replacement", "completeness")
COMPARED = {
    "replacement": "replacement score",
    "completeness": "completeness score",
    "nodes": "nodes of pruned graphs",
    "edges": "edges of pruned graphs",
    "drop": "drop of the answer's logit",
    "more": "drop beyond that of random features",
    "spearman": "rank correlation of predicted and actual changes",
}
COLOUR: Mapping[str, Role] = {"neurons": OF_KIND["neuron"], "transcoders": OF_KIND["latent"]}
THIRD = 400  # pixels: the width of a figure beside another


class GraphPage(ExperimentPage[Config]):
    """Shows whether the most influential features carry the answer, and which kind explains more."""

    words = (
        ("Attribution graph", "What tokens, features and errors of one prompt add to each other and to the "
         "answer's logit, with attention and the norms' scales as they are on the prompt."),
        ("Feature", "A neuron at one token, linear by the RelP rule; or a latent of a transcoder, which "
         "predicts an MLP's output from its input."),
        ("Error", "What the features leave unexplained of an MLP's output, with all features that are not "
         "in the graph."),
        ("Influence", "The share of the answer's logit that comes through a feature along all paths, signs "
         "left out."),
        ("Replacement score", "The share of influence that starts at tokens rather than at errors."),
        ("Completeness score", "The share of what goes into features and logit that is not from errors."),
        ("Removed", "Set to zero in the model itself; all later features, attention and norms follow."),
        ("Answer's logit", "That of the right next token, less the mean of all."),
    )  # fmt: skip
    limits = (
        "A graph is of one prompt. Prompts of one behaviour are alike in their wording, so intervals over "
        "prompts say little about other behaviours.",
        "The scores compare graphs with the same number of features, but one latent may say more than one "
        "neuron; with all neurons in it, a graph has no error at all.",
        "Scores have no null of their own: beside them is a graph without features, in which all that MLPs "
        "write is error.",
        "Random features are drawn from the graph, whatever their layer and their token.",
    )
    subject: Subject

    def __init__(self, run: Run, config: Config, subject: Subject) -> None:
        super().__init__(run, config, subject)
        self.graphs, self.removals, self.features, self.kinds, self.groups, self.differences = (
            run.table(name) for name in ("graphs", "removals", "features", "kinds", "groups", "differences")
        )
        self.of_features = self.kinds["kind"].isin([*COLOUR])
        self.n_prompts = int(self.graphs["prompt"].max())
        self.on = f"{self.n_prompts} prompts; 95% intervals over prompts"

    def question(self) -> str:
        """What was asked."""
        return f"Through which features does a prompt lead {self.subject.name} to its answer?"

    def opening(self) -> Sequence[str]:
        """What was done, and what came out."""
        kinds = " and ".join(self.config.spaces)
        return (
            f"For each of {self.n_prompts} prompts, attribution graphs were made of {kinds}, with the "
            f"{count(self.config.max_features)} features that have most influence on the answer.",
            f"The {self.config.removed} most influential were then removed in the model, together and one by "
            "one, and as many random ones of the same graph; what happened is held to what the graph says.",
            self._verdict(),
        )

    def headline(self) -> Figure:
        """Draws the drops of the answer's logit."""
        title = f"The answer's logit without {self.config.removed} features"
        return Figure("drops", title, self.on, self._drops(self.kinds[self.of_features]))

    def sections(self) -> Sequence[Section]:
        """The evidence."""
        return [
            self._scores(),
            self._predictions(),
            self._by_group(),
            self._first_prompt(),
            self._prompts(),
            *self._dictionaries(),
        ]

    def _drops(self, rows: pd.DataFrame) -> Draw:
        found = []
        for row in rows.to_dict("records"):
            label = f"{row['group']}, {row['kind']}" if row.get("group") else row["kind"]
            found.append(EstimateRow(label, [
                Entry(COLOUR[row["kind"]], Estimate.of(row, "drop")),
                Entry("c", Estimate.of(row, "predicted")),
                Entry("null", Estimate.of(row, "random")),
            ]))  # fmt: skip
        names: Mapping[Role, str] = {
            "a": "most influential neurons",
            "b": "most influential latents",
            "c": "the graph's prediction",
            "null": "random features of the graph",
        }
        return estimate_chart(found, x_name="drop of the answer's logit", names=names)

    def _scores(self) -> Section:
        rows = [
            EstimateRow(
                f"{measure}, {row['kind']}",
                [Entry(COLOUR.get(row["kind"], "null"), Estimate.of(row, measure))],
            )
            for measure in SCORES
            for row in self.kinds.to_dict("records")
        ]
        columns = [
            Column("features", of="kind"), Column("active", places=0),
            Column("in the graph", places=0), Column("replacement score", of="replacement"),
            Column("completeness score", of="completeness"), Column("pruned: nodes", places=0),
            Column("pruned: edges", places=0),
        ]  # fmt: skip
        pruning = (
            f"Pruned graphs keep the nodes with {percent(self.config.node_share)} of all influence and the "
            f"edges with {percent(self.config.edge_share)}; tokens and errors are nodes, too. They are files "
            "of the run (graphs/NUMBER-KIND.json) that Neuronpedia's and circuit-tracer's pages read."
        )
        names: Mapping[Role, str] = {"a": "neurons", "b": "transcoders", "null": "no features"}
        chart = estimate_chart(rows, x_name="score", names=names, null=None)
        sizes = self.kinds.rename(
            columns={
                "n_active": "active",
                "features": "in the graph",
                "nodes": "pruned: nodes",
                "edges": "pruned: edges",
            }
        )
        tables = [Table.of(sizes, columns, "scores", f"Graphs by their features; means, {self.on}")]
        if len(self.differences):
            shown = self.differences[self.differences["measure"].isin([*COMPARED])].replace(
                {"measure": COMPARED}
            )
            caption = "Transcoders less neurons, prompt by prompt"
            tables.append(Table.of(shown, ["measure", "difference"], "differences", caption))
        return Section(
            "How much do the features explain",
            [pruning],
            [Figure("scores", "Scores", self.on, chart)],
            tables,
        )

    def _predictions(self) -> Section:
        figures = []
        for kind in self.config.spaces:
            own = self.removals.query("kind == @kind and hold == 'nothing' and one")
            chart = scatter_chart(
                list(zip(own["actual"].tolist(), own["predicted"].tolist(), strict=True)),
                role=COLOUR[kind],
                x_name="actual change of the answer's logit",
                y_name="predicted change",
            )
            caption = "single features removed, all prompts, half of them at random"
            figures.append(
                Figure(f"predicted-{kind}", f"Predicted by graphs of {kind}", caption, chart, THIRD)
            )
        columns = [
            Column("features", of="kind"),
            Column("all later nodes", of="spearman"), Column("shuffled", of="shuffled"),
            Column("the logit alone", of="logit_spearman"), Column("shuffled", of="logit_shuffled"),
            Column("with everything held", of="held_spearman"), Column("shuffled", of="held_shuffled"),
        ]  # fmt: skip
        own = self.kinds[self.of_features]
        caption = f"Rank correlation (Spearman) of predicted and actual changes by single features; {self.on}"
        gap = float(self.graphs["held_gap"].max())
        text = (
            "Each feature was removed alone. In the model itself attention and all later features change as "
            "they will; the graph sums all its paths, along which they stay linear. With attention, norms "
            "and all that MLPs write held, its edges must say what happens: the largest error is "
            f"{number(gap, 6)} of the largest change."
        )
        together = " and ".join(
            f"{percent(row['drop'] / row['predicted'])} of the predicted drop with {row['kind']}"
            for row in own.to_dict("records")
            if row["predicted"] > 0
        )
        sizes = [f"Removed together, the most influential features cost {together}."] if together else []
        return Section(
            "Is the graph right", [text, *sizes], figures, [Table.of(own, columns, "agreement", caption)]
        )

    def _by_group(self) -> Section:
        columns = [
            Column("prompts", of="group"), Column("features", of="kind"), Column("n", places=0, of="prompts"),
            Column("drop", of="drop"), Column("predicted", of="predicted"), Column("random", of="random"),
            Column("replacement score", of="replacement"), Column("completeness score", of="completeness"),
        ]  # fmt: skip
        caption = (
            f"{self.config.removed} features removed together: drop of the answer's logit; means over prompts"
        )
        return Section(
            "By kind of prompt",
            [],
            [Figure("groups", "Drops by kind of prompt", self.on, self._drops(self.groups))],
            [Table.of(self.groups, columns, "groups", caption)],
        )

    def _first_prompt(self) -> Section:
        first = self.graphs[self.graphs["prompt"] == 1]
        text, answer = first["text"].iloc[0], first["answer"].iloc[0]
        columns: list[Column | str] = [
            "feature", Column("at", of="token"), "description", "promotes", Column("influence", places=3),
            Column("change without it", of="actual", places=2), Column("predicted", places=2),
        ]  # fmt: skip
        tables = [
            Table.of(
                own,
                self._known(columns, own),
                str(kind),
                f"The most influential {kind} of the first prompt's graph",
            )
            for (kind,), own in groups(self.features[self.features["prompt"] == 1], "kind")
        ]
        said = (
            f"“{text}” leads to “{answer}”, with a probability of {number(first['probability'].iloc[0])}. "
            "Promotes: the tokens whose logits one unit of the feature raises most by itself. Change: of the "
            "answer's logit, when the feature is removed alone. Descriptions are those of a store; "
            "transcoders that are trained here have none."
        )
        return Section("The first prompt", [said], (), tables)

    @staticmethod
    def _known(columns: Sequence[Column | str], features: pd.DataFrame) -> list[Column | str]:
        """The columns, without descriptions where there are none."""
        return [one for one in columns if one != "description" or features["description"].notna().any()]

    def _prompts(self) -> Section:
        columns: list[Column | str] = [
            Column("", places=0, of="prompt"), Column("prompt", of="text"), "answer",
            Column("probability", places=2), Column("features", of="kind"),
            Column("replacement", places=2), Column("completeness", places=2), Column("drop", places=2),
            Column("predicted", places=2), Column("random", places=2),
            Column("rank correlation", of="spearman", places=2),
        ]  # fmt: skip
        shown = self.graphs[self.graphs["kind"].isin([*COLOUR])]
        return Section("All prompts", tables=[Table.of(shown, columns, "prompts", "A row for each graph")])

    def _dictionaries(self) -> list[Section]:
        if not self.run.has_table("dictionaries"):
            return []
        columns = (
            "dictionary", Column("reads", of="site"), Column("latents", places=0), Column("L0", of="l0"),
            Column("explained variance", of="explained_variance"),
            Column("cross-entropy recovered", of="cross_entropy_recovered"),
            Column("dead", places=0, of="n_dead"),
        )  # fmt: skip
        table = Table.of(
            self.run.table("dictionaries"),
            columns,
            "transcoders",
            "On the report split; 95% intervals over documents",
        )
        text = (
            "One for the MLP of each layer, trained on the explain split. Explained variance is of the MLP's "
            "output."
        )
        return [Section("The transcoders", [text], (), [table])]

    def _verdict(self) -> str:
        said = []
        for kind in self.config.spaces:
            drop, predicted, random = (
                estimate_of(self.kinds, name, kind=kind) for name in ("drop", "predicted", "random")
            )
            said.append(
                f"by {with_interval(drop)} with {kind} (predicted {measured(predicted)}, random ones "
                f"{measured(random)})"
            )
        verdict = f"Removing them lowers the answer's logit {' and '.join(said)}"
        if not len(self.differences):
            more = estimate_of(self.kinds, "more", kind=self.config.spaces[0])
            clearly = "more" if more.ends and more.low > 0 else "not clearly more"
            return f"{verdict}: {clearly} than random ones do."
        found = [
            Estimate.of(row, "difference")
            for row in self.differences.to_dict("records")
            if row["measure"] in SCORES
        ]
        signs = {(one.low > 0) - (one.high < 0) if one.ends else 0 for one in found}
        better = {
            1: "transcoders explain more of the graphs than as many neurons",
            -1: "as many neurons explain more of the graphs than transcoders",
        }.get(signs.pop() if len(signs) == 1 else 0, "neither kind clearly explains more of the graphs")
        means = [
            " and ".join(measured(estimate_of(self.kinds, m, kind=kind)) for m in SCORES)
            for kind in ("transcoders", "neurons")
        ]
        return f"{verdict}; {better} (replacement and completeness score {means[0]}, against {means[1]})."

"""The page of the quickstart: it works offline, prints, and opens with a plain answer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from interp.compare.populations import PopulationKind
from interp.document import Corpus
from interp.mining.mined import MinedSpaces
from interp.render.figure import Figure
from interp.render.html import LARGEST_PAGE, rendered_page
from interp.render.tokens import Titles
from interp.subject import Site, Subject
from interp.track.run import Run

from ..common.dictionaries.curves import QUANTITIES
from ..common.populations.data import DescribedFeature, PopulationsData
from ..common.populations.figures import report_figures
from ..common.populations.reading import corpus_facts, population, populations_data, sae_report
from ..common.populations.view import (
    LEANER,
    TEMPLATES,
    PopulationsView,
    concepts_found,
    drawn,
    first_below,
    score_title,
)
from .wording import concept_duel, concept_title, opening

USES = {
    "explain": "descriptions are made from it, the SAE is trained on it",
    "select": "the best feature for each concept is chosen on it",
    "report": "every score on this page is measured on it, and nothing else is",
}
LIMITS = (
    "Descriptions are written without a language model, from patterns of tokens: what "
    "patterns cannot express is not described. The score is of all the patterns found; the sentence names "
    "only the strongest.",
    "AUROC ranks every token: a sparse latent, silent on most, leaves those tied, which a neuron or a random "
    "direction does not; and where several latents share a concept, each misses a part of it.",
    "One subject, one SAE, one seed: the intervals say how sure the figures are for this model and this "
    "dictionary, not for others.",
)
QUESTION = (
    "What do the parts inside a language model respond to, and which kind of part is easier to describe?"
)
NEURONS = "MLP neurons of all layers, both polarities"
SIDE_BY_SIDE = (1.0, 0.75, 0.5, 0.25, 0.0)  # quantiles of the score at which examples are shown


@dataclass(frozen=True)
class QuickstartPage:
    """The page on neurons and latents: scores, concepts found, examples, and every description."""

    data: PopulationsData

    def figures(self) -> list[Figure]:
        """All figures."""
        return report_figures(self.data)

    def html(self, largest: int = LARGEST_PAGE) -> str:
        """Renders the whole page; the same data gives the same bytes.

        The page makes no requests. One over `largest` bytes is made leaner, and says so: first only coloured
        tokens, then only peaks show their value on hover, then fewer exemplars of each band are shown.
        """
        return first_below(self._pages(), largest)

    def _pages(self) -> Iterator[str]:
        drawings = drawn(self.figures())
        for titles, per_band in LEANER:
            yield rendered_page(
                "quickstart.html",
                ["page.js", "features.js"],
                [Path(__file__).parent / "templates", TEMPLATES],
                data=self.data,
                view=QuickstartView(self.data, drawings, titles, per_band),
                subject=self.data.subject,
                run=self.data.run,
                timing=self.data.timing,
                limits=self.data.limits,
            )


class QuickstartView(PopulationsView):
    """The view that the template reads."""

    def __init__(
        self,
        data: PopulationsData,
        drawings: Mapping[str, list[Markup]],
        titles: Titles,
        per_band: int | None,
    ) -> None:
        super().__init__(data, drawings, titles, per_band)
        self.opening = opening(data)
        self.score_title = score_title(data.population("neuron"), data.population("latent"), data.difference)
        self.concept_title = concept_title(data.concepts, data.found_auroc)
        self.concept_duel = concept_duel(data.concepts)

    def curves(self) -> list[Markup]:
        """Draws the training curves of known metrics; all curves if none is known by name."""
        history = self.data.sae.history if self.data.sae else {}
        known = [name for name in history if name.rpartition("/")[2] in QUANTITIES]
        return [self.drawings[n.replace("/", "_")][0] for n in known or history if len(history[n]) > 1]

    def pairs(self) -> list[tuple[str, DescribedFeature | None, DescribedFeature | None]]:
        """Picks examples by a fixed rule: the best, the quartiles and the lowest score of each side."""
        names = ("Best score", "Upper quartile", "Median", "Lower quartile", "Lowest score")
        shown: set[str] = set()
        pairs = []
        for name, share in zip(names, SIDE_BY_SIDE, strict=True):
            left, right = self._at("neuron", share), self._at("latent", share)
            keys = {f.key for f in (left, right) if f}
            if keys - shown:  # a handful of features has fewer ranks than five
                pairs.append((name, left, right))
            shown |= keys
        return pairs

    def recovered(self) -> list[tuple[str, int, int]]:
        """Returns, for each method, its name, the concepts found and the concepts tried."""
        d = self.data
        methods = dict.fromkeys(s.method for s in d.concepts)
        return [
            (m, len(concepts_found(d.concepts, m, d.found_auroc)), sum(s.method == m for s in d.concepts))
            for m in methods
        ]

    def _at(self, kind: PopulationKind, share: float) -> DescribedFeature | None:
        scored = [f for f in self.data.features if f.kind == kind and f.both.point is not None]
        if not scored:
            return None
        ranked = sorted(scored, key=lambda f: (f.both.point or 0.0, f.key))
        return ranked[round(share * (len(ranked) - 1))]


def quickstart_page(
    run: Run, subject: Subject, corpus: Corpus, mined: MinedSpaces, sae_site: Site, found_auroc: float
) -> QuickstartPage:
    """Reads the page from the finished steps of a run; without `concepts` if the corpus has no labels."""
    table, metrics = run.table("features"), run.metrics
    neurons = sum(m.exemplars["explain"].n_features for name, m in mined.items() if name[:4] == "mlp.")
    latents = mined[f"sae.{sae_site}"].exemplars["explain"]
    populations = [
        population("neuron", 2 * neurons, table[table["kind"] == "neuron"], metrics, NEURONS),
        population(
            "latent", latents.n_features, table[table["kind"] == "latent"], metrics,
            f"latents of an SAE on {sae_site}",
        ),
    ]  # fmt: skip
    return QuickstartPage(
        populations_data(
            run,
            subject,
            mined,
            corpus=corpus_facts(corpus, metrics, "mining/neurons", USES),
            populations=populations,
            difference="score/latents_minus_neurons",
            sae=sae_report(run.folder / "steps" / "train_sae", sae_site, latents, metrics),
            found_auroc=found_auroc,
            question=QUESTION,
            limits=LIMITS,
        )
    )

"""The results of mining by feature space, with the text that they were found in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from interp.corpus.activations import KeptActivations
from interp.document import SPLITS, Corpus, Split
from interp.engine.engine import Engine
from interp.errors import UserError, similar_names
from interp.features.ref import FeatureRef
from interp.features.space import Polarity, ReadableFeatures
from interp.features.statistics import FeatureStatistics
from interp.fields import Count, taken
from interp.mining.config import MiningConfig
from interp.mining.exemplars import Exemplars, TokenSample, WindowRef, exemplars, token_sample
from interp.mining.fold import MiningState, fold
from interp.mining.quantiles import LEVELS
from interp.mining.shards import fold_shards
from interp.render.tokens import HeatScale, TokenView, TokenWindow
from interp.subject.subject import Subject
from interp.track.progress import Progress


@dataclass(frozen=True)
class MinedSpace:
    """The results of one feature space: exemplars by split, and token samples if they were kept."""

    name: str
    exemplars: Mapping[Split, Exemplars]
    samples: Mapping[Split, TokenSample]

    def __repr__(self) -> str:
        explain = self.exemplars["explain"]
        return f"MinedSpace({self.name}: {explain.n_features:,} features on {explain.n_tokens:,} tokens)"

    def statistics(self, split: Split = "explain") -> FeatureStatistics:
        """Returns means and quantiles of the features over a split, for clamps and ablations."""
        found, sample = self.exemplars[split], self.samples.get(split)
        values = None if sample is None else sample.value
        return FeatureStatistics(
            self.name, LEVELS, found.quantile_values, found.mean, values, found.quantile_error
        )

    def windows(
        self, feature_id: int, polarity: Polarity = 1, split: Split = "explain"
    ) -> Iterator[WindowRef]:
        """Yields a feature's windows: the strongest, those of each band of its activation, silent ones."""
        return self.exemplars[split].windows(feature_id, polarity)


@dataclass(frozen=True, repr=False)
class MinedFeature:
    """One feature with its windows: the strongest, those of each band of its activation, silent ones.

    In a notebook it shows the strongest, each token coloured by its activation.
    """

    feature: FeatureRef
    windows: tuple[WindowRef, ...]
    subject: Subject
    corpus: Corpus

    def __repr__(self) -> str:
        peak = self.windows[0].value if self.windows else 0.0
        return f"MinedFeature({self.feature.key}: {len(self.windows)} windows, peak {peak:.3g})"

    def _repr_html_(self) -> str:
        shown = []
        for window in self.windows:
            if window.values is None:
                continue
            end = window.start + len(window.values)
            tokens = self.corpus[window.document].tokens[window.start : end].tolist()
            values = window.values[: len(tokens)].nan_to_num(neginf=0.0)
            texts = self.subject.token_strings(tokens)
            shown.append(TokenWindow(texts, values.tolist(), tokens, window.start, int(values.argmax())))
        scale = HeatScale.over([window.values for window in shown])
        return TokenView(shown, scale, self.subject.special_ids)._repr_html_()


MinedSpaces = Mapping[str, MinedSpace]
"""What was found, by the name of the space."""


@dataclass(frozen=True, repr=False)
class Mined(Mapping[str, MinedSpace]):
    """The results of a pass of a subject over `corpus`, by the name of the space."""

    subject: Subject
    corpus: Corpus
    spaces: Mapping[str, ReadableFeatures]
    config: MiningConfig
    found: Mapping[str, MinedSpace]
    documents: Mapping[Split, int] = field(default_factory=dict)
    """Number of documents of each split that the pass read."""

    def __getitem__(self, name: str) -> MinedSpace:
        """Returns the results of one space.

        Raises:
            UserError: it was not mined.
        """
        if name not in self.found:
            near = similar_names(name, self.found) or list(self.found)[:10]
            raise UserError(f"{name} was not mined", "mined", f"mine it, or use one of {', '.join(near)}")
        return self.found[name]

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return f"Mined({', '.join(self.found)} on {self.tokens('explain'):,} tokens of {self.corpus.name})"

    def feature(self, key: str | FeatureRef, split: Split = "explain") -> MinedFeature:
        """Returns one feature in one polarity, such as "mlp.3/17-", with its windows of a split.

        Raises:
            UserError: there is no such feature.
        """
        one = key if isinstance(key, FeatureRef) else FeatureRef.parse(key, list(self.spaces.values()))
        windows = self[one.space.name].windows(one.feature_id, 1 if one.polarity > 0 else -1, split)
        return MinedFeature(one, tuple(windows), self.subject, self.corpus)

    def tokens(self, split: Split) -> int:
        """Returns the number of counted tokens of a split."""
        return next(iter(self.found.values())).exemplars[split].n_tokens


def mine(
    subject: Subject,
    spaces: Sequence[ReadableFeatures],
    corpus: Corpus,
    config: MiningConfig | None = None,
    *,
    k: int | None = None,
    documents: Iterable[int] | None = None,
    progress: Progress | None = None,
    kept: KeptActivations | None = None,
    engine: Engine | None = None,
    folder: Path | None = None,
) -> Mined:
    """Finds exemplars and statistics of every feature of every space in one pass.

    The shards of a large corpus are mined apart, by the workers of an `engine`, and merged
    (`interp.mining.shards`).

    Args:
        subject: the model.
        spaces: any feature spaces of the subject, at any sites, names distinct.
        corpus: the text; `documents` picks some of it, all by default.
        config: what to keep.
        k: strongest windows kept of each feature on the explain split, from which it is described, in place
            of the config's; those of the select and report splits stay as they are.
        progress: where to show how far it is.
        kept: activations at its sites are read from there, or kept in this pass.
        engine: mines the shards of its config; by default the whole corpus is mined in this process.
        folder: keeps what finished shards found until all are done, for a later call with the same arguments.

    Raises:
        UserError: no text, two spaces of one name, a context longer than the subject's, or activations
            that are not finite; or `k` is no number of windows; shards that failed, whatever was tried; an
            engine with several shards and activations to keep.
    """
    config = config or MiningConfig()
    if k is not None:
        explain = taken(Count, k, "k")
        windows = config.top_windows.model_copy(update={"explain": explain})
        config = config.model_copy(update={"top_windows": windows})
    if engine is None or (engine.config.kind == "local" and engine.config.n_shards == 1):
        state = fold(subject, spaces, corpus, config, documents, progress, kept)
    elif kept is not None:
        raise UserError(
            "activations are kept by one process, and the corpus is to be mined in shards",
            "mine",
            "give either kept or an engine with several shards",
        )
    else:
        chosen = range(len(corpus)) if documents is None else list(documents)
        state = fold_shards(subject, spaces, corpus, config, chosen, engine, progress, folder)
    read = {split: part.n_documents for split, part in state.splits.items()}
    found = {}
    for space in spaces:  # the state and the results of all spaces at once would take twice the memory
        found[space.name] = read_out(state, space.name)
        state.release(space.name)
    return Mined(subject, corpus, {space.name: space for space in spaces}, config, found, read)


def read_out(state: MiningState, space: str) -> MinedSpace:
    """Reads the results of one space out of a mining state."""
    return MinedSpace(
        space,
        {split: exemplars(state, split, space) for split in SPLITS},
        {split: token_sample(state, split, space) for split in SPLITS},
    )

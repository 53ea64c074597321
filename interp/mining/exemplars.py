"""Exemplars: what mining found, ready to be read, saved and shown."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from interp.document import Corpus, Split
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.features.space import Polarity
from interp.mining.fold import MiningState
from interp.mining.quantiles import LEVELS, quantiles
from interp.mining.samples import SampledValues, SampleIndex, compact, slots
from interp.mining.state import TOTAL_UNIT

N_BANDS = 5
ROWS_PER_BAND = 2
LEAST_ACTIVE = N_BANDS * ROWS_PER_BAND
"""Least number of sampled rows with a feature active for bands of its activation to be made."""
N_SILENT = 5
SILENT_SHARE = 0.05

BandName = Literal["top", "quantile", "silent"]


@dataclass(frozen=True)
class WindowRef:
    """A row of the corpus with the activation of a feature.

    `document` and `start` locate its tokens; `value` is the feature's peak among them. `band` is "top",
    "quantile" (then `quantile` is the share of the active sampled rows that peak lower) or "silent". `values`
    are a top window's activations where they were kept, -inf at positions that do not count; other windows
    are pointers.
    """

    document: int
    start: int
    value: float
    band: BandName
    quantile: float | None = None
    values: Float[Tensor, " pos"] | None = None

    def __repr__(self) -> str:
        band = self.band if self.quantile is None else f"{self.band} {self.quantile:.2g}"
        return f"WindowRef({band}: peak {self.value:.3g} in document {self.document} from token {self.start})"


@dataclass
class Exemplars:
    """Everything kept of one feature space on one split.

    `n` lines: the space's features, then, if it is signed, their negative sides. Top windows are [n, k],
    best first, document -1 where there are fewer; `top_values` [n, k, width] kept `compact`, -inf where a
    position does not count (width 0: pointers only). Sampled rows are shared: `row_document`, `row_start`
    [row]; `band_row` [n, band, m] and `silent_row` [n, silent] point into them (-1: none); `band_value` says
    how high each peaks. `quantile_values` [d, level] are of the signed activation at `LEVELS`, whose rank
    errors are `quantile_error` [level]. `mean` [d] is of the signed activation; `rate` [n] is the share of
    tokens on which the feature is above zero. All of it is over the split's `n_tokens` counting tokens.
    """

    signed: bool
    top_document: Int[Tensor, "n k"]
    top_start: Int[Tensor, "n k"]
    top_value: Float[Tensor, "n k"]
    top_values: Float[Tensor, "n k width"]
    row_document: Int[Tensor, " row"]
    row_start: Int[Tensor, " row"]
    band_row: Int[Tensor, "n band m"]
    band_value: Float[Tensor, "n band m"]
    silent_row: Int[Tensor, "n silent"]
    quantile_values: Float[Tensor, "d level"]
    quantile_error: Float[Tensor, " level"]
    mean: Float[Tensor, " d"]
    rate: Float[Tensor, " n"]
    n_tokens: int

    def __repr__(self) -> str:
        return f"Exemplars({self.n_features:,} features on {self.n_tokens:,} tokens)"

    @property
    def n_features(self) -> int:
        """The number of features of the space, each counted once for both polarities."""
        return len(self.mean)

    def line(self, feature_id: int, polarity: Polarity) -> int:
        """Returns the index of a feature of one polarity in the tensors of `n` lines."""
        return feature_id if polarity == 1 else self.n_features + feature_id

    def unbanded(self, feature_id: int, polarity: Polarity = 1) -> str:
        """Says in a sentence why a feature has no activation bands; empty if it has some."""
        if int(self._of("band_row", self.line(feature_id, polarity))[0, 0]) >= 0:
            return ""
        return (
            f"No activation bands: it is active in fewer than {LEAST_ACTIVE} of the {len(self.row_document)} "
            "windows that were sampled."
        )

    def windows(self, feature_id: int, polarity: Polarity = 1) -> Iterator[WindowRef]:
        """Yields the feature's windows: top ones, those of each activation band (`unbanded`), silent ones.

        Raises:
            UserError: they are read from a file and damaged (`interp.mining.store`).
        """
        line = self.line(feature_id, polarity)
        values = self._of("top_values", line)
        document, start, value = (
            self._of(f"top_{name}", line).tolist() for name in ("document", "start", "value")
        )
        for rank in range(len(document)):
            if document[rank] >= 0:
                kept = values[rank].float() if values.shape[1] else None
                yield WindowRef(document[rank], start[rank], value[rank], "top", values=kept)
        rows, peaks = self._of("band_row", line).tolist(), self._of("band_value", line).tolist()
        for band in reversed(range(N_BANDS)):
            for place in range(ROWS_PER_BAND):
                if (row := rows[band][place]) >= 0:
                    yield WindowRef(*self._row(row), peaks[band][place], "quantile", _share(band, place))
        for row in self._of("silent_row", line).tolist():
            if row >= 0:
                yield WindowRef(*self._row(row), 0.0, "silent")

    def _of(self, name: str, line: int) -> Tensor:
        """Returns one line of a tensor of `n` lines."""
        values: Tensor = getattr(self, name)[line]
        return values

    def _row(self, row: int) -> tuple[int, int]:
        """Returns the document and the start of a sampled row."""
        return int(self.row_document[row]), int(self.row_start[row])


def _share(band: int, place: int) -> float:
    return (band + (place + 0.5) / ROWS_PER_BAND) / N_BANDS


def _bands(
    rows: SampledValues, order: NDArray[np.int64]
) -> tuple[Int[Tensor, "n band m"], Float[Tensor, "n band m"]]:
    """Picks rows at evenly spaced ranks among the sampled rows in which each feature is active, in bands."""
    peaks = rows.value[slots(order)].float()
    n = peaks.shape[1]
    empty = torch.full((n, N_BANDS, ROWS_PER_BAND), -1, dtype=torch.int16, device=peaks.device)
    if len(peaks) == 0:
        return empty, empty.half()
    ranked = peaks.sort(dim=0, stable=True)
    active = (peaks > 0).sum(0)
    shares = torch.tensor(
        [[_share(b, p) for p in range(ROWS_PER_BAND)] for b in range(N_BANDS)], device=peaks.device
    )
    rank = (len(peaks) - active)[:, None, None] + (shares * active[:, None, None]).long()
    enough = (active >= LEAST_ACTIVE)[:, None, None].expand(rank.shape)
    flat = rank.clamp(max=len(peaks) - 1).view(n, -1).T
    row = ranked.indices.gather(0, flat)
    value = ranked.values.gather(0, flat).T.reshape(rank.shape)
    chosen = row.T.reshape(rank.shape)
    return (
        torch.where(enough, chosen, -1).short(),
        compact(torch.where(enough, value, 0.0)),
    )


def _silent(
    rows: SampledValues, order: NDArray[np.int64], largest: Float[Tensor, " n"]
) -> Int[Tensor, "n silent"]:
    """Picks the first sampled rows in which each feature stays under `SILENT_SHARE` of its largest peak."""
    quiet = rows.value[slots(order)].float() <= SILENT_SHARE * largest
    number = quiet.cumsum(0)
    chosen = torch.full((quiet.shape[1], N_SILENT), -1, dtype=torch.int16, device=quiet.device)
    row, feature = (quiet & (number <= N_SILENT)).nonzero(as_tuple=True)
    chosen[feature, number[row, feature] - 1] = row.short()
    return chosen


def exemplars(state: MiningState, split: Split, space: str) -> Exemplars:
    """Reads the final exemplars and statistics of one space on one split out of a mining state.

    They are computed where the state is, and given on the CPU.
    """
    part = state.splits[split]
    kept = part.spaces[space].moved(part.spaces[space].device)
    index: SampleIndex = part.row_index
    order = index.order()
    top = kept.windows.ordered()
    band_row, band_value = _bands(kept.rows, order)
    sampled = kept.tokens.value[slots(part.token_index.order())]
    levels, error = quantiles(sampled, kept.extremes, kept.n_positive, kept.n_negative, kept.n_tokens)
    fired = torch.cat([kept.n_positive, kept.n_negative]) if kept.signed else kept.n_positive
    n_tokens = max(1, kept.n_tokens)
    return Exemplars(
        signed=kept.signed,
        top_document=top.document.cpu(),
        top_start=top.start.cpu(),
        top_value=top.value.cpu(),
        top_values=top.values.cpu(),
        row_document=torch.from_numpy(index.document[order]).int(),
        row_start=torch.from_numpy(index.position[order]).int(),
        band_row=band_row.cpu(),
        band_value=band_value.cpu(),
        silent_row=_silent(kept.rows, order, top.value[:, 0]).cpu(),
        quantile_values=levels.cpu(),
        quantile_error=torch.from_numpy(error).float(),
        mean=(kept.total.double() * TOTAL_UNIT / n_tokens).float().cpu(),
        rate=(fired.double() / n_tokens).float().cpu(),
        n_tokens=kept.n_tokens,
    )


@dataclass
class TokenSample:
    """A uniform sample of a split's counting tokens with every feature's signed activation.

    `value` [token, n_features] kept `compact`; `document` and `position` [token] locate the tokens.
    """

    value: Float[Tensor, "token d"]
    document: Int[Tensor, " token"]
    position: Int[Tensor, " token"]

    def __repr__(self) -> str:
        n_tokens, n_features = self.value.shape
        return f"TokenSample({n_tokens:,} tokens, {n_features:,} features)"


def token_sample(state: MiningState, split: Split, space: str) -> TokenSample:
    """Reads a space's token sample out of a mining state; the tokens are the same for every space."""
    part = state.splits[split]
    order = part.token_index.order()
    return TokenSample(
        part.spaces[space].tokens.moved(torch.device("cpu")).value[slots(order)],
        torch.from_numpy(part.token_index.document[order]),
        torch.from_numpy(part.token_index.position[order]),
    )


def labels_at(corpus: Corpus, sample: TokenSample) -> Bool[Tensor, "token label"]:
    """Returns which concepts each sampled token carries.

    Raises:
        UserError: the corpus has no labels.
    """
    if not corpus.label_names:
        raise UserError("the corpus has no concept labels", corpus.name, "leave out the concept comparison")
    document, position = sample.document.numpy(), sample.position.numpy()
    masks = np.zeros(len(document), dtype=np.uint64)
    order = np.argsort(document, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(document[order])) + 1):
        labels = corpus[int(document[places[0]])].labels
        if labels is not None:
            masks[places] = labels[position[places]]
    bits = np.arange(len(corpus.label_names), dtype=np.uint64)
    return torch.from_numpy((masks[:, None] >> bits[None, :] & np.uint64(1)).astype(bool))


def quantiles_of(exemplars: Exemplars, feature: FeatureRef) -> dict[float, float]:
    """Returns the quantiles of `polarity * activation`, by their probability."""
    values = exemplars.quantile_values[feature.feature_id].tolist()
    if feature.polarity > 0:
        return dict(zip(LEVELS, values, strict=True))
    return {1 - level: -value for level, value in zip(reversed(LEVELS), reversed(values), strict=True)}


def outer_levels(exemplars: Exemplars, feature: FeatureRef) -> list[float]:
    """Returns activations exceeded on at most one token in 100, the rarest first."""
    found = quantiles_of(exemplars, feature)
    return [found[level] for level in sorted(found, reverse=True) if level >= 0.989]

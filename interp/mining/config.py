"""How much is kept of each feature while a corpus streams by."""

from pydantic import Field

from interp.document import Split
from interp.fields import Count, Extent, Section, Several


class TopWindows(Section):
    """How many windows of each split are kept."""

    explain: Count = 20
    """What descriptions are made of."""
    select: Count = 10
    """What they are chosen by."""
    report: Count = 10
    """What they are scored on."""

    def of(self, split: Split) -> int:
        """Those of a split."""
        return int(getattr(self, split))


class MiningConfig(Section):
    """What one pass keeps. Memory grows with these numbers and the features, not with the corpus."""

    context_size: Several = 64
    """Tokens the subject sees at once, the beginning-of-sequence token included; also a window's size."""
    tokens_per_batch: Extent = 4096
    """Tokens of one forward pass."""
    top_windows: TopWindows = TopWindows()
    """Windows kept for each feature and polarity, from distinct documents, by peak activation."""
    sampled_rows: Count = Field(512, ge=1, le=32_767)
    """Rows drawn uniformly from each split: where quantile examples and silent windows come from."""
    sampled_tokens: Count = 4096
    """Tokens drawn uniformly from each split: where the middle quantiles come from."""
    extreme_tokens: Count = 48
    """Largest and smallest activations kept of all tokens of the explain split, and of each thinner sample of
    them: the outer quantiles."""

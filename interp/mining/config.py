"""Config of mining: how much is kept of each feature in one pass over a corpus."""

from pydantic import Field

from interp.document import Split
from interp.fields import Count, Extent, Section, Several


class WindowCounts(Section):
    """Number of top windows kept on each split, for each feature and polarity."""

    explain: Count = 20
    """Windows of the explain split, from which descriptions are made."""
    select: Count = 10
    """Windows of the select split, on which descriptions are chosen."""
    report: Count = 10
    """Windows of the report split, on which descriptions are scored."""

    def of(self, split: Split) -> int:
        """Returns the number for a split."""
        return int(getattr(self, split))


class MiningConfig(Section):
    """What one pass keeps. Memory grows with these numbers and the features, not with the corpus."""

    context_size: Several = 64
    """Context of the subject and size of a window, in tokens, including the beginning-of-sequence token."""
    tokens_per_batch: Extent = 4096
    """Tokens of one forward pass."""
    top_windows: WindowCounts = WindowCounts()
    """Windows kept for each feature and polarity, from distinct documents, by peak activation."""
    sampled_rows: Count = Field(512, ge=1, le=32_767)
    """Rows drawn uniformly from each split, for examples by quantile and silent windows."""
    sampled_tokens: Count = 4096
    """Tokens drawn uniformly from each split, for the middle quantiles."""
    extreme_tokens: Count = 48
    """Largest and smallest activations kept of all tokens of the explain split, and of each sparser sample of
    them, for the outer quantiles."""

"""How much is kept of each feature while a corpus streams by."""

from pydantic import BaseModel, ConfigDict, Field

from interp.corpus.document import Split


class MiningConfig(BaseModel):
    """What one pass keeps. Memory grows with these numbers and the features, not with the corpus."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    context_size: int = Field(64, ge=2)
    """Tokens the subject sees at once, the beginning-of-sequence token included; also a window's size."""
    tokens_per_batch: int = Field(4096, ge=1)
    """Tokens of one forward pass."""
    top_windows: dict[Split, int] = {"explain": 20, "select": 10, "report": 10}
    """Windows kept for each feature and polarity, from distinct documents, by peak activation."""
    sampled_rows: int = Field(512, ge=1, le=32_767)
    """Rows drawn uniformly from each split: where quantile examples and silent windows come from."""
    sampled_tokens: int = Field(4096, ge=1)
    """Tokens drawn uniformly from each split: where the middle quantiles come from."""
    extreme_tokens: int = Field(48, ge=1)
    """Largest and smallest activations kept of all tokens of the explain split, and of each thinner sample of
    them: the outer quantiles."""

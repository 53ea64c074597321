"""The layout of rows of text: what precedes a row, and which tokens count."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowLayout:
    """The layout of rows of text, the same wherever a corpus is read.

    `bos_id` precedes every row, if there is one. It does not count in means, quantiles, exemplars,
    principal directions and what dictionaries are trained on, nor do the tokens of `special_ids`; with
    `skip_first` nor does the first position, whatever token is there. In a model without a
    beginning-of-sequence token that is the attention sink: its norm is many times that of others (Sun et al.
    2024, arXiv 2402.17762; Xiao et al. 2024, arXiv 2309.17453).
    """

    bos_id: int | None = None
    special_ids: frozenset[int] = frozenset()
    skip_first: bool = False

    @property
    def offset(self) -> int:
        """Positions before a row's own tokens: 1 with a beginning-of-sequence token, else 0."""
        return 0 if self.bos_id is None else 1

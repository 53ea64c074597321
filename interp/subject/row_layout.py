"""What stands before a row of text, and which of its tokens count."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RowLayout:
    """How rows of text are laid before a subject, the same wherever a corpus is read.

    `bos_id` stands before every row, if there is one. It does not count in means, quantiles, exemplars,
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

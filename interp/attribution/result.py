"""Attributions of every feature at every position, ready to be read."""

from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.target import Target
from interp.errors import UserError
from interp.render.tokens import HeatScale, TokenView, TokenWindow
from interp.subject.site import Site
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """What each feature at each position adds to a target; signed, in the target's unit.

    `values` and `activations` are [batch, pos, feature] by space, the first zero at padding. `tokens` and
    `mask` [batch, pos] are the prompts, `target_value` [batch] is the target in the unchanged run. Where the
    target is an answer of several tokens, all but its last follow the prompts from column `prompt_length` on
    (shorter ones padded on the right): what a feature adds there, it adds to later tokens.
    """

    values: dict[str, Float[Tensor, "batch pos feature"]]
    activations: dict[str, Float[Tensor, "batch pos feature"]]
    tokens: Int[Tensor, "batch pos"]
    mask: Int[Tensor, "batch pos"]
    target: Target
    target_value: Float[Tensor, " batch"]
    sites: dict[str, Site]
    prompt_length: int
    subject: Subject = field(repr=False)

    def __repr__(self) -> str:
        rows, spaces = len(self.tokens), ", ".join(self.values)
        said = f"{self.target.kind} of {self.target.said}"
        return f"Attribution({rows} prompt{'s' if rows > 1 else ''}, {said}, by {spaces})"

    def _repr_html_(self) -> str:
        """Shows the first prompt, each token coloured by its features' sum, and the largest features."""
        columns = self.mask[0].nonzero()[:, 0]
        added = torch.stack([found[0, columns].float().sum(-1).cpu() for found in self.values.values()]).sum(
            0
        )
        tokens = self.tokens[0, columns].tolist()
        window = TokenWindow(self.subject.token_strings(tokens), added.tolist(), tokens)
        scale = HeatScale.over([window.values], signed=True)
        shown = TokenView([window], scale, self.subject.special_ids)._repr_html_()
        return shown + str(self.top(10).to_html(escape=True))

    def totals(self) -> dict[str, Float[Tensor, "batch feature"]]:
        """Sums each feature's attributions over the positions of each prompt."""
        return {name: values.sum(1) for name, values in self.values.items()}

    def top(self, k: int = 20, space: str | None = None, row: int = 0, signed: bool = False) -> pd.DataFrame:
        """The `k` features and positions of prompt `row` with the largest absolute attributions.

        With `signed`, by the attribution itself, most positive first. Columns: space, layer, feature,
        position (from 0 at the prompt's first token), token, activation, attribution.

        Raises:
            UserError: there is no such space or row.
        """
        names = list(self.values) if space is None else [space]
        if names[0] not in self.values:
            raise UserError(
                f"nothing was attributed to {space!r}", "top", f"use one of {', '.join(self.values)}"
            )
        if not 0 <= row < len(self.tokens):
            raise UserError(f"there is no prompt {row}", "top", f"use 0 to {len(self.tokens) - 1}")
        columns = self.mask[row].nonzero()[:, 0]
        found = [self._largest(name, row, columns, k, signed) for name in names]
        table = pd.concat(found, ignore_index=True)
        key = table["attribution"] if signed else table["attribution"].abs()
        table = table.loc[key.sort_values(ascending=False, kind="stable").index[:k]].reset_index(drop=True)
        shown = self.subject.token_strings(self.tokens[row, columns][table["position"].tolist()])
        table.insert(4, "token", shown)
        return table

    def _largest(
        self, name: str, row: int, columns: Int[Tensor, " real"], k: int, signed: bool
    ) -> pd.DataFrame:
        values = self.values[name][row, columns]
        flat = values.flatten()
        places = (flat if signed else flat.abs()).topk(min(k, len(flat))).indices
        position = torch.div(places, values.shape[1], rounding_mode="floor")
        feature = places % values.shape[1]
        return pd.DataFrame(
            {
                "space": name,
                "layer": self.sites[name].layer,
                "feature": feature.tolist(),
                "position": position.tolist(),
                "activation": self.activations[name][row, columns[position], feature].tolist(),
                "attribution": flat[places].tolist(),
            }
        )

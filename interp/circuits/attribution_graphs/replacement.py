"""The local replacement model: the subject on one prompt, linear, with features in the MLPs' places.

Ameisen et al. 2025, Circuit Tracing: attention patterns and norms' scales are those of the prompt, what an
MLP writes is the sum of its features and an error, which is a constant. All else is linear.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.attribution_graphs.layers import LayerParts, layer_of, parts_of
from interp.errors import UserError
from interp.features.space import ReadableFeatures
from interp.subject.linearised import Rule
from interp.subject.passes import Edit
from interp.subject.site import Site
from interp.subject.subject import Subject

EMBEDDED = Site("resid_pre", 0)


@dataclass(frozen=True, eq=False)
class Run:
    """What a pass of the replacement model gives: what features read, and the final norm's output."""

    reads: dict[int, Float[Tensor, "batch pos d_reads"]]
    normed: Float[Tensor, "batch pos d_model"]


class Replacement:
    """The subject's replacement model on one prompt [1, pos].

    `embedded` [pos, d_model] is what the embeddings write, positions included; `parts` are the layers'. With
    `first` positions constant (a beginning-of-sequence token) these have neither features nor errors. Of
    active features the `most` that write the longest vectors are kept; the others count as errors.

    Raises:
        UserError: two spaces explain one layer, one explains none, or neurons are not known.
    """

    def __init__(
        self,
        subject: Subject,
        tokens: Int[Tensor, "1 pos"],
        spaces: Sequence[ReadableFeatures],
        *,
        rule: Rule = "half",
        first: int = 0,
        most: int | None = None,
    ) -> None:
        self.subject, self.tokens, self.rule = subject, tokens.to(subject.device), rule
        of_layer = _by_layer(spaces)
        sites = {EMBEDDED: None}
        for layer in range(subject.n_layers):
            space = of_layer.get(layer)
            written = Site("mlp_out", layer) if space is None else getattr(space, "target", space.site)
            sites |= {written: None} | ({} if space is None else {space.site: None})
        for site in sites:
            subject.site_width(site)
        found, self.normed = _read(subject, self.tokens, list(sites))
        self.embedded = found[EMBEDDED].float()
        self.parts = [parts_of(subject, n, of_layer.get(n), found) for n in range(subject.n_layers)]
        for part in self.parts:
            part.without(first)
        self.n_active = sum(len(part.ids) for part in self.parts)
        self._keep_strongest(most)

    def _keep_strongest(self, most: int | None) -> None:
        if most is None or self.n_active <= most:
            return
        strengths = torch.cat([part.strengths() for part in self.parts])
        kept = torch.zeros_like(strengths, dtype=torch.bool)
        kept[strengths.topk(most).indices] = True
        for part, chosen in zip(
            self.parts, torch.split(kept, [len(part.ids) for part in self.parts]), strict=True
        ):
            part.keep(chosen)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block the subject's attention and norms are the prompt's; `run` needs it."""
        rules = {part.layer: self.rule for part in self.parts if part.needs_rule}
        with self.subject.linearised(self.tokens, mlps=rules):
            yield

    def run(
        self,
        embedded: Float[Tensor, "batch pos d_model"],
        written: Mapping[int, Float[Tensor, "batch pos d_writes"]],
    ) -> Run:
        """Runs the replacement model, given what the embeddings and each layer's features and error write."""
        reads: dict[int, Tensor] = {}
        copies = self.tokens.expand(len(embedded), -1)
        with ExitStack() as edits:
            edits.enter_context(
                self.subject.edited({EMBEDDED: lambda stream: embedded.to(stream.dtype).expand_as(stream)})
            )
            for part in self.parts:
                edits.enter_context(self.subject.edited(_edits(part, written[part.layer], reads)))
            normed = self.subject.normed(copies)
        return Run(reads, normed)


def _edits(part: LayerParts, written: Tensor, reads: dict[int, Tensor]) -> dict[Site, Edit]:
    """Edits of one pass: what a layer's features read is kept, what they write is in the MLP's place."""

    def keep(activation: Tensor) -> Tensor:
        reads[part.layer] = activation
        return activation

    def write(activation: Tensor) -> Tensor:
        if part.space is not None and part.reads == part.writes:
            reads[part.layer] = activation
        skipped = None if part.space is None else part.skip(reads[part.layer])
        whole = written if skipped is None else written + skipped.to(written.dtype)
        return whole.to(activation.dtype).expand_as(activation)

    apart = part.space is not None and part.reads != part.writes
    found: dict[Site, Edit] = {part.reads: keep} if apart else {}
    return found | {part.writes: write}


def _by_layer(spaces: Sequence[ReadableFeatures]) -> dict[int, ReadableFeatures]:
    found: dict[int, ReadableFeatures] = {}
    for space in spaces:
        layer = layer_of(space)
        if layer in found:
            raise UserError(
                f"{found[layer].name} and {space.name} both explain the MLP of layer {layer}",
                "spaces of an attribution graph",
                "give one space for each layer",
            )
        found[layer] = space
    return found


@torch.no_grad()
def _read(
    subject: Subject, tokens: Int[Tensor, "1 pos"], sites: Sequence[Site]
) -> tuple[dict[Site, Float[Tensor, "pos width"]], Float[Tensor, "pos d_model"]]:
    """Reads the activations of one prompt at sites, and the final norm's output."""
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Edit:
        def kept(activation: Tensor) -> Tensor:
            found[site] = activation[0]
            return activation

        return kept

    with subject.edited({site: keep(site) for site in sites}):
        normed = subject.normed(tokens)
    return found, normed[0]

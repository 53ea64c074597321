"""Runs in which edges are patched: readers get streams of their own, corrupted by the edges that are cut."""

from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.pairs import Pairs
from interp.circuits.wiring import START, Wiring
from interp.circuits.written import Written, last_logits
from interp.subject.forward import ForwardPass
from interp.subject.passes import Edit
from interp.subject.reader import Reader
from interp.subject.site import Site


@torch.no_grad()
def patched_logits(
    wiring: Wiring,
    prompts: ForwardPass,
    kept: Bool[Tensor, "*which source reader"],
    corrupted: Written,
) -> Float[Tensor, "batch d_vocab"]:
    """Runs clean prompts with the edges that are not kept corrupted; returns the logits after each prompt.

    Reader v of the edges u -> v gets x + sum over cut u of (corrupted_u - u), where x is the residual stream
    of this very run and u what the source writes in it: with every edge kept it is the clean run, with none
    the corrupted one (Hanna et al. 2024, arXiv 2403.17806, section 2). `kept` is [source, reader], for all
    positions and prompts; [pos, source, reader]; or [batch, 1, source, reader], a circuit for each prompt.
    """
    run = _Run(wiring, prompts, kept, corrupted)
    inputs = {point: run.input_edit(reader) for point, reader in wiring.readers.items()}
    with wiring.subject.edited(run.site_edits()), wiring.subject.inputs_edited(inputs):
        return last_logits(wiring, prompts)


def patched_each(
    wiring: Wiring,
    pairs: Pairs,
    circuits: Bool[Tensor, "circuit source reader"],
    corrupted: Written,
    clean_logits: Float[Tensor, "batch d_vocab"],
    rows_at_once: int = 32,
) -> Float[Tensor, "circuit batch"]:
    """Computes the metric of every pair under each of some circuits; several circuits share a pass."""
    n, found = len(pairs), []
    for some in torch.split(circuits, max(1, rows_at_once // n)):
        rows = torch.arange(n, device=clean_logits.device).repeat(len(some))
        many = pairs.select(rows.tolist())
        logits = patched_logits(
            wiring,
            many.clean,
            some.repeat_interleave(n, 0)[:, None],
            corrupted.mapped(partial(torch.index_select, dim=0, index=rows)),
        )
        found.append(many.value(logits, clean_logits[rows]).view(len(some), n))
    return torch.cat(found)


class _Run:
    """One patched run: the differences of what sources have written so far from what corrupts them."""

    def __init__(self, wiring: Wiring, prompts: ForwardPass, kept: Tensor, corrupted: Written) -> None:
        self.wiring, self.graph, self.corrupted = wiring, wiring.graph, corrupted
        self.cut = self.graph.exists.to(kept.device) & ~kept
        self.cuts = self.cut.flatten(0, -3).any(0) if self.cut.ndim > 2 else self.cut
        self.cut = self.cut.to(corrupted.start.device, corrupted.start.dtype)
        self.real = prompts.real[..., None, None]
        batch, pos, d_model = corrupted.start.shape
        self.changes = corrupted.start.new_zeros(batch, pos, len(self.graph.sources), d_model)
        self.streams: dict[Site, Tensor] = {}

    def site_edits(self) -> dict[Site, Edit]:
        """The edits that see the streams and what is written to them, and that of what the logits read."""
        edits: dict[Site, Edit] = {
            site: self._keep_stream(site) for site in {reader.site for reader in self.wiring.readers.values()}
        }
        for layer in range(self.graph.n_layers):
            edits[Site("head_out", layer)] = self._note_heads(layer)
            edits[Site("mlp_out", layer)] = self._note_mlp(layer)
        edits[self.wiring.end] = self._read_by_logits
        return edits

    def input_edit(self, reader: Reader) -> Edit:
        """The edit that gives a part's heads the streams of their own."""
        columns = self.graph.reads(reader.point.part, reader.point.layer)
        untouched = not bool(self.cuts[:, columns].any())

        def read(activation: Tensor) -> Tensor:
            if untouched:
                return activation
            return reader.read(self.streams[reader.site][:, :, None] + self._change(columns))

        return read

    def _change(self, columns: slice) -> Float[Tensor, "batch pos reader d_model"]:
        """What the cut edges into some readers change of their streams."""
        before = self.graph.n_before(columns.start)
        which = {2: "", 3: "p", 4: "bp"}[self.cut.ndim]
        changes, cut = self.changes[:, :, :before], self.cut[..., :before, columns]
        if which == "bp":
            return torch.einsum("bpsd,bsv->bpvd", changes, cut[:, 0])
        return torch.einsum(f"bpsd,{which}sv->bpvd", changes, cut)

    def _note(self, places: slice, corrupted: Tensor, own: Tensor) -> None:
        self.changes[:, :, places] = torch.where(self.real, corrupted - own, 0)

    def _keep_stream(self, site: Site) -> Edit:
        def keep(activation: Tensor) -> Tensor:
            self.streams[site] = activation
            if site == START:
                self._note(slice(0, 1), self.corrupted.start[:, :, None], activation[:, :, None])
            return activation

        return keep

    def _note_heads(self, layer: int) -> Edit:
        writer = self.wiring.heads[layer]

        def note(z: Tensor) -> Tensor:
            own = writer.vectors(writer.scaled(z))
            self._note(self.graph.heads(layer), writer.vectors(self.corrupted.heads[layer]), own)
            return z

        return note

    def _note_mlp(self, layer: int) -> Edit:
        def note(output: Tensor) -> Tensor:
            corrupted = self.corrupted.mlps[layer]
            self._note(self.graph.mlp(layer), corrupted[:, :, None], output[:, :, None])
            return output

        return note

    def _read_by_logits(self, stream: Tensor) -> Tensor:
        last = len(self.graph.readers) - 1
        if not bool(self.cuts[:, last].any()):
            return stream
        return stream + self._change(slice(last, last + 1))[:, :, 0]

"""Activations of chosen sites, kept on disk so that a text is run through a subject once."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.corpus.batches import Batch
from interp.cost import gigabytes
from interp.document import Corpus
from interp.errors import UserError
from interp.fields import Bytes, Section
from interp.json_text import read_json
from interp.outside import read_file
from interp.subject.hooks import Visitor
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.tensors import read_tensors
from interp.track.files import remove_leftovers, write_json, write_safetensors

SHARD_BYTES = 1 << 26
"""Bytes of a shard: of 50,000 tokens at a width of 640 in bfloat16."""
_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class ActivationsConfig(Section):
    """How much is kept on disk of the activations that a run reads more than once."""

    keep: Bytes = 2_000_000_000
    """The most that is kept, such as 2 GB; what does not fit is computed again each time."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Float type in which activations are kept; bfloat16 has 8 bits of precision."""


@dataclass(frozen=True)
class _Row:
    """The tokens of a row that count, with their positions in the document, and their activations by site."""

    token: Int[Tensor, " token"]
    position: Int[Tensor, " token"]
    activations: Mapping[str, Float[Tensor, "token width"]]

    @property
    def n_bytes(self) -> int:
        return sum(part.nbytes for part in (self.token, self.position, *self.activations.values()))


class KeptActivations:
    """A subject's activations at some sites, on the tokens of a corpus that count, in a folder.

    They lie in shards, safetensors files with a tensor [token, width] for each site, each token's id and
    position in its document, and for each row (a piece of a document that the subject read at once) its
    document, start and number of tokens. The manifest names subject, corpus and sites, and has each shard's
    SHA-256. Files appear whole: a process that is killed loses what `flush` had not written, and no more.

    A row is found again by its document, start and tokens; one that is cut otherwise is another row.

    Raises:
        UserError: the folder holds activations of something else, or a file is missing or damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        subject: Subject,
        corpus: Corpus,
        sites: Sequence[Site],
        config: ActivationsConfig | None = None,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        config = config or ActivationsConfig()
        self.folder = Path(folder)
        self.sites = tuple(sorted(set(sites)))
        self._subject = subject
        self._shapes = {site: subject.activation_shape(site) for site in self.sites}
        self._dtype = _DTYPES[config.dtype]
        self._most, self._say = config.keep, say
        self._rows: dict[tuple[int, int], _Row] = {}
        self._waiting: list[tuple[int, int]] = []
        self._bytes = self._waiting_bytes = 0
        self._full = False
        self._shards: list[dict[str, str]] = []
        self._identity: dict[str, Any] = {
            "subject": subject.name,
            "processing": subject.processing,
            "subject_dtype": str(subject.dtype).removeprefix("torch."),
            "corpus": corpus.name,
            "documents": len(corpus),
            "sites": {str(site): list(shape) for site, shape in self._shapes.items()},
            "dtype": config.dtype,
        }
        if (self.folder / "manifest.json").exists():
            self._open()

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.sites))
        return (
            f"KeptActivations({names} of {len(self._rows):,} rows, {gigabytes(self._bytes)}, {self.folder})"
        )

    def visit(self, batch: Batch, visitors: Mapping[Site, Visitor]) -> None:
        """Calls each visitor with its site's activation [row, pos, ...]; what is computed for it is kept.

        At a kept site the numbers are the same, rounded to the float type of what is kept, whether they were
        there, are computed or do not fit, and 0 at positions that do not count.

        Raises:
            UserError: as `Subject.visit`; the disk is full.
        """
        rows = [self._known(batch, row) for row in range(len(batch.tokens))]
        if None not in rows and set(visitors) <= set(self.sites):
            for site in sorted(visitors, key=lambda site: sum(one.before(site) for one in visitors)):
                visitors[site](self._laid(batch, site, [row.activations[str(site)] for row in rows if row]))
            return
        keeps = None in rows and not self._full
        found: dict[str, list[Tensor]] = {}

        def reader(site: Site) -> Visitor:
            def take(activation: Tensor) -> None:
                counts = torch.from_numpy(batch.counts)
                flat = activation.flatten(2).to(self._dtype).cpu()
                found[str(site)] = [
                    row.activations[str(site)] if row else one[count]
                    for row, one, count in zip(rows, flat, counts, strict=True)
                ]
                if site in visitors:
                    visitors[site](self._laid(batch, site, found[str(site)]))

            return take

        own = {site: reader(site) for site in self.sites if keeps or site in visitors}
        visit_batch(self._subject, batch, {**visitors, **own})
        for place, row in enumerate(rows):
            if row is None and keeps:
                self._add(batch, place, {site: parts[place] for site, parts in found.items()})
        if self._waiting_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what has not been written yet as a shard.

        Raises:
            UserError: the disk is full.
        """
        if not self._waiting:
            return
        rows = [self._rows[key] for key in self._waiting]
        tensors = {
            "document": torch.tensor([document for document, _ in self._waiting]),
            "start": torch.tensor([start for _, start in self._waiting]),
            "count": torch.tensor([len(row.token) for row in rows]),
            "token": torch.cat([row.token for row in rows]),
            "position": torch.cat([row.position for row in rows]),
        }
        tensors |= {str(s): torch.cat([row.activations[str(s)] for row in rows]) for s in self.sites}
        file = self.folder / f"{len(self._shards):05d}.safetensors"
        remove_leftovers(file)
        write_safetensors(file, tensors)
        self._shards.append({"file": file.name, "sha256": _sha256(file)})
        write_json(self.folder / "manifest.json", {**self._identity, "shards": self._shards})
        self._waiting, self._waiting_bytes = [], 0
        self._index(file)

    def _known(self, batch: Batch, row: int) -> _Row | None:
        found = self._rows.get((int(batch.document[row]), int(batch.start[row])))
        token = torch.from_numpy(batch.tokens[row][batch.counts[row]])
        return found if found is not None and torch.equal(found.token, token) else None

    def _laid(self, batch: Batch, site: Site, rows: Sequence[Tensor]) -> Tensor:
        """Activations [row, pos, ...] of a batch, in the subject's float type, from its tokens that count."""
        laid = torch.zeros(*batch.tokens.shape, *self._shapes[site], dtype=self._subject.dtype)
        counts = torch.from_numpy(batch.counts)
        laid[counts] = torch.cat(list(rows)).to(laid.dtype).view(-1, *self._shapes[site])
        return laid.to(self._subject.device)

    def _add(self, batch: Batch, row: int, activations: Mapping[str, Tensor]) -> None:
        counts = torch.from_numpy(batch.counts[row])
        position = counts.nonzero()[:, 0] + int(batch.start[row]) - batch.offset
        new = _Row(torch.from_numpy(batch.tokens[row])[counts], position, activations)
        if self._full or self._bytes + new.n_bytes > self._most:
            if not self._full:
                self._say(
                    f"Activations of {', '.join(map(str, self.sites))} do not all fit into activations.keep, "
                    f"{gigabytes(self._most)}: the rest of the text is read again each time."
                )
            self._full = True
            return
        key = int(batch.document[row]), int(batch.start[row])
        self._rows[key] = new
        self._waiting.append(key)
        self._bytes += new.n_bytes
        self._waiting_bytes += new.n_bytes

    def _open(self) -> None:
        again = f"delete {self.folder}, then run the same command again"
        manifest = read_json(self.folder / "manifest.json", again)
        other = {key for key, value in self._identity.items() if manifest.get(key) != value}
        if other:
            raise UserError(
                f"the activations kept there are of another {', '.join(sorted(other))}",
                str(self.folder),
                again,
            )
        try:
            for shard in manifest["shards"]:
                file = self.folder / Path(shard["file"]).name
                if _sha256(file, again) != shard["sha256"]:
                    raise UserError(
                        "these activations are damaged: the checksum is another", str(file), again
                    )
                self._shards.append(shard)
                self._index(file, again)
        except (KeyError, TypeError) as error:
            raise UserError(f"the activations cannot be read ({error})", str(self.folder), again) from error
        self._bytes = sum(row.n_bytes for row in self._rows.values())

    def _index(self, file: Path, fix: str = "") -> None:
        """Reads the rows of a shard; their tensors are parts of the file, mapped into memory."""
        tensors, _ = read_tensors(file, fix)
        counts = tensors["count"].tolist()
        names = "token", "position", *map(str, self.sites)
        parts = {name: torch.split(tensors[name], counts) for name in names}
        for place, key in enumerate(
            zip(tensors["document"].tolist(), tensors["start"].tolist(), strict=True)
        ):
            activations = {str(site): parts[str(site)][place] for site in self.sites}
            self._rows[key] = _Row(parts["token"][place], parts["position"][place], activations)


def visit_batch(
    subject: Subject,
    batch: Batch,
    visitors: Mapping[Site, Visitor],
    kept: KeptActivations | None = None,
    checked: bool = True,
) -> None:
    """Calls each visitor with its site's activation [row, pos, ...] on a batch, as `Subject.visit` does.

    At the sites of `kept` it is read from there, or computed and kept. With `checked` false visitors see
    themselves that activations are finite, and nothing makes the host wait for a GPU.
    """
    if kept is None:
        subject.visit(torch.from_numpy(batch.tokens), visitors, torch.from_numpy(batch.mask), checked)
    else:
        kept.visit(batch, visitors)


def _sha256(file: Path, fix: str = "") -> str:
    return hashlib.sha256(read_file(file, fix)).hexdigest()

"""The tuned lens (Belrose et al. 2023, arXiv 2303.08112): a logit lens after an affine map at each layer."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.corpus.batches import Batch, Row, collate, rows_of
from interp.document import Corpus, Split, split_of
from interp.errors import UserError
from interp.lenses.distribution import LogProbabilities
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.residual_stream import EMBEDDING, layer_of, stream_sites
from interp.subject.model_names import check_made_for
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks
from interp.tensors import check_finite
from interp.track.files import read_safetensors, write_safetensors

CLIP = 1.0  # norm of each layer's gradient in a step


class TunedLens(torch.nn.Module):
    """logits = unembed(final_norm(x + x A_l + b_l)), with one pair for every layer from the embedding on.

    The last layer has none: there it is the model's own output. `translation` [layer, d_model, d_model] and
    `bias` [layer, d_model] begin with the embedding's.
    """

    name = "tuned lens"

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.subject = subject
        self._logit_lens = LogitLens(subject)
        shape = (subject.n_layers, subject.d_model)
        self.translation = torch.nn.Parameter(torch.zeros(*shape, subject.d_model, device=subject.device))
        self.bias = torch.nn.Parameter(torch.zeros(shape, device=subject.device))

    def logits(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_vocab"]:
        """The logits that are read at a place of the residual stream.

        Raises:
            UserError: the lens was not trained at this site (an attention or MLP output).
        """
        return self._logit_lens.logits(self.translated(activation, site), site)

    def translated(
        self, activation: Float[Tensor, "*batch d_model"], site: Site
    ) -> Float[Tensor, "*batch d_model"]:
        """Maps the activation to the last layer's: x + x A_l + b_l."""
        layer = layer_of(site)
        if site not in stream_sites(self.subject).values():
            raise UserError(
                f"the tuned lens was not trained at {site}", "sites", "use resid_post, or resid_pre.0"
            )
        if layer == self.subject.n_layers - 1:
            return activation
        row = layer - EMBEDDING
        activation = activation.to(self.bias)
        return activation + activation @ self.translation[row] + self.bias[row]


def train_tuned_lens(
    subject: Subject,
    corpus: Corpus,
    *,
    steps: int = 250,
    tokens_per_step: int = 2048,
    learning_rate: float = 3e-3,
    context_size: int | None = None,
    seed: int = 0,
    progress: Callable[[int, Float[np.ndarray, " layer"]], None] | None = None,
) -> TunedLens:
    """Trains all layers at once on the explain split, by KL(output || lens) in nats per token, with Adam.

    The rate falls linearly to 0. `progress` is called with each step and the KL of every layer. The corpus
    repeats if it is too small. Raises UserError if it has no text.
    """
    lens = TunedLens(subject)
    optimiser = torch.optim.Adam(lens.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    sites = list(stream_sites(subject).values())
    stream_of = _batches(subject, corpus, "explain", tokens_per_step, context_size, seed)
    for step, batch in enumerate(islice(stream_of, steps)):
        read = subject.read(torch.from_numpy(batch.tokens), sites, torch.from_numpy(batch.mask))
        counts = torch.from_numpy(batch.counts).to(subject.device)
        kept = [read[site][counts].clone() for site in sites]
        kl = in_blocks(partial(_descend, lens, sites, int(counts.sum())), subject.d_vocab, *kept)
        _clip(lens)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if progress is not None:
            progress(step, torch.stack(kl).mean(1).cpu().double().numpy())
    return lens.requires_grad_(False)


def _descend(lens: TunedLens, sites: Sequence[Site], n_tokens: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """KL(output || lens) of some of a step's tokens at every site but the last; adds their gradients."""
    with torch.no_grad():
        output = LogProbabilities.of(lens.logits(rows[-1], sites[-1]))
    found = []
    for site, activation in zip(
        sites[:-1], rows, strict=False
    ):  # one at a time: logits are what takes memory
        kl = output.kl(LogProbabilities.of(lens.logits(activation, site)))
        torch.autograd.backward(kl.sum() / n_tokens)
        found.append(kl.detach())
    return tuple(found)


def _clip(lens: TunedLens) -> None:
    """Clips every layer's gradient to norm `CLIP`: the early layers' are much larger."""
    gradients = [parameter.grad for parameter in lens.parameters() if parameter.grad is not None]
    norm = torch.cat([gradient.flatten(1) for gradient in gradients], 1).norm(dim=1)
    factor = (CLIP / norm.clamp(min=CLIP)).to(norm)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.ndim - 1)))


def _batches(
    subject: Subject, corpus: Corpus, split: Split, tokens: int, context_size: int | None, seed: int
) -> Iterator[Batch]:
    """Batches of the documents of a split in a random order, over and over.

    Rows of all lengths share a batch, padded on the right: batches of one length would be of one kind of
    text.
    """
    rows: list[Row] = []
    waiting = 0
    for row in _rows(subject, corpus, split, context_size or min(subject.n_ctx, 128), seed):
        rows.append(row)
        waiting += row.length
        if waiting >= tokens:
            yield collate(rows, subject.row_layout, split)
            rows, waiting = [], 0


def _rows(subject: Subject, corpus: Corpus, split: Split, context_size: int, seed: int) -> Iterator[Row]:
    """Pieces of a split's documents in a random order, over and over; raises UserError if there is none."""
    rng = np.random.default_rng(seed)
    empty = True
    while True:
        for index in map(int, rng.permutation(len(corpus))):
            document = corpus[index]
            if split_of(document.hash) == split:
                for row in rows_of(index, document, context_size, subject.row_layout):
                    empty = False
                    yield row
        if empty:
            raise UserError(f"the {split} split has no text", corpus.name, "give more documents")


FORMAT = "interp tuned lens 1"


def save_tuned_lens(path: str | Path, lens: TunedLens) -> Path:
    """Writes a lens as safetensors, with the name of its model."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in lens.state_dict().items()}
    write_safetensors(path, tensors, {"format": FORMAT, "subject": lens.subject.name})
    return Path(path)


def load_tuned_lens(path: str | Path, subject: Subject, check_model: bool = True) -> TunedLens:
    """Reads a lens; `check_model=False` accepts one made for a model of another name (a renamed copy).

    Raises:
        UserError: there is no such file, it holds something else, or it is another model's.
    """
    lens = TunedLens(subject)
    found, known = read_safetensors(path)
    wanted = {name: value.shape for name, value in lens.state_dict().items()}
    if known.get("format") != FORMAT or {name: value.shape for name, value in found.items()} != wanted:
        raise UserError(
            f"the file holds no tuned lens that fits {subject.name}", str(path), "train one on this model"
        )
    if check_model:
        check_made_for("the tuned lens was trained", [known.get("subject", "")], subject.info, str(path))
    check_finite(found, str(path), "train it again")
    lens.load_state_dict(found)
    return lens.requires_grad_(False)


def open_lens(file: Path | None, subject: Subject, check_model: bool) -> Lens:
    """Reads a tuned lens from its file; without a file, returns the logit lens."""
    return LogitLens(subject) if file is None else load_tuned_lens(file, subject, check_model)


def check_lens(file: Path | None) -> None:
    """Raises UserError if the file is not there."""
    if file is not None and not file.is_file():
        raise UserError(
            f"no file {file}", "tuned_lens", "give one that `interp run configs/logit_lens.yaml` wrote"
        )

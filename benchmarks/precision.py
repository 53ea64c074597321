"""`interp bench precision`: what weights and activations in fewer bits lose, on `world` and Gemma 3 270M.

Each setting is held against the same model in single precision, on the same text and backend:

- on documents of the report split: KL(single || setting) of the next token and the difference of the loss, in
  nats a token, with intervals over documents; and at `resid_post` and `mlp_post` of every layer the length of
  the difference over the length of the activation, averaged over tokens;
- on the explain split: how many of a neuron's top 20 windows (of each polarity) are among those that single
  precision finds, with an interval over neurons, beside the same of another neuron of the layer.

`python -m benchmarks.precision NAME TEXT.jsonl 9000` does so for one model, on so many tokens of a text.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import kl_div, nll_loss

import interp
from interp.bundled.gemma import GEMMA
from interp.bundled.pydoc.corpus import PydocCorpus
from interp.bundled.world.corpus import WorldCorpus
from interp.corpus.batches import Batch, batches
from interp.corpus.text import TextCorpus
from interp.corpus.text_file import TextFile
from interp.document import Corpus, split_of
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.mining.config import MiningConfig
from interp.mining.exemplars import Exemplars
from interp.mining.mined import Mined, mine
from interp.statistics.estimate import Estimate, by_item, mean_interval
from interp.subject import Site, Subject
from interp.subject.site import SiteKind
from interp.subject.unembedding import in_blocks

SETTINGS: dict[str, dict[str, str]] = {
    "bfloat16": {"dtype": "bfloat16"},
    "8bit": {"dtype": "bfloat16", "quantize": "8bit"},
    "4bit": {"dtype": "bfloat16", "quantize": "4bit"},
}
"""Options of `interp.load` that are held against single precision."""
TOP = 20
SEED = 0
CHARACTERS = 160
"""Of each document of a text: top windows are of distinct documents, so there have to be many."""
KINDS: tuple[SiteKind, ...] = ("resid_post", "mlp_post")


@dataclass(frozen=True)
class Lost:
    """What a setting loses: KL and loss in nats a token, errors by layer, the share of windows in common."""

    kl: Estimate
    loss: Estimate
    errors: Mapping[str, list[float]]
    overlap: Estimate
    null: Estimate
    overlaps: list[float]
    """The mean overlap of each layer."""


def held_out(corpus: Corpus, subject: Subject, tokens: int, config: MiningConfig) -> list[Batch]:
    """The first batches of the report split with about so many tokens."""
    found: list[Batch] = []
    indices = (index for index in range(len(corpus)) if split_of(corpus[index].hash) == "report")
    stream = batches(corpus, indices, subject.row_layout, config.context_size, config.tokens_per_batch)
    for batch in stream:
        found.append(batch)
        tokens -= batch.n_counted
        if tokens <= 0:
            break
    return found


@dataclass
class _Read:
    """What one pass over a batch gives: the final norm's output, and the activations that are compared."""

    normed: Float[Tensor, "row pos d_model"]
    activations: dict[Site, Tensor]


def read(subject: Subject, batch: Batch) -> _Read:
    """Reads one batch in one pass."""
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
    found: dict[Site, Tensor] = {}

    def keep(site: Site) -> Any:
        def kept(activation: Tensor) -> Tensor:
            found[site] = activation.float().cpu()
            return activation

        return kept

    sites = [Site(kind, layer) for kind in KINDS for layer in range(subject.n_layers)]
    with torch.no_grad(), subject.edited({site: keep(site) for site in sites}):
        normed = subject.normed(tokens, mask)
    return _Read(normed, found)


def compared(
    exact: Subject, other: Subject, read_exact: _Read, read_other: _Read, batch: Batch
) -> tuple[Float[np.ndarray, " token"], Float[np.ndarray, " token"], Int[np.ndarray, " token"]]:
    """KL, difference of losses, and document of every token that another counting token follows."""
    counts = torch.from_numpy(batch.counts)
    asked: Bool[Tensor, "row pos"] = torch.zeros_like(counts)
    asked[:, :-1] = counts[:, 1:]
    following = torch.from_numpy(batch.tokens).roll(-1, 1)[asked]

    def measure(p_rows: Tensor, q_rows: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        p = exact.unembed(p_rows).float().log_softmax(-1)
        q = other.unembed(q_rows).float().log_softmax(-1)
        kl = kl_div(q, p, reduction="none", log_target=True).sum(-1)
        loss = nll_loss(q, after, reduction="none") - nll_loss(p, after, reduction="none")
        return kl, loss

    with torch.no_grad():
        kl, loss = in_blocks(
            measure, exact.d_vocab, read_exact.normed[asked], read_other.normed[asked], following
        )
    document = torch.from_numpy(batch.document)[:, None].expand(counts.shape)[asked]
    return kl.double().numpy(), loss.double().numpy(), document.numpy()


def windows(found: Exemplars) -> Iterator[list[set[tuple[int, int]]]]:
    """For each neuron, its top windows of each polarity."""
    lines = [
        {(int(d), int(s)) for d, s in zip(documents, starts, strict=True) if d >= 0}
        for documents, starts in zip(found.top_document.numpy(), found.top_start.numpy(), strict=True)
    ]
    n = found.n_features
    yield from (lines[neuron::n] for neuron in range(n))


def overlaps(
    exact: Exemplars, other: Exemplars, seed: int
) -> tuple[Float[np.ndarray, " neuron"], Float[np.ndarray, " neuron"]]:
    """The share of each neuron's top windows that both have, and that another neuron's have in `exact`."""
    ours, theirs = list(windows(exact)), list(windows(other))
    shift = int(np.random.default_rng(seed).integers(1, len(ours)))

    def shared(left: list[set[tuple[int, int]]], right: list[set[tuple[int, int]]]) -> float:
        parts = [len(a & b) / len(a) for a, b in zip(left, right, strict=True) if a]
        return float(np.mean(parts)) if parts else np.nan

    same = np.array([shared(a, b) for a, b in zip(ours, theirs, strict=True)])
    null = np.array([shared(a, ours[(at + shift) % len(ours)]) for at, a in enumerate(ours)])
    known = ~np.isnan(same)
    return same[known], null[known]


def mined(subject: Subject, corpus: Corpus, documents: list[int], config: MiningConfig) -> Mined:
    """Mines all neurons of a subject."""
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    return mine(subject, neurons, corpus, config, k=TOP, documents=documents)


def lost(
    name: str, corpus_of: Any, tokens: int, settings: Mapping[str, Mapping[str, str]]
) -> dict[str, Lost]:
    """Measures each setting: on about `tokens` tokens of the explain split, and a quarter as many held out.

    Raises:
        UserError: as `interp.load`; the text has too few documents.
    """
    exact = interp.load(name, "bridge", device="cpu")
    corpus: Corpus = corpus_of(exact)
    config = MiningConfig(context_size=min(64, exact.n_ctx), tokens_per_batch=2048)
    held = held_out(corpus, exact, tokens // 4, config)
    explained, left = [], tokens
    for index in range(len(corpus)):
        if left <= 0:
            break
        if split_of(corpus[index].hash) == "explain":
            explained.append(index)
            left -= len(corpus[index].tokens)
    if len(explained) < TOP:
        raise UserError(f"{len(explained)} documents are too few for {TOP} windows", name, "give more text")
    base = mined(exact, corpus, explained, config)
    found = {}
    for label, options in settings.items():
        other = interp.load(name, "bridge", device="cpu", **options)  # type: ignore[arg-type]
        kl: list[np.ndarray] = []
        loss: list[np.ndarray] = []
        documents: list[np.ndarray] = []
        sums: dict[Site, list[float]] = {}
        for batch in held:
            left_read, right_read = read(exact, batch), read(other, batch)
            parts = compared(exact, other, left_read, right_read, batch)
            for kept, part in zip((kl, loss, documents), parts, strict=True):
                kept.append(part)
            counts = torch.from_numpy(batch.counts)
            for site, value in left_read.activations.items():
                a, b = value[counts], right_read.activations[site][counts]
                share = (a - b).norm(dim=-1) / a.norm(dim=-1)
                sums.setdefault(site, []).append(float(share.sum()))
        n = sum(batch.n_counted for batch in held)
        errors: dict[str, list[float]] = {
            kind: [sum(sums[Site(kind, layer)]) / n for layer in range(exact.n_layers)] for kind in KINDS
        }
        items = np.concatenate(documents)
        there = mined(other, corpus, explained, config)
        pairs = [
            overlaps(base[space].exemplars["explain"], there[space].exemplars["explain"], SEED + layer)
            for layer, space in enumerate(base)
        ]
        found[label] = Lost(
            mean_interval(by_item(np.concatenate(kl), items), SEED),
            mean_interval(by_item(np.concatenate(loss), items), SEED),
            errors,
            mean_interval(np.concatenate([same for same, _ in pairs]), SEED),
            mean_interval(np.concatenate([null for _, null in pairs]), SEED),
            [float(same.mean()) for same, _ in pairs],
        )
        print(
            told(label, found[label], n, len(np.unique(items)), sum(len(same) for same, _ in pairs)),
            flush=True,
        )
    return found


def _beginnings(file: TextFile) -> list[str]:
    return [file[index].text[:CHARACTERS] for index in range(len(file))]


def told(label: str, one: Lost, tokens: int, documents: int, neurons: int) -> str:
    """One setting in words."""

    def shown(estimate: Estimate) -> str:
        return f"{estimate.value:#.2g} ({estimate.low:#.2g} to {estimate.high:#.2g})"

    lines = [
        f"{label}: on {tokens:,} held-out tokens of {documents:,} documents, and {neurons:,} neurons",
        f"  KL of the next token {shown(one.kl)}, loss {shown(one.loss)} nats",
        f"  top {TOP} windows in common {shown(one.overlap)}; another neuron's {shown(one.null)}",
        f"    by layer {' '.join(f'{value:.2f}' for value in one.overlaps)}",
    ]
    for kind, errors in one.errors.items():
        lines.append(f"  relative error of {kind} by layer {' '.join(f'{value:.3f}' for value in errors)}")
    return "\n".join(lines)


def main(name: str | None = None, text: str | None = None, tokens: int = 40_000) -> dict[str, Lost]:
    """Prints and returns what each setting loses; without a name on `world`, and on Gemma if installed."""
    if name is not None:
        path = None if text is None else Path(text)

        def corpus_of(subject: Subject) -> Corpus:
            if path is not None:
                return TextCorpus(_beginnings(TextFile(path)), subject)
            return WorldCorpus(3, 4000) if subject.info.speaks_world else PydocCorpus(subject, "all", 4000)

        return {f"{name} {label}": one for label, one in lost(name, corpus_of, tokens, SETTINGS).items()}
    found = main("world", None, tokens)
    try:
        found |= main(GEMMA, None, tokens)
    except UserError as error:
        print(f"without {GEMMA}: {error.thing}; {error.fix}")
    return found


if __name__ == "__main__":
    named, of_text, n_tokens = (*sys.argv[1:], *(None,) * 3)[:3]
    main(named, of_text, int(n_tokens or 40_000))

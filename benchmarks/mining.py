"""`interp bench mining`: mining all neurons, both polarities, against the bare forward pass.

Compared on the bundled model over 50,000 tokens of the world, in one process, in turn: (a) the forward pass
with logits, (b) the forward pass that stops at the last MLP's neurons and keeps nothing, (c) mining of all
neurons of all layers, with splits, samples and quantiles. All three get the same batches, made beforehand.
Figures are medians over rounds of ratios within a round. Memory: the growth of the peak resident set from
mining n tokens to mining 4 n tokens, documents and batches included, each in a process of its own.
"""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

import interp.subject
from interp.bundled.world.corpus import WorldCorpus
from interp.corpus.batches import Batch, batches
from interp.document import Document
from interp.features.neurons import MlpNeurons
from interp.mining.config import MiningConfig
from interp.mining.fold import fold, fold_batches
from interp.subject import Site, Subject

TOKENS = 50_000
ROUNDS = 7
CONFIG = MiningConfig(context_size=128, tokens_per_batch=8192)


@dataclass
class Kept:
    """Documents made once, so that making them is not timed."""

    documents: list[Document]
    name: str = "kept"
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> Document:
        return self.documents[index]


def some_documents(n_tokens: int) -> Kept:
    """World documents until there are `n_tokens`."""
    source = WorldCorpus(1, n_tokens)
    documents: list[Document] = []
    while sum(len(document.tokens) for document in documents) < n_tokens:
        documents += [source[index] for index in range(len(documents), len(documents) + 200)]
    return Kept(documents)


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(work: dict[str, Callable[[], object]]) -> list[dict[str, float]]:
    """Seconds of each piece of work in each round, in alternating order, after a round that warms up."""
    orders = [list(work) if number % 2 else list(reversed(work)) for number in range(ROUNDS + 1)]
    return [{name: seconds(work[name]) for name in order} for order in orders][1:]


def speed() -> dict[str, float]:
    """Median ratios of mining over both forward passes."""
    subject = interp.subject.load("world", device="cpu")
    corpus = some_documents(TOKENS)
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    stream = laid_out(subject, corpus)
    laid = [torch.from_numpy(batch.tokens) for batch in stream]
    last = Site("mlp_post", subject.n_layers - 1)

    def to_the_last_neurons() -> None:
        for tokens in laid:
            subject.visit(tokens, {last: lambda activation: None})

    with torch.inference_mode():
        work: dict[str, Callable[[], object]] = {
            "with logits": lambda: [subject.logits(tokens) for tokens in laid],
            "to the last neurons": to_the_last_neurons,
            "mine": lambda: fold_batches(subject, neurons, stream, CONFIG),
        }
        rounds = in_turn(work)
    n_tokens = sum(tokens.numel() for tokens in laid)
    print(
        f"{n_tokens:,} tokens in {len(laid)} batches, {sum(s.n_features for s in neurons):,} neurons, "
        f"both polarities, {ROUNDS} rounds, {torch.get_num_threads()} threads"
    )
    ratios = {}
    for name in ("with logits", "to the last neurons"):
        each = [r["mine"] / r[name] for r in rounds]
        ratios[name] = statistics.median(each)
        median = statistics.median(r[name] for r in rounds)
        print(
            f"mining over the forward pass {name:20s} {ratios[name]:.3f} "
            f"(rounds {min(each):.3f} to {max(each):.3f}; the pass alone {n_tokens / median:,.0f} tokens/s)"
        )
    return ratios


def laid_out(subject: Subject, corpus: Kept) -> list[Batch]:
    """The corpus' batches, made once."""
    return list(
        batches(corpus, range(len(corpus)), subject.row_layout, CONFIG.context_size, CONFIG.tokens_per_batch)
    )


def peak(n_tokens: int) -> None:
    """Prints the peak resident set in MiB of this process after mining `n_tokens`."""
    subject = interp.subject.load("world", device="cpu")
    mean_length = np.mean([len(WorldCorpus(1, 500)[index].tokens) for index in range(500)])
    corpus = WorldCorpus(1, int(n_tokens / mean_length))
    fold(subject, [MlpNeurons(subject, layer) for layer in range(subject.n_layers)], corpus, CONFIG)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory() -> dict[str, float]:
    """Peak resident sets in MiB of mining `TOKENS` and four times as many."""
    peaks = {}
    for factor in (1, 4):
        command = [sys.executable, "-m", f"{__package__}.mining", str(factor * TOKENS)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[f"peak MiB at {factor * TOKENS:,} tokens"] = float(output)
    print("; ".join(f"{name}: {value:,.0f}" for name, value in peaks.items()))
    return peaks


def main() -> dict[str, float]:
    """Prints and returns the ratios and the peaks."""
    return speed() | memory()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(int(sys.argv[1]))
    else:
        main()

"""`interp bench real`: on Gemma 3 270M, mining and the whole quickstart over a bare forward pass.

The bare pass reads the same batches and stops at the last MLP's neurons. (a) Mining all neurons, both
polarities, batch by batch in turn with it, over 200,000 tokens of Python's documentation and sources. (b)
What `interp run gemma/quickstart` does besides writing patterns, over the same text: mining the neurons
while the SAE's activations are kept, training the SAE, measuring it, mining its latents beside as many random
directions, and reading the windows of 64 features. Processor time of all threads.

`python -m benchmarks.real 30000` does so on fewer tokens.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

import interp
import saes
from interp.bundled.gemma import GEMMA
from interp.bundled.pydoc.corpus import PydocCorpus
from interp.corpus.activations import KeptActivations, visit_batch
from interp.corpus.batches import Batch, batches
from interp.descriptions.sample import sample_active
from interp.descriptions.windows import gather_evidence, gather_report
from interp.document import Corpus
from interp.features.directions import random_directions
from interp.features.space import ReadableFeatures
from interp.mining.config import MiningConfig
from interp.mining.fold import MiningState, feed
from interp.mining.mined import MinedSpace, mine
from interp.subject import Site, Subject
from saes.evaluation import evaluate, training_probe

TOKENS = 200_000
MINING = MiningConfig(context_size=128, tokens_per_batch=8192)
SITE = Site("resid_post", 9)
SAE = saes.SaeTraining.model_validate(
    {"architecture": {"kind": "topk", "k": 32}, "n_latents": 4096, "training_tokens": 409_600}
)
SAMPLE = 32


def some_documents(subject: Subject, n_tokens: int) -> PydocCorpus:
    """The first documents with about so many tokens."""
    n = max(1, int(n_tokens / 123))
    return PydocCorpus(subject, "all", n)


def bare_and_mined(subject: Subject, stream: list[Batch]) -> tuple[float, float]:
    """Seconds of the bare pass and of mining all neurons, batch by batch in turn."""
    neurons = [interp.MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    last = neurons[-1].site
    state = MiningState.empty(neurons, MINING)
    bare: list[float] = []
    mined: list[float] = []
    visit_batch(subject, stream[0], {last: lambda activation: None})  # warms up
    for batch in stream:
        assert batch.split is not None
        began = time.process_time()
        visit_batch(subject, batch, {last: lambda activation: None})
        between = time.process_time()
        split = state.splits[batch.split]
        feed(subject, batch, neurons, partial(split.take, split.view(batch)))
        bare.append(between - began)
        mined.append(time.process_time() - between)
    half = len(bare) // 2
    print(
        f"mining over the bare pass: {sum(mined) / sum(bare):.3f} "
        f"(second half {sum(mined[half:]) / sum(bare[half:]):.3f})"
    )
    return sum(bare), sum(mined)


def quickstart(subject: Subject, corpus: Corpus) -> dict[str, float]:
    """Seconds of each part of the quickstart that is not writing patterns."""
    neurons = [interp.MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = KeptActivations(folder / "activations", subject, corpus, [SITE])
        start = time.process_time()

        def lap(part: str) -> None:
            nonlocal start
            seconds[part] = time.process_time() - start
            start = time.process_time()

        found: dict[str, MinedSpace] = dict(mine(subject, neurons, corpus, MINING, kept=kept))
        lap("mining the neurons, keeping activations")
        probe = training_probe(subject, SITE, corpus)
        latents = saes.train(subject, SITE, corpus, SAE, folder / "sae", evaluate=probe, kept=kept)
        lap("training the SAE")
        figures = evaluate(subject, latents, corpus, kept=kept)
        lap("measuring the SAE")
        random = random_directions(subject, SITE, latents.n_features, 0)
        found |= mine(subject, [latents, random], corpus, MINING, kept=kept)
        lap("mining latents and random directions")
        explain = {name: one.exemplars["explain"] for name, one in found.items()}
        report = {name: one.exemplars["report"] for name, one in found.items()}
        groups: list[list[ReadableFeatures]] = [list(neurons), [latents]]
        features = [f for spaces in groups for f in sample_active(spaces, explain, SAMPLE, [0])]
        gather_evidence(subject, corpus, features, explain, MINING.context_size)
        gather_report(subject, corpus, features, report, 30, MINING.context_size)
        lap("reading windows")
    print(figures)
    return seconds


def main(n_tokens: int = TOKENS) -> dict[str, float]:
    """Prints and returns the ratios."""
    subject = interp.load(GEMMA, device="cpu")
    corpus = some_documents(subject, n_tokens)
    layout, documents = subject.row_layout, range(len(corpus))
    stream = list(batches(corpus, documents, layout, MINING.context_size, MINING.tokens_per_batch))
    n_read = sum(batch.n_counted for batch in stream)
    print(f"{n_read:,} tokens in {len(stream)} batches, {torch.get_num_threads()} threads")
    bare, mined = bare_and_mined(subject, stream)
    print(f"the bare pass: {n_read / bare:,.0f} tokens a processor second")
    ratios = {"mining": mined / bare}
    for part, seconds in quickstart(subject, corpus).items():
        ratios[part] = seconds / bare
        print(f"  {part:42s} {ratios[part]:.3f} of the bare pass")
    ratios["quickstart"] = sum(ratios.values()) - ratios["mining"]
    print(f"the quickstart without patterns: {ratios['quickstart']:.2f} of the bare pass")
    return ratios


if __name__ == "__main__":
    main(int(sys.argv[1])) if len(sys.argv) > 1 else main()

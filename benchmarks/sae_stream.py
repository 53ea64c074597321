"""`interp bench sae_stream`: from text to trained SAE, ours against SAELens' own runner, in one process.

Compared: `saes.train` and SAELens' `LanguageModelSAETrainingRunner`, on the same HookedTransformer (the
bundled model), the same rows of 128 tokens of the world, site, architecture, batch, number of training tokens
and learning-rate schedule, no logging, no evaluation, no checkpoints, no input scaling (SAELens' estimate of
it reads a thousand batches). Ours puts a BOS before each row and does not train on it. Each round runs both,
alternating which goes first; the figure is the median ratio of seconds.
"""

import io
import statistics
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner, LoggingConfig

import interp.subject
from interp.document import Document
from interp.subject import Site, Subject
from saes.config import SaeTraining
from saes.train import train

from .mining import Kept, some_documents

SITE = Site("resid_post", 4)
TOKENS = 65_536
BATCH = 2048
LENGTH = 128
ROUNDS = 3
CASES: dict[str, dict[str, Any]] = {
    "topk 128 -> 1024, k 16": {"architecture": {"kind": "topk", "k": 16}, "n_latents": 1024},
    "topk 128 -> 4096, k 32": {"architecture": {"kind": "topk", "k": 32}, "n_latents": 4096},
    "standard 128 -> 1024": {"architecture": {"kind": "standard"}, "n_latents": 1024},
}


def settings(case: dict[str, Any]) -> SaeTraining:
    """The settings of a case, used for both."""
    return SaeTraining(
        training_tokens=TOKENS,
        batch_tokens=BATCH,
        buffer_tokens=16_384,
        context_size=LENGTH + 1,
        splits=("explain", "select", "report"),
        scale_input=False,
        evaluate_every_steps=0,
        checkpoint_every_steps=0,
        **case,
    )


def ours(config: SaeTraining, subject: Subject, corpus: Kept) -> float:
    """Seconds of `saes.train`."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        train(subject, SITE, corpus, config, Path(folder) / "sae")
        return time.perf_counter() - start


def theirs(config: SaeTraining, subject: Subject, rows: datasets.Dataset) -> float:
    """Seconds of SAELens' runner."""
    shape = {"d_in": subject.d_model, "d_sae": config.n_latents, "normalize_activations": "none"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            start = time.perf_counter()
            runner = LanguageModelSAETrainingRunner(
                LanguageModelSAERunnerConfig(
                    sae=config.architecture.config(shape),
                    model_name="world",
                    hook_name=SITE.hook_name,
                    dataset_path="local",
                    streaming=False,
                    is_dataset_tokenized=True,
                    prepend_bos=False,
                    context_size=LENGTH,
                    training_tokens=TOKENS,
                    train_batch_size_tokens=BATCH,
                    store_batch_size_prompts=64,
                    n_batches_in_buffer=config.buffer_tokens // LENGTH,
                    lr=config.learning_rate,
                    lr_warm_up_steps=config.warm_up_steps // 2,
                    lr_decay_steps=config.n_steps // 2,
                    n_checkpoints=0,
                    checkpoint_path=None,
                    output_path=None,
                    logger=LoggingConfig(log_to_wandb=False),
                    verbose=False,
                ),
                override_dataset=rows,
                override_model=subject.model,
            )
            runner.run()
            return time.perf_counter() - start


def main() -> dict[str, float]:
    """Prints and returns the ratio of seconds, SAELens over ours, for each case."""
    subject = interp.subject.load("world", device="cpu")
    tokens = np.concatenate([document.tokens for document in some_documents(2 * TOKENS).documents])
    tokens = tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH)
    corpus = Kept([Document(row) for row in tokens])
    rows = datasets.Dataset.from_dict({"tokens": tokens.tolist()}).with_format("torch")
    print(f"{TOKENS:,} tokens in steps of {BATCH:,}, {ROUNDS} rounds, {torch.get_num_threads()} threads")
    ratios: dict[str, float] = {}
    for name, case in CASES.items():
        config = settings(case)
        pairs = []
        for number in range(ROUNDS + 1):
            if number % 2:
                own, other = ours(config, subject, corpus), theirs(config, subject, rows)
            else:
                other, own = theirs(config, subject, rows), ours(config, subject, corpus)
            if number:  # the first round warms up
                pairs.append((own, other))
        ratios[name] = statistics.median(other / own for own, other in pairs)
        own, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{name:24s} {TOKENS / own:8,.0f} tokens/s, SAELens {TOKENS / other:8,.0f}: "
            f"ratio {ratios[name]:.2f}"
        )
    return ratios


if __name__ == "__main__":
    main()

"""`interp bench vectors`: making contrastive vectors against one padded forward pass, and a sweep of layers.

On the bundled model and on a random Llama (6 layers, d_model 256, vocabulary 4096): 200 pairs of about 25
tokens. Vectors of all layers, once as means alone and once as mean, principal component and logistic
regression from one reading, over one forward pass of the same backend over the same prompts, padded and
sorted in the same batches, that stops after the last layer (nothing is unembedded). Beside them the
`steering-vectors` package (mean, batches of 50), if it is installed. The sweep adds a vector at each layer of
`world` at ten strengths to 200 prompts and reads the answers. Figures are medians over rounds of ratios
within one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch

import interp.subject
from interp.bundled.world import world_folder
from interp.corpus.questions import Question
from interp.subject import Site, Subject
from interp.vectors.contrastive import Pair, contrastive_vectors, read_pairs
from interp.vectors.control import Control
from interp.vectors.methods import one_vector
from interp.vectors.sweep import sweep

from .attribution import random_llama, seconds

PAIRS, LENGTHS, ROUNDS = 200, (20, 30), 7
PER_BATCH = 64  # as `read_at` has it
STRENGTHS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8)


def made_pairs(subject: Subject) -> list[Pair]:
    """Makes pairs of random texts."""
    random = Random(0)

    def text() -> tuple[int, ...]:
        return tuple(random.choices(range(3, subject.d_vocab), k=random.randint(*LENGTHS)))

    return [Pair(text(), text()) for _ in range(PAIRS)]


def forward_only(subject: Subject, pairs: list[Pair]) -> Callable[[], object]:
    """One padded pass over both sides of all pairs, which stops after the last layer and keeps nothing."""
    prompts = sorted([p.positive for p in pairs] + [p.negative for p in pairs], key=len)
    last = Site("resid_post", subject.n_layers - 1)

    def work() -> None:
        for start in range(0, len(prompts), PER_BATCH):
            tokens, mask = subject.pad(prompts[start : start + PER_BATCH])
            subject.visit(tokens, {last: lambda activation: None}, mask)

    return work


def ours(subject: Subject, pairs: list[Pair]) -> dict[str, Callable[[], object]]:
    """Means alone, and all three aggregates from one reading."""
    sites = [Site("resid_post", layer) for layer in range(subject.n_layers)]

    def three() -> None:
        readings = read_pairs(subject, pairs, sites)
        for how in ("mean", "pca", "logistic"):
            contrastive_vectors(subject, pairs, "v", how=how, readings=readings)

    return {
        "reading": lambda: read_pairs(subject, pairs, sites),
        "mean": lambda: contrastive_vectors(subject, pairs, "v"),
        "mean, pca and logistic": three,
    }


def theirs(folder: Path, subject: Subject, pairs: list[Pair]) -> dict[str, Callable[[], object]]:
    """The steering-vectors package on the same texts; nothing without it."""
    try:
        from steering_vectors import train_steering_vector
    except ImportError:
        return {}
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [(subject.decode(pair.positive), subject.decode(pair.negative)) for pair in pairs]
    return {"steering-vectors, mean": lambda: train_steering_vector(model, tokenizer, texts, batch_size=50)}


def measure(name: str, folder: Path) -> dict[str, float]:
    """Median ratios on one model."""
    subject = interp.subject.load(folder, device="cpu")
    pairs = made_pairs(subject)
    base = "forward"
    work = {base: forward_only(subject, pairs), **ours(subject, pairs), **theirs(folder, subject, pairs)}
    rounds = []
    for number in range(ROUNDS + 1):
        order = list(work) if number % 2 else list(reversed(work))
        timed = {what: seconds(work[what]) for what in order}
        if number:  # the first round warms up
            rounds.append(timed)
    print(f"{name}: {PAIRS} pairs, {ROUNDS} rounds, {torch.get_num_threads()} threads")
    ratios = {}
    for what in work:
        each = [timed[what] / timed[base] for timed in rounds]
        ratios[f"{name}: {what}"] = statistics.median(each)
        took = statistics.median(timed[what] for timed in rounds)
        spread = f"({min(each):.2f} to {max(each):.2f})"
        print(f"  {what:24s} {took:7.2f} s  {ratios[f'{name}: {what}']:5.2f} {spread}")
    return ratios


def timed_sweep() -> float:
    """Seconds of a sweep of all layers and ten strengths over 200 prompts of `world`."""
    subject = interp.subject.load("world", device="cpu")
    pairs = made_pairs(subject)
    vectors = contrastive_vectors(subject, pairs, "v")
    settings = [
        one_vector(subject, "mean", vector, strength, "last", Control())
        for vector in vectors
        for strength in STRENGTHS
    ]
    questions = [Question(pair.positive, ((3,),), ((4,),), "random") for pair in pairs]
    began = time.perf_counter()
    sweep(subject, questions, settings)
    took = time.perf_counter() - began
    print(f"sweep: {subject.n_layers} layers x {len(STRENGTHS)} strengths, {PAIRS} prompts: {took:.1f} s")
    return took


def main() -> dict[str, float]:
    """Prints and returns the ratios, and the seconds of the sweep."""
    ratios = measure("world", world_folder())
    with tempfile.TemporaryDirectory() as folder:
        ratios |= measure("random Llama", random_llama(Path(folder)))
    return ratios | {"sweep, seconds": timed_sweep()}


if __name__ == "__main__":
    main()

"""`interp bench circuits`: scores of all edges of a graph, and circuits run, against one forward pass.

A random GPT-2 (6 layers of 8 heads, 3,628 edges, d_model 512, vocabulary 4096), 16 pairs of 19 tokens in
batches of 8, on both backends, in one process, in turn: edge scores by each method, one patched run of half
the edges, over one forward pass of the same backend over the 16 clean prompts with logits after the last
token. Figures are medians over rounds of ratios within one.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config

import interp.subject
from interp.circuits.edge_attribution import Method, edge_scores
from interp.circuits.pairs import Pairs
from interp.circuits.patched import patched_logits
from interp.circuits.wiring import Wiring
from interp.circuits.written import written_in
from interp.subject.quiet import quiet

from .attribution import D_VOCAB, made_up_words, seconds

LENGTH, PAIRS, BATCH = 19, 16, 8
STEPS = 5
ROUNDS = 7
BACKENDS = ("hooked", "bridge")
METHODS: tuple[Method, ...] = ("eap", "clean_corrupted", "eap_ig_inputs", "linearised")


def random_gpt2(folder: Path) -> Path:
    """Writes a random GPT-2 of 6 layers of 8 heads."""
    torch.manual_seed(0)
    shape = GPT2Config(
        vocab_size=D_VOCAB, n_embd=512, n_layer=6, n_head=8, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    with quiet():
        AutoModelForCausalLM.from_config(shape).save_pretrained(folder)
    made_up_words(D_VOCAB).save_pretrained(folder)
    return folder


def backend_work(folder: Path, backend: str) -> dict[str, Callable[[], object]]:
    """A forward pass, edge scores by each method, and a patched run on one backend."""
    subject = interp.subject.load(folder, backend, device="cpu")
    wiring, rng = Wiring.of(subject), torch.Generator().manual_seed(0)
    clean, corrupted = (torch.randint(3, D_VOCAB, (PAIRS, LENGTH), generator=rng) for _ in range(2))
    pairs = Pairs.of(subject, clean, corrupted, [[5]] * PAIRS, [[7]] * PAIRS)
    last = torch.full((BATCH,), LENGTH - 1)

    @torch.no_grad()
    def forward() -> None:
        for batch in torch.split(clean, BATCH):
            subject.logits_at(batch, last)

    work: dict[str, Callable[[], object]] = {f"{backend} forward": forward}
    for method in METHODS:
        work[f"{backend} {method}"] = partial(
            edge_scores, wiring, pairs, method, steps=STEPS, rows_at_once=BATCH
        )
    cut = torch.rand(wiring.graph.exists.shape, generator=rng) < 0.5
    kept = wiring.graph.exists & ~cut

    def patched() -> None:
        for batch in pairs.batches(BATCH):
            patched_logits(wiring, batch.clean, kept, written_in(wiring, batch.corrupted)[0])

    return work | {f"{backend} patched run": patched}


def main() -> dict[str, float]:
    """Prints and returns the ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = random_gpt2(Path(name))
        work = {what: do for backend in BACKENDS for what, do in backend_work(folder, backend).items()}
        rounds = []
        for number in range(ROUNDS + 1):
            order = list(work) if number % 2 else list(reversed(work))
            timed = {what: seconds(work[what]) for what in order}
            if number:  # the first round warms up
                rounds.append(timed)
    print(f"{PAIRS} pairs x {LENGTH} tokens, {ROUNDS} rounds, {torch.get_num_threads()} threads")
    ratios = {}
    for what in work:
        base = f"{what.partition(' ')[0]} forward"
        each = [timed[what] / timed[base] for timed in rounds]
        ratios[what] = statistics.median(each)
        milliseconds = 1e3 * statistics.median(timed[what] for timed in rounds)
        print(f"  {what:26s} {milliseconds:8.1f} ms {ratios[what]:7.2f} ({min(each):.2f} to {max(each):.2f})")
    return ratios


if __name__ == "__main__":
    main()

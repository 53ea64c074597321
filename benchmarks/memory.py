"""`interp bench memory`: the peak memory of every public call, with a large vocabulary.

On a random Llama (2 layers, d_model 64, 262,144 words) each call is made once on 16 texts of 64 tokens, in
one process on the processor, and the largest resident set during the call is held against the one before it
(Linux only). The figure is a multiple of the logits of all these positions in single precision (1 GiB),
which a call that reads only some of them need not hold. `run` with all logits, which needs them, comes first.
"""

import ctypes
import gc
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from torch import Tensor

import interp
from interp.causal.side_effects import neutral_beginnings, side_effects
from interp.causal.steering.texts import cross_entropy
from interp.corpus.questions import Question
from interp.descriptions.explainers.local import LocalExplainer
from interp.descriptions.local_model import LocalModel
from interp.descriptions.reader import NearestTokens
from interp.descriptions.simulators.expected_value import ExpectedValueSimulator
from interp.document import Document
from interp.errors import UserError
from interp.intervene import AddVector
from interp.lenses.answers import Answers
from interp.lenses.direct_attribution import direct_attribution
from interp.lenses.evaluation import divergence, read_words
from interp.lenses.knockout import knockout_between
from interp.lenses.layer_pairs import all_pairs, sweep_pairs
from interp.lenses.linear_relation import fit_relation
from interp.lenses.logit_lens import LogitLens
from interp.lenses.next_token import by_lens, by_patchscope, read_beginnings
from interp.lenses.prompt import Prompt
from interp.lenses.residual_stream import read_stream
from interp.lenses.tuned_lens import train_tuned_lens
from interp.lenses.view import lens
from interp.mining.config import MiningConfig
from interp.subject import Site, Subject
from interp.subject.losses import token_losses
from interp.vectors.contrastive import Pair, contrastive_vectors
from interp.vectors.function import indirect_effects, mean_head_outputs
from interp.vectors.refusal import refusal_candidates, score_candidates
from interp.vectors.sweep import Setting, choose, sweep
from saes.evaluation import evaluate
from saes.latents import SaeLatents

from .attribution import random_llama

SHAPE: dict[str, int] = {
    "vocab_size": 262_144,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TEXTS, LENGTH = 16, 64
NEW_TOKENS = 4


@dataclass
class RandomWords:
    """Documents of random words."""

    d_vocab: int
    length: int
    documents: int = 200
    name: str = "random words"
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.documents

    def __getitem__(self, index: int) -> Document:
        drawn = np.random.default_rng(index).integers(3, self.d_vocab, self.length)
        return Document(drawn.astype(np.int32))


class Bench:
    """A model with the inputs of all calls; texts are token ids without a beginning-of-sequence token."""

    def __init__(self, folder: Path, texts: int, length: int) -> None:
        self.subject: Subject = interp.load(folder, device="cpu")
        self.local = LocalModel.load(folder)
        self.n_texts = texts
        self.corpus = RandomWords(self.subject.d_vocab, length)
        self.rows = [tuple(self.corpus[n].tokens.tolist()) for n in range(texts)]
        self.prompts = [Prompt(row, -2) for row in self.rows]
        self.neurons = [interp.MlpNeurons(self.subject, layer) for layer in range(self.subject.n_layers)]
        self.after_layer = Site("resid_post", 0)
        self.vector = torch.randn(self.subject.d_model, generator=torch.Generator().manual_seed(0))
        sae = TopKSAE(TopKSAEConfig(d_in=self.subject.d_model, d_sae=4 * self.subject.d_model, k=4))
        self.latents = SaeLatents(sae, self.after_layer, subject=self.subject)
        self.questions = [Question(row, ((5, 6),), ((7,),), "one") for row in self.rows]
        self.answers = Answers((("w5",),) * texts)

    def laid(self) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
        """The texts as one padded batch, with their mask."""
        return self.subject.pad(self.rows)

    def added(self) -> AddVector:
        """The intervention of all calls that need one: a vector added after layer 0."""
        return AddVector(self.subject, self.after_layer, self.vector)


def generated(bench: Bench, **options: float | bool) -> object:
    """Generates `NEW_TOKENS` tokens after each text."""
    return bench.subject.generate_ids(*bench.laid(), NEW_TOKENS, **options)  # type: ignore[arg-type]


def losses(bench: Bench) -> object:
    """Computes the cross-entropy of every token."""
    tokens, mask = bench.laid()
    return token_losses(bench.subject, bench.subject.normed(tokens, mask)[:, :-1], tokens[:, 1:])


def side_effects_of(bench: Bench) -> object:
    """Measures side effects (KL and cross-entropy) on the beginnings of texts."""
    neutral = neutral_beginnings(bench.subject, bench.corpus, bench.n_texts)
    return side_effects(bench.subject, neutral, [bench.added()])


def attributed(bench: Bench, method: str) -> object:
    """Attributes a token's log-probability after four prompts to the neurons."""
    tokens, mask = bench.subject.pad(bench.rows[:4])
    return interp.attribute(
        bench.subject,
        tokens,
        5,
        bench.neurons,
        method=method,  # type: ignore[arg-type]
        mask=mask,
        kind="log_prob",
        **({"steps": 4} if method == "integrated_gradients" else {}),  # type: ignore[arg-type]
    )


def swept(bench: Bench) -> object:
    """Sweeps two strengths and chooses one."""
    settings = [
        Setting("added", "layer 0", 0, strength, (AddVector(bench.subject, bench.after_layer, bench.vector),))
        for strength in (1, 2)
    ]
    neutral = neutral_beginnings(bench.subject, bench.corpus, bench.n_texts)
    return choose(bench.subject, settings, sweep(bench.subject, bench.questions, settings), neutral)


def refusals(bench: Bench) -> object:
    """Makes candidates for a refusal direction at two positions, and scores them."""
    tail = (5, 6)
    asked = [Question((*row[:-2], *tail), ((5,), (6,)), (), "one") for row in bench.rows]
    half = len(asked) // 2
    rows = [question.prompt for question in asked]
    candidates = refusal_candidates(bench.subject, rows[:half], rows[half:])
    return score_candidates(bench.subject, candidates, asked[:half], asked[half:])


def patched(bench: Bench) -> object:
    """Patches every layer into every layer."""
    vectors = read_stream(bench.subject, bench.prompts)
    return sweep_pairs(bench.subject, vectors, bench.prompts, bench.answers, all_pairs((0, 1)))


def next_tokens(bench: Bench) -> object:
    """Reads next tokens by a lens and by a patchscope."""
    read = read_beginnings(bench.subject, bench.corpus, "explain", bench.n_texts)
    by_lens(LogitLens(bench.subject), read)
    return by_patchscope(bench.subject, bench.prompts[0], read)


def knocked_out(bench: Bench) -> object:
    """Judges answers with some attention knocked out."""
    change = knockout_between([[-1]] * bench.n_texts, [[-3]] * bench.n_texts, [0])
    return bench.answers.right(bench.subject, bench.prompts, change)


def contrasted(bench: Bench) -> object:
    """Makes contrastive vectors of half as many pairs as texts."""
    pairs = [Pair(a, b) for a, b in zip(bench.rows[::2], bench.rows[1::2], strict=True)]
    return contrastive_vectors(bench.subject, pairs, "one")


CALLS: dict[str, Callable[[Bench], object]] = {
    "run, features only": lambda b: b.subject.run(b.laid()[0], b.neurons, logits="none"),
    "run, logits of the last": lambda b: b.subject.run(b.laid()[0], b.neurons, logits="last"),
    "generate, greedy": generated,
    "generate, sampled": lambda b: generated(b, temperature=1.0),
    "generate, no cache": lambda b: generated(b, use_cache=False),
    "score": lambda b: b.subject.score(b.rows, [row[: LENGTH // 8] for row in b.rows]),
    "losses": losses,
    "losses behind prompts": lambda b: cross_entropy(b.subject, b.rows, [row[:8] for row in b.rows]),
    "attribute": lambda b: attributed(b, "gradient"),
    "attribute, integrated gradients": lambda b: attributed(b, "integrated_gradients"),
    "mine": lambda b: interp.mine(
        b.subject, b.neurons, b.corpus, MiningConfig(tokens_per_batch=1024, sampled_tokens=64, sampled_rows=8)
    ),
    "evaluate a dictionary": lambda b: evaluate(
        b.subject, b.latents, b.corpus, max_tokens=b.n_texts * LENGTH // 2, split="explain"
    ),
    "side effects": side_effects_of,
    "sweep of vectors": swept,
    "contrastive vectors": contrasted,
    "refusal direction": refusals,
    "function vector": lambda b: indirect_effects(
        b.subject, b.questions, mean_head_outputs(b.subject, b.rows)
    ),
    "logit lens, a view": lambda b: lens(b.subject, b.rows[0], [5]),
    "logit lens, divergence": lambda b: divergence([LogitLens(b.subject)], b.corpus, b.n_texts),
    "logit lens, readout": lambda b: read_words(
        LogitLens(b.subject),
        read_stream(b.subject, b.prompts),
        {"one": b.answers.first(b.subject, b.prompts)},
    ),
    "tuned lens, a step": lambda b: train_tuned_lens(
        b.subject, b.corpus, steps=1, tokens_per_step=b.n_texts * len(b.rows[0])
    ),
    "direct attribution": lambda b: direct_attribution(b.subject, b.prompts, [5] * b.n_texts),
    "patchscope, pairs of layers": patched,
    "patchscope, next tokens": next_tokens,
    "knockout": knocked_out,
    "linear relation": lambda b: fit_relation(b.subject, b.prompts[:4], 0),
    "proposals for a description": lambda b: NearestTokens(b.subject)(
        np.concatenate([np.array(row) for row in b.rows])
    ),
    "local explainer": lambda b: LocalExplainer(b.local, 0.0, NEW_TOKENS).answers(
        [" ".join(f"w{token}" for token in row[:16]) for row in b.rows], 0
    ),
    "local simulator": lambda b: ExpectedValueSimulator(b.local).expected(b.rows[0][:16], b.rows),
}
"""Every public call that runs a model."""


def peak_bytes(work: Callable[[], object]) -> int:
    """Measures by how much the peak resident set grows while `work` runs.

    Raises:
        UserError: the system does not report it.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = _resident("VmRSS")
        work()
        return _resident("VmHWM") - before
    except (OSError, AttributeError) as error:
        raise UserError("this system does not tell peak memory", "/proc", "use Linux with glibc") from error


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> dict[str, float]:
    """Prints and returns each call's peak as a multiple of all logits."""
    whole = TEXTS * LENGTH * SHAPE["vocab_size"] * 4
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(random_llama(Path(folder), **SHAPE), TEXTS, LENGTH - 1)
        print(
            f"{TEXTS} texts of {LENGTH} tokens, {SHAPE['vocab_size']:,} words: all logits {whole >> 20:,} MiB"
        )
        calls = {"run, all logits": lambda b: b.subject.run(b.laid()[0], b.neurons), **CALLS}
        for name, call in calls.items():
            began = time.perf_counter()
            peak = peak_bytes(lambda call=call: call(bench))  # type: ignore[misc]
            found[name] = peak / whole
            taken = time.perf_counter() - began
            print(f"  {name:34s} {peak / 2**20:7,.0f} MiB  {found[name]:5.2f} of all logits  {taken:5.1f} s")
    return found


if __name__ == "__main__":
    main()

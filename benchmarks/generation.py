"""`interp bench generation`: generating under interventions against plain generation, on the bundled model.

Compared, greedy with the cache, 64 new tokens (the end-of-text token is ignored) after a prompt of 11, for
one prompt and for eight, on both backends: plain generation against (a) 50 neurons clamped in every layer at
all positions (one clamp a layer), (b) the same at the prompt only, (c) 50 latents of a random top-k SAE
(128 -> 1024, k 16) clamped after layer 4, (d) a vector added after layer 4, (e) a direction projected out of
everything that writes to the residual stream (17 sites). `HookedTransformer.generate` on the same prompts is
the reference; given tokens, it handles no padding and has less to do in every layer. All run in one process,
in an order that changes each round; figures are medians over rounds of ratios within a round.
"""

import statistics
import time

import torch
from sae_lens import SAE
from sae_lens.saes.topk_sae import TopKSAE, TopKSAEConfig
from torch import Tensor

import interp.subject
from interp.features.neurons import MlpNeurons
from interp.intervene import AddVector, Clamp, Positions, ProjectOut
from interp.subject import Site, Subject
from interp.subject.forward import Intervention
from saes.latents import SaeLatents

NEW_TOKENS = 64
ROUNDS = 7
PROMPT = "the capital of france is paris . the capital of"
LAYER = 4


def random_sae() -> SAE[TopKSAEConfig]:
    """A top-k SAE with the weights that training would start from."""
    torch.manual_seed(0)
    return TopKSAE(TopKSAEConfig(d_in=128, d_sae=1024, k=16))


def cases(subject: Subject) -> dict[str, list[Intervention]]:
    """The interventions of each case; the first has none."""
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    after_layer = Site("resid_post", LAYER)
    latents = SaeLatents(random_sae(), after_layer, subject=subject)
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(subject.d_model, generator=generator)

    def clamped(positions: Positions) -> list[Intervention]:
        return [Clamp(space, range(50), 0.5, positions) for space in neurons]

    return {
        "plain": [],
        "50 neurons a layer": clamped("all"),
        "50 neurons a layer, prompt": clamped("prompt"),
        "50 SAE latents": [Clamp(latents, range(50), 0.5)],
        "vector added": [AddVector(subject, after_layer, 0.1 * vector)],
        "direction projected out": [ProjectOut(subject, vector)],
    }


def compare(subject: Subject, n_prompts: int) -> dict[str, float]:
    """Median ratios over plain generation for one backend and batch size."""
    tokens, mask = subject.to_batch([PROMPT] * n_prompts)
    work = cases(subject)
    names = [*work, "HookedTransformer.generate"] if subject.backend == "hooked" else list(work)
    rounds = []
    for number in range(ROUNDS + 1):
        turned = names[number % len(names) :] + names[: number % len(names)]
        timed = {name: seconds(subject, tokens, mask, work.get(name)) for name in turned}
        if number:  # the first round warms up
            rounds.append(timed)
    plain = statistics.median(each["plain"] for each in rounds)
    print(f"{subject.backend}, batch {n_prompts}: plain generation {1e3 * plain / NEW_TOKENS:.2f} ms a token")
    ratios = {}
    for name in names[1:]:
        each = [timed[name] / timed["plain"] for timed in rounds]
        ratios[f"{subject.backend}, batch {n_prompts}, {name}"] = median = statistics.median(each)
        print(f"  {name:28s} {median:.3f} (rounds {min(each):.3f} to {max(each):.3f})")
    return ratios


def seconds(
    subject: Subject, tokens: Tensor, mask: Tensor, interventions: list[Intervention] | None
) -> float:
    """How long one generation takes; without a list, the library's own."""
    start = time.perf_counter()
    if interventions is None:
        subject.model.generate(
            tokens, max_new_tokens=NEW_TOKENS, stop_at_eos=False, do_sample=False, verbose=False
        )
    else:
        with subject.intervene(*interventions):
            rows = subject.generate_ids(tokens, mask, NEW_TOKENS)
        assert all(len(row) == NEW_TOKENS for row in rows)
    return time.perf_counter() - start


def main() -> dict[str, float]:
    """Prints and returns the ratios over plain generation."""
    print(f"{NEW_TOKENS} new tokens, {ROUNDS} rounds, {torch.get_num_threads()} threads")
    ratios: dict[str, float] = {}
    for backend in ("hooked", "bridge"):
        subject = interp.subject.load("world", backend, device="cpu")
        subject.tokenizer.eos_token = None
        for n_prompts in (1, 8):
            ratios |= compare(subject, n_prompts)
    return ratios


if __name__ == "__main__":
    main()

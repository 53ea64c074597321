"""`interp bench lenses`: what the lenses cost, on this machine's processor and on its GPU, if it has one.

- The logit lens over all layers and positions of a prompt of 128 tokens (five likeliest tokens, entropy, KL,
  one target's probability and rank), over a forward pass of the same backend plus the bare unembedding
  products of as many activations; the aim is 1.5. On the bundled `world` and on a random Llama (6 layers,
  d_model 256, vocabulary 4096). Medians over rounds of ratios within one.
- An identity patchscope of `world` from every layer into every layer, for 50 prompts; the aim is a minute.
- The Jacobian of a relation for 8 subjects, mean over the layers after which the subject may be read; the
  aim is 20 seconds.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import interp.subject
from interp.bundled.world import world_folder
from interp.bundled.world.facts import facts
from interp.lenses.answers import Answers
from interp.lenses.layer_pairs import all_pairs, sweep_pairs
from interp.lenses.linear_relation import fit_relation
from interp.lenses.patchscopes import open_target_prompts
from interp.lenses.prompt import prompt_at
from interp.lenses.relations import world_relation
from interp.lenses.residual_stream import EMBEDDING, read_stream, stream_sites
from interp.lenses.view import lens
from interp.subject import Subject

from .attribution import random_llama

TOKENS, ROUNDS, REPEATS = 128, 9, 5
PROMPTS, SUBJECTS = 50, 8


def devices() -> list[str]:
    """The processor, and the GPU if there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def seconds(work: Callable[[], object], device: str, repeats: int = REPEATS) -> float:
    """Mean time of a call, with all work that it queued on the GPU."""
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


def lens_ratio(name: str, folder: Path, device: str) -> float:
    """The logit lens over a forward pass plus the unembedding products."""
    subject: Subject = interp.subject.load(folder, device=device)
    length = TOKENS - (subject.bos_id is not None)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, subject.d_vocab, (length,), generator=generator).tolist()
    sites = list(stream_sites(subject).values())
    tokens, _ = subject.pad([ids])
    shape = (tokens.shape[1], subject.d_model)
    normed = [torch.randn(shape, device=device, dtype=subject.dtype) for _ in sites]
    unembedding = subject.unembedding()

    def base() -> None:
        with torch.inference_mode():
            subject.logits(tokens)
            for activation in normed:
                activation @ unembedding

    def ours() -> None:
        lens(subject, ids, [5], sites=sites)

    ratios = []
    for number in range(ROUNDS + 1):
        first, second = (base, ours) if number % 2 else (ours, base)
        timed = {work: seconds(work, device) for work in (first, second)}
        if number:  # the first round warms up
            ratios.append(timed[ours] / timed[base])
    median = statistics.median(ratios)
    print(f"logit lens, {name}, {device}: {median:.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return median


def sweep_seconds(device: str) -> float:
    """All pairs of layers of `world` for 50 prompts."""
    subject = interp.subject.load("world", device=device)
    scopes, filler = open_target_prompts("world"), " , as we know , is"
    target = scopes.prompt(subject, scopes.identity)
    names = (*facts().performers, *facts().countries)[:PROMPTS]
    prompts = [prompt_at(subject, f"near {name}{filler}", name) for name in names]
    answers = Answers.of(subject, names)
    pairs = all_pairs(range(EMBEDDING, subject.n_layers))

    def sweep() -> None:
        sweep_pairs(subject, read_stream(subject, prompts), [target] * len(names), answers, pairs)

    took = seconds(sweep, device, repeats=1)
    print(f"patchscope, {len(pairs)} pairs of layers, {len(names)} prompts, {device}: {took:.1f} s")
    return took


def jacobian_seconds(device: str) -> float:
    """One Jacobian for 8 subjects of `world`, mean over layers."""
    subject = interp.subject.load("world", device=device)
    relation = world_relation("capital")
    names = [name for name, _ in relation.samples[:SUBJECTS]]
    prompts = [prompt_at(subject, relation.ask(name), name) for name in names]
    layers = range(EMBEDDING, subject.n_layers - 1)

    def all_layers() -> None:
        for layer in layers:
            fit_relation(subject, prompts, layer)

    took = seconds(all_layers, device, repeats=1) / len(layers)
    print(f"Jacobian of a relation, {len(names)} subjects, {device}: {took:.2f} s a layer")
    return took


def main() -> dict[str, float]:
    """Prints and returns the ratios and the seconds."""
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    found = {}
    for device in devices():
        found[f"{device}: logit lens, world"] = lens_ratio("world", world_folder(), device)
        with tempfile.TemporaryDirectory() as folder:
            llama = random_llama(Path(folder))
            found[f"{device}: logit lens, random Llama"] = lens_ratio("random Llama", llama, device)
        found[f"{device}: patchscope sweep, seconds"] = sweep_seconds(device)
        found[f"{device}: Jacobian, seconds"] = jacobian_seconds(device)
    return found


if __name__ == "__main__":
    main()

"""`interp bench scale`: mining, attribution, SAE training and the Monitor on the shape of Llama 3.1 8B.

Weights are random, drawn on the GPU in bfloat16; so are tokens. Without a GPU the same parts run on a tiny
shape, whose figures mean nothing. Measured in one process, the device waited for:

- floor: tokens per second of the bare `transformers` backbone (SDPA attention, no logits), at the batch at
  which it is fastest; windows of 64 tokens;
- mining: one pass that keeps exemplars, samples, quantiles and moments of every neuron of every layer, both
  polarities, by the defaults of `MiningConfig`: its share of the floor, of the whole pass and of its second
  half, when lists are full; beside it the bridge's pass alone; what reading the results costs;
- attribution: activation times gradient of every neuron at every position of a prompt;
- click: the Monitor's, from such a prompt to 50 ranked features with what is known of them;
- sae: seconds of the five dense matrix products of a TopK training step (encode, decode, and three of the
  backward pass) over those of a step, in float32 (multiplied as TF32) and in bfloat16.

It prints a Markdown table of figures and aims; `python -m benchmarks.scale --out FILE` also writes it. A part
that fails is reported, and the others are measured. All of it is to take less than eight minutes.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from interp.attribution import Target, activation_times_gradient
from interp.corpus.batches import Batch, batches
from interp.document import SPLITS, Document
from interp.features.neurons import MlpNeurons
from interp.mining.config import MiningConfig
from interp.mining.fold import MiningState, fold_batches
from interp.mining.mined import read_out
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, State
from interp.subject import Site, Subject
from interp.subject.quiet import quiet
from interp.subject.random_weights import random_model, random_subject
from saes.config import SaeTraining
from saes.fitting import Fitting, tensor_cores

from .attribution import made_up_words

WINDOW = 64
FIRST = 3
"""The first token that is a made-up word."""


@dataclass(frozen=True)
class Size:
    """How large everything is. Times are seconds."""

    name: str
    shape: dict[str, Any]
    batch_tokens: tuple[int, ...]
    """Batches that are tried, in tokens."""
    mining_seconds: float
    """About how long the pass that is measured lasts, if it is as fast as the floor."""
    prompt: int
    """Tokens of the prompt."""
    d_in: int
    n_latents: int
    sae_batch: int
    sae_steps: int
    limit: float
    """The most that a part may take: what it repeats then ends."""
    judged: bool = True
    """Whether figures are held to the aims."""


LLAMA_3_1_8B = Size(
    name="the shape of Llama 3.1 8B",
    shape={
        "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_theta": 500_000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    },
    batch_tokens=(8192, 16_384, 32_768, 65_536),
    mining_seconds=45.0, prompt=512, d_in=4096, n_latents=131_072, sae_batch=8192, sae_steps=20, limit=100.0,
)  # fmt: skip
TINY = Size(
    name="a tiny shape",
    shape={
        "vocab_size": 512, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    },
    batch_tokens=(512, 1024),
    mining_seconds=0.3, prompt=24, d_in=32, n_latents=256, sae_batch=128, sae_steps=6, limit=5.0,
    judged=False,
)  # fmt: skip


@dataclass
class Row:
    """A figure, with the aim that it is held to."""

    what: str
    figure: str
    aim: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        return f"| {self.what} | {self.figure} | {self.aim} | {_word(self.met)} |"


@dataclass
class Measured:
    """All figures so far, printed as they come."""

    judged: bool
    rows: list[Row] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, what: str, figure: str, aim: str = "", met: bool | None = None) -> None:
        """Takes a figure in and prints it."""
        if not self.judged:
            aim, met = "", None
        self.rows.append(Row(what, figure, aim, met))
        print(f"  {what:64s} {figure}" + (f"  (aim: {aim}: {_word(met)})" if aim else ""), flush=True)


def _word(met: bool | None) -> str:
    return "" if met is None else "met" if met else "missed"


class Models:
    """The subject and the bare backbone, with the same weights."""

    def __init__(self, size: Size, folder: Path, device: str) -> None:
        dtype = torch.bfloat16
        LlamaConfig(**size.shape, architectures=["LlamaForCausalLM"]).save_pretrained(folder)
        made_up_words(size.shape["vocab_size"]).save_pretrained(folder)
        model = random_model(folder, device, dtype)
        weights = dict(model.state_dict())
        with torch.device(device), quiet():
            bare = AutoModelForCausalLM.from_config(model.config, dtype=dtype, attn_implementation="sdpa")
        bare.load_state_dict(weights, assign=True)
        self.backbone = bare.model.eval().requires_grad_(False)
        self.subject: Subject = random_subject(folder, device, dtype, model=model)
        self.neurons = [MlpNeurons(self.subject, layer) for layer in range(self.subject.n_layers)]
        self.rng = np.random.default_rng(0)

    def tokens(self, rows: int, length: int) -> Int[np.ndarray, "row pos"]:
        """Random words, after the beginning of a text."""
        drawn = self.rng.integers(FIRST, self.subject.d_vocab, (rows, length))
        assert self.subject.bos_id is not None
        drawn[:, 0] = self.subject.bos_id
        return drawn


@dataclass
class Drawn:
    """Documents of one window each."""

    documents: list[Document]
    name: str = "random"
    label_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> Document:
        return self.documents[index]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _repeated(work: Callable[[], object], device: torch.device, rounds: int, limit: float) -> list[float]:
    """Seconds of each round, after two that warm up."""
    for _ in range(2):
        work()
    found: list[float] = []
    ends = time.perf_counter() + limit
    while len(found) < rounds and (not found or time.perf_counter() < ends):
        found.append(_seconds(work, device))
    return found


def _bare(models: Models, several: Sequence[Int[Tensor, "row pos"]]) -> None:
    with torch.inference_mode():
        for batch in several:
            models.backbone(input_ids=batch, use_cache=False)


def measure_floor(models: Models, size: Size, found: Measured) -> tuple[int, float]:
    """The batch, in tokens, at which the bare backbone is fastest, and its tokens per second there."""
    device = models.subject.device
    speeds: dict[int, float] = {}
    for n_tokens in size.batch_tokens:
        batch = torch.from_numpy(models.tokens(n_tokens // WINDOW, WINDOW)).to(device)
        with suppress(torch.OutOfMemoryError):
            times = _repeated(partial(_bare, models, [batch]), device, 3, size.limit / 10)
            speeds[n_tokens] = n_tokens / statistics.median(times)
    best = max(speeds, key=lambda n: speeds[n])
    each = ", ".join(f"{n:,}: {speed:,.0f}" for n, speed in speeds.items())
    found.add(f"floor, tokens/s by batch ({each})", f"{speeds[best]:,.0f} at {best:,}")
    return best, speeds[best]


def _stream(models: Models, n_tokens: int, batch_tokens: int, config: MiningConfig) -> list[Batch]:
    rows = max(2, n_tokens // batch_tokens) * (batch_tokens // WINDOW)
    drawn = models.tokens(rows, WINDOW)[:, 1:].astype(np.int32)
    corpus = Drawn([Document(row) for row in drawn])
    layout = models.subject.row_layout
    made = batches(corpus, range(rows), layout, WINDOW, batch_tokens)
    return [batch for batch in made if batch.tokens.size == batch_tokens]


def measure_mining(models: Models, size: Size, found: Measured) -> None:
    """The pass that keeps exemplars, over the floor, in turn."""
    subject, device = models.subject, models.subject.device
    batch_tokens, speed = measure_floor(models, size, found)
    config = MiningConfig(context_size=WINDOW, tokens_per_batch=batch_tokens)
    stream = _stream(models, int(speed * size.mining_seconds), batch_tokens, config)
    last = Site("mlp_post", subject.n_layers - 1)
    fold_batches(subject, models.neurons, stream[:2], config)  # warms up
    some = [torch.from_numpy(batch.tokens).to(device) for batch in stream[:8]]

    def bare() -> float:
        return len(some) * batch_tokens / _seconds(lambda: _bare(models, some), device)

    def bridged() -> None:
        for batch in stream[:8]:
            subject.visit(torch.from_numpy(batch.tokens), {last: lambda activation: None}, checked=False)

    before = bare()
    passed = min(8, len(stream)) * batch_tokens / _seconds(bridged, device)
    times: list[float] = []

    def mined() -> Iterator[Batch]:
        for batch in stream:
            times.append(time.perf_counter())
            yield batch

    _wait(device)
    state: list[MiningState] = []
    whole = _seconds(lambda: state.append(fold_batches(subject, models.neurons, mined(), config)), device)
    ended = times[0] + whole
    after = bare()
    floor, n_tokens, half = (before + after) / 2, len(stream) * batch_tokens, len(stream) // 2
    share = n_tokens / whole / floor
    second = (len(stream) - half) * batch_tokens / (ended - times[half]) / floor
    n_features = sum(space.n_features for space in models.neurons)
    found.add("floor before and after the pass, tokens/s", f"{before:,.0f}, {after:,.0f}")
    found.add("the bridge's pass alone, of the floor", f"{passed / floor:.3f}")
    found.add(
        f"mining {n_features:,} neurons, both polarities, {n_tokens:,} tokens, of the floor",
        f"{share:.3f} ({n_tokens / whole:,.0f} tokens/s)", "0.87", share >= 0.87,
    )  # fmt: skip
    found.add("the second half of that pass, of the floor", f"{second:.3f}")
    if device.type == "cuda":
        found.add("most memory of the pass", f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB")
    ends, n_read, began = time.perf_counter() + size.limit / 2, 0, time.perf_counter()
    for space in models.neurons:
        read = read_out(state[0], space.name)
        assert (
            read.exemplars["explain"].n_tokens + sum(read.exemplars[split].n_tokens for split in SPLITS[1:])
            == n_tokens - n_tokens // WINDOW
        )
        state[0].release(space.name)
        n_read += 1
        if time.perf_counter() > ends:
            break
    found.add(
        f"reading the results of {n_read} of {len(models.neurons)} layers",
        f"{time.perf_counter() - began:.1f} s",
    )


def measure_attribution(models: Models, size: Size, found: Measured) -> None:
    """Every neuron's attribution at every position of a prompt."""
    subject = models.subject
    tokens = torch.from_numpy(models.tokens(1, size.prompt)).to(subject.device)
    target = Target("logit", (FIRST + 7,))

    def attribute() -> None:
        activation_times_gradient(subject, tokens, None, target, models.neurons)

    times = _repeated(attribute, subject.device, 7, size.limit / 2)
    seconds = statistics.median(times)
    found.add(
        f"attribution of every neuron, {size.prompt} tokens (median of {len(times)})",
        f"{seconds:.3f} s", "under 0.5 s", seconds < 0.5,
    )  # fmt: skip


def measure_click(models: Models, size: Size, found: Measured) -> None:
    """The Monitor's click."""
    subject = models.subject
    ids = [int(i) for i in models.tokens(1, size.prompt)[0, 1:]]
    bench = Bench(subject, Knowledge(subject.name), models.neurons)
    session = Session(bench, State(conversation=Conversation().written(ids)))
    place = len(session.state.conversation.tokens(subject)) - 1

    def click() -> None:
        assert len(session.table(session.why(place))) == 50

    times = _repeated(click, subject.device, 7, size.limit / 2)
    seconds = statistics.median(times)
    found.add(
        f"the Monitor's click, {size.prompt} tokens (median of {len(times)})",
        f"{seconds:.3f} s", "under 1 s", seconds < 1,
    )  # fmt: skip


def _products(config: SaeTraining, size: Size, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of the five products of a dense step."""
    x = torch.randn(config.batch_tokens, size.d_in, device=device, dtype=dtype)
    weights = torch.randn(size.d_in, config.n_latents, device=device, dtype=dtype)
    latents = torch.empty(config.batch_tokens, config.n_latents, device=device, dtype=dtype).normal_()
    wide, back = torch.empty_like(weights), torch.empty_like(x)

    def five() -> None:
        torch.mm(x, weights, out=latents)  # encode
        torch.mm(latents, weights.T, out=back)  # decode
        torch.mm(x.T, latents, out=wide)  # to the encoder
        torch.mm(x.T, latents, out=wide)  # to the decoder
        torch.mm(x, weights, out=latents)  # to the latents

    with tensor_cores(str(device)), torch.inference_mode():
        return min(_repeated(five, device, 5, size.limit / 5))


def measure_sae(models: Models, size: Size, found: Measured) -> None:
    """A training step over the products that a dense one cannot do without, in both float types."""
    device = models.subject.device
    activations = _planted(size, 4 * size.sae_batch, device)
    for dtype in ("float32", "bfloat16"):
        warm = max(3, size.sae_steps // 4)
        config = SaeTraining.model_validate(
            {
                "architecture": {"kind": "topk", "k": 32}, "n_latents": size.n_latents, "dtype": dtype,
                "training_tokens": (warm + size.sae_steps) * size.sae_batch, "batch_tokens": size.sae_batch,
                "buffer_tokens": len(activations), "log_every_steps": 10**6, "evaluate_every_steps": 0,
                "checkpoint_every_steps": 0,
            }
        )  # fmt: skip
        step = _step_seconds(config, activations, device, warm)
        bound = _products(config, size, device, getattr(torch, dtype))
        found.add(
            f"TopK SAE {size.d_in:,} to {size.n_latents:,}, k 32, batch {size.sae_batch:,}, {dtype}: "
            f"GEMM bound ({bound * 1e3:.1f} ms) over a step",
            f"{bound / step:.2f} ({size.sae_batch / step:,.0f} tokens/s)", "0.8", bound / step >= 0.8,
        )  # fmt: skip


def _planted(size: Size, n: int, device: torch.device) -> Float[Tensor, "token d_in"]:
    """Activations of low rank and noise."""
    drawn = torch.Generator(device).manual_seed(0)
    rank = max(4, size.d_in // 16)
    basis = torch.randn(rank, size.d_in, generator=drawn, device=device)
    return torch.randn(n, rank, generator=drawn, device=device) @ basis + torch.randn(
        n, size.d_in, generator=drawn, device=device
    )


def _step_seconds(
    config: SaeTraining, activations: Float[Tensor, "token d_in"], device: torch.device, warm: int
) -> float:
    """Seconds of a step of `saes.fit`, of those after `warm`."""
    fitting = Fitting(config, [activations.shape[1]], device=str(device))
    began, steps = 0.0, 0

    def advance(tokens: float | int) -> None:
        nonlocal began, steps
        steps += 1
        if steps == warm:
            _wait(device)
            began = time.perf_counter()

    while not fitting.finished:
        fitting.learn([activations], fitting.place.cursor + 1, advance)
    _wait(device)
    return (time.perf_counter() - began) / (steps - warm)


PARTS: dict[str, Callable[[Models, Size, Measured], None]] = {
    "mining": measure_mining,
    "attribution": measure_attribution,
    "click": measure_click,
    "sae": measure_sae,
}


def _hardware(device: str) -> str:
    machine = torch.cuda.get_device_name() if device == "cuda" else f"a processor ({platform.machine()})"
    return f"{machine}, torch {torch.__version__}, transformers {transformers.__version__}"


def report(size: Size, device: str, found: Measured, seconds: float) -> str:
    """The section for `benchmarks/RESULTS.md`."""
    lines = [
        "## Scale: " + size.name,
        "",
        f"`interp bench scale`, {time.strftime('%Y-%m-%d')}, {_hardware(device)}; random weights in "
        f"bfloat16, windows of {WINDOW} tokens; the mining pass once; {seconds:.0f} s in all.",
        "",
        "| what | figure | aim | |",
        "|---|---|---|---|",
        *map(str, found.rows),
        *(f"\nFailed: {line}" for line in found.failed),
        "",
    ]
    return "\n".join(lines)


def main(out: Path | None = None, parts: tuple[str, ...] = tuple(PARTS)) -> Measured:
    """Measures all parts and prints the section for RESULTS, also to the file `out`."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = LLAMA_3_1_8B if device == "cuda" else TINY
    began, found = time.perf_counter(), Measured(size.judged)
    print(f"{size.name} on {_hardware(device)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        models = Models(size, Path(folder) / "random", device)
        found.add("making the model on the device", f"{time.perf_counter() - began:.1f} s")
        for name in parts:
            if device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            try:
                PARTS[name](models, size, found)
            except Exception as error:  # one fault does not hide the other figures
                traceback.print_exc()
                found.failed.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
    text = report(size, device, found, time.perf_counter() - began)
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
    return found


if __name__ == "__main__":
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--out", type=Path, help="where the section for RESULTS is written")
    given.add_argument("parts", nargs="*", default=list(PARTS), help=f"some of {', '.join(PARTS)}")
    asked = given.parse_args()
    sys.exit(bool(main(asked.out, tuple(asked.parts)).failed))

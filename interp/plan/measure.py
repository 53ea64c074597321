"""Measures the rates of this machine, in about half a minute, on the bundled model and the real code."""

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from interp.bundled.world.corpus import WorldCorpus
from interp.corpus.batches import Batch, batches
from interp.cost import Amount, forward_flops, machine_bytes
from interp.descriptions.candidate import Candidate
from interp.descriptions.choice import Choice
from interp.descriptions.cost import PATTERN_TOKENS
from interp.descriptions.excerpt import Excerpt
from interp.descriptions.explainers.patterns import PatternExplainer
from interp.descriptions.rows import put_described
from interp.descriptions.sample import sample_active
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.simulators.known import KnownSimulator
from interp.descriptions.windows import gather_evidence, gather_report
from interp.document import SHARES, Corpus, Document
from interp.features.neurons import MlpNeurons
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.llm.request import Message, Request
from interp.mining.config import MiningConfig
from interp.mining.cost import entered_windows, sampled_values
from interp.mining.fold import MiningState, feed
from interp.mining.mined import Mined, read_out
from interp.plan.machine import Machine
from interp.store.store import Store
from interp.subject import load
from interp.subject.shape import PUBLISHED, subject_shape
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.track.files import write_safetensors
from interp.track.progress import Progress, silent
from saes.architecture import TopK
from saes.config import SaeTraining
from saes.cost import step_flops
from saes.fitting import Fitting
from saes.sparse import available as sparse_step_available

Clock = Callable[[], Amount]
LARGE = "meta-llama/Llama-3.1-8B"
DOCUMENTS, FEATURES, CALLS = 1200, 16, 60
CONFIG = MiningConfig(context_size=128, tokens_per_batch=8192)
_ANSWER = (
    b'{"choices": [{"message": {"content": "yes"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}'
)


def measured_machine(
    device: str = "cpu",
    dtype: str = "float32",
    model: str = "world",
    *,
    clock: Clock = time.perf_counter,
    documents: int = DOCUMENTS,
    progress: Progress | None = None,
) -> Machine:
    """Measures every rate of `interp.plan.machine.UNITS` but an endpoint's own.

    The pass is one through `model`; mining, reading, describing, scoring and storing run on its neurons over
    the world's text, so that it has to speak the world's language. `clock` is `time.process_time` where other
    work disturbs: with one thread it counts what the wall clock would on an idle machine.
    """
    progress = progress or silent()
    found: dict[str, Amount] = {}
    with progress.task("measuring this machine", total=6, unit="parts") as advance:
        found |= measured_hardware(device, dtype, clock)
        advance(1)
        subject = load(model, device=device, dtype=dtype)
        began = clock()
        corpus = Generated(WorldCorpus(1, documents))
        found["generated"] = sum(len(one.tokens) for one in corpus.documents) / (clock() - began)
        found["forward_large"] = layer_rate(LARGE, device, dtype, clock)
        mined, rates = mining_rates(subject, corpus, clock)
        found |= rates
        advance(1)
        found |= training_rates(subject, dtype, clock)
        advance(1)
        found |= describing_rates(mined, found["forward"], clock)
        advance(1)
        found |= {"decoded": _decoded(subject, clock)}
        advance(1)
        found |= {"asked": asked_rate(clock)}
        advance(1)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "this machine"
    has = torch.cuda.get_device_properties(device).total_memory if device.startswith("cuda") else None
    today = datetime.now(UTC).date().isoformat()
    made = Machine(name, {}, device, dtype, has, machine_bytes(), today)
    threads = torch.get_num_threads()
    return made.with_rates("measured", f"on {model}, {threads} threads, {dtype}", **found)


class Generated:
    """Documents made once, so that making them is timed apart."""

    def __init__(self, corpus: Corpus) -> None:
        self.documents = [corpus[index] for index in range(len(corpus))]
        self.name, self.label_names = corpus.name, corpus.label_names

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, index: int) -> Document:
        return self.documents[index]


def best_seconds(work: Callable[[], object], clock: Clock, device: str = "cpu", rounds: int = 4) -> Amount:
    """The shortest of several times that `work` takes."""
    seconds = []
    for _ in range(rounds):
        began = clock()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(clock() - began)
    return min(seconds)


def measured_hardware(
    device: str = "cpu", dtype: str = "float32", clock: Clock = time.perf_counter
) -> dict[str, Amount]:
    """A matrix product and a copy on the device, a copy on the host, and a file."""
    size = 1024 if device == "cpu" else 8192
    kind: torch.dtype = getattr(torch, dtype)
    a = torch.randn(size, size, device=device).to(kind)
    product = 2.0 * size**3 / best_seconds(lambda: a @ a, clock, device)

    def copying(where: str) -> Amount:
        target = torch.empty(32 * 1024 * 1024, device=where)
        source = torch.zeros_like(target)
        return 8.0 * target.numel() / best_seconds(lambda: target.copy_(source), clock, where)

    half = torch.zeros(24 * 1024 * 1024, dtype=torch.bfloat16)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "measured.safetensors"
        # a wait for the disk is no processor time
        written = half.nbytes / best_seconds(lambda: write_safetensors(file, {"a": half}), time.perf_counter)

        def converted() -> object:
            from safetensors.torch import load_file

            return load_file(file)["a"].to(device, kind).clone()

        loaded = half.numel() / best_seconds(converted, clock, device)
    host = copying("cpu")
    on_device = host if device == "cpu" else copying(device)
    return {
        "product": product, "device_memory": on_device, "host_memory": host, "disk": written, "load": loaded,
    }  # fmt: skip


def layer_rate(
    model: str, device: str = "cpu", dtype: str = "float32", clock: Clock = time.perf_counter
) -> Amount:
    """FLOP/s of one layer at the shapes of a model, with random weights, as `transformers` has it.

    `model` is a name of `interp.subject.shape.PUBLISHED`.
    """
    from transformers import AutoConfig, AutoModel

    kind, values = PUBLISHED[model]
    config = AutoConfig.for_model(kind, **{**values, "num_hidden_layers": 1, "vocab_size": 64})
    with torch.device(device):
        layer = AutoModel.from_config(config, dtype=getattr(torch, dtype), attn_implementation="eager")
        rows = torch.zeros(2 if device == "cpu" else 64, 128, dtype=torch.long)
    flops = rows.numel() * forward_flops(subject_shape(model), 1)
    with torch.inference_mode():
        layer(rows)
        return flops / best_seconds(lambda: layer(rows), clock, device, 3)


def mining_rates(subject: Subject, corpus: Corpus, clock: Clock) -> tuple[Mined, dict[str, Amount]]:
    """Mines all neurons of a subject; the rates of the pass and of what mining does beside it.

    The same text is fed a second time, when no window is new: what that saves is what entering takes.
    """
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    indices = range(len(corpus))
    stream = list(batches(corpus, indices, subject.row_layout, CONFIG.context_size, CONFIG.tokens_per_batch))
    last = neurons[-1].site
    feed(subject, stream[0], neurons, lambda space, activation: None)  # warms up
    device = str(subject.device)
    bare = sum(
        best_seconds(lambda batch=batch: _passed(subject, batch, last), clock, device, 2)  # type: ignore[misc]
        for batch in stream
    )
    state = MiningState.empty(neurons, CONFIG, subject.device, subject.dtype)
    first, second = (_taken_in(subject, stream, neurons, state, clock, bare) for _ in range(2))
    positions = sum(batch.tokens.size for batch in stream)
    values = sum(batch.n_counted for batch in stream) * sum(space.n_features for space in neurons)
    rows = sum(len(batch.tokens) for batch in stream)
    lines = 2 * sum(space.n_features for space in neurons)
    entering = lines * sum(
        entered_windows(CONFIG.top_windows.of(split), share * rows) for split, share in SHARES.items()
    )
    began = clock()
    found = {space.name: read_out(state, space.name) for space in neurons}
    finishing = clock() - began
    sampled = sampled_values(CONFIG, 2 * values / (lines / 2), rows)  # what is fed twice is sampled twice
    mined = Mined(subject, corpus, {space.name: space for space in neurons}, CONFIG, found, {})
    flops = forward_flops(subject_shape(subject.name), subject.n_layers)
    return mined, {
        "forward": positions * flops / bare,
        "mined": values / second,
        "read_out": (lines / 2) * sampled / finishing,
        "entered": entering / max(first - second, 1e-3 * first),
    }


def _passed(subject: Subject, batch: Batch, site: Site) -> None:
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
    subject.visit(tokens.to(subject.device), {site: lambda activation: None}, mask.to(subject.device))


def _taken_in(
    subject: Subject,
    stream: Sequence[Batch],
    neurons: Sequence[MlpNeurons],
    state: MiningState,
    clock: Clock,
    bare: Amount,
) -> Amount:
    """Seconds that mining spends on all activations; on a GPU, what it adds to the bare pass."""
    where, spent = torch.device(subject.device), 0.0
    on_host, began_all = where.type == "cpu", clock()
    for batch in stream:
        assert batch.split is not None
        split = state.splits[batch.split]
        began = clock()
        view = split.view(batch).to(where)
        spent += clock() - began

        def take(space: Any, activation: torch.Tensor, view: Any = view, split: Any = split) -> None:
            nonlocal spent
            began = clock()
            split.take(view, space, activation)
            spent += clock() - began

        feed(subject, batch, neurons, take)
    state.finish()
    return spent if on_host else max(clock() - began_all - bare, 0.02 * bare)


def training_rates(subject: Subject, dtype: str, clock: Clock) -> dict[str, Amount]:
    """Steps of a dense and of a sparse dictionary, on activations made up."""
    device, width = str(subject.device), 256
    kind = "bfloat16" if dtype == "bfloat16" else "float32"
    found = {}
    for name, architecture in (("learn", {"kind": "standard"}), ("learn_sparse", {"kind": "topk", "k": 32})):
        config = SaeTraining.model_validate(
            {"architecture": architecture, "n_latents": 8 * width, "batch_tokens": 1024, "dtype": kind,
             "training_tokens": 1 << 20, "buffer_tokens": 4096, "checkpoint_every_steps": 0,
             "evaluate_every_steps": 0}
        )  # fmt: skip
        fitting = Fitting(config, [width], device=device)
        batch = torch.randn(4096, width, device=device)
        fitting.learn([batch], 1, lambda amount: None)  # warms up
        sparse = isinstance(config.architecture, TopK) and sparse_step_available(device, config.dtype)
        done = 4096 * step_flops(width, config, sparse)
        found[name] = done / best_seconds(
            lambda fitting=fitting, batch=batch: fitting.learn([batch], 1, lambda amount: None),  # type: ignore[misc]
            clock, device, 2,
        )  # fmt: skip
    return found


def describing_rates(mined: Mined, forward: Amount, clock: Clock) -> dict[str, Amount]:
    """Reads windows, describes by patterns, tries, scores and stores; the pass itself is subtracted."""
    subject, corpus, size = mined.subject, mined.corpus, mined.config.context_size
    explain, report = (
        {name: one.exemplars[split] for name, one in mined.items()} for split in ("explain", "report")
    )
    features = sample_active(list(mined.spaces.values()), explain, FEATURES, 0)
    flops = forward_flops(subject_shape(subject.name), subject.n_layers)
    began = clock()
    gathered = gather_evidence(subject, corpus, features, explain, size)
    taken = clock() - began
    windows = [
        window
        for one, _ in gathered
        for part in (one.exemplars, one.background, one.random)
        for window in part
    ]
    once = {(one.document, one.start): len(one.tokens) + 1 for one in windows}
    read = len(windows) / _beside(taken, sum(once.values()) * flops / forward)
    began = clock()
    described = PatternExplainer(subject).explain_all(features, [one for one, _ in gathered])
    taken = clock() - began
    written = len(features) / _beside(taken, len(features) * PATTERN_TOKENS * flops / forward)
    candidates = [one.candidates[0] for one in described]
    top, random = gather_report(subject, corpus, features, report, 30, size)
    shown = [
        ([Excerpt(window, ()) for window in a], [Excerpt(window, ()) for window in b])
        for a, b in zip(top, random, strict=True)
    ]

    async def scored(simulator: KnownSimulator, nulls: int) -> None:
        for place, (candidate, (strong, weak)) in enumerate(zip(candidates, shown, strict=True)):
            others = [candidates[(place + 1 + n) % len(candidates)] for n in range(nulls)]
            await simulation(simulator, candidate, strong, weak, others)

    simulator, nulls = KnownSimulator(corpus), 8
    began = clock()
    run_with(scored(simulator, nulls), ())
    first, began = clock() - began, clock()
    run_with(scored(simulator, nulls), ())  # what was tried is known now
    again = clock() - began
    tried = sum((1 + nulls) * len(strong) + len(weak) for strong, weak in shown)
    return {
        "read": read,
        "patterns": written,
        "tried": tried / max(first - again, 1e-3 * first),
        "scored": len(features) * (1 + nulls) / again,
        "stored": _stored(mined, features, candidates, clock),
    }


def _stored(mined: Mined, features: Sequence[Any], candidates: Sequence[Candidate], clock: Clock) -> Amount:
    choices = [[Choice((one,), (0.5,))] for one in candidates]
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.sqlite") as store:
        began = clock()
        put_described(store, mined, features, choices, [[None]] * len(features))
        return len(features) / (clock() - began)


def _decoded(subject: Subject, clock: Clock) -> Amount:
    """Layers a second of generating 16 tokens after 8 short prompts."""
    tokens, mask = subject.pad([[5, 6, 7]] * 8)
    subject.generate_ids(tokens, mask, 2)
    taken = best_seconds(lambda: subject.generate_ids(tokens, mask, 16), clock, str(subject.device), 3)
    return 16 * subject.n_layers / taken


def asked_rate(clock: Clock) -> Amount:
    """Calls a second, over HTTP, to a server on this machine that answers at once."""
    with _answering() as url:
        client = Client(Endpoint(model="instant", base_url=url, retries=0))

        async def ask() -> None:
            import asyncio

            questions = [Request((Message("user", f"{number} " * 400),)) for number in range(CALLS)]
            await asyncio.gather(*(client.chat(one) for one in questions))

        return CALLS / best_seconds(lambda: run_with(ask(), [client]), clock)


@contextmanager
def _answering() -> Iterator[str]:
    """A server on a free port that gives each request the same answer."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            waiting = b""
            with connection:
                while part := connection.recv(1 << 16):
                    waiting += part
                    while (body := _after_one(waiting)) is not None:
                        waiting = body
                        connection.sendall(head + _ANSWER)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def _after_one(waiting: bytes) -> bytes | None:
    """What follows the first whole request; None if there is none yet."""
    head, end, rest = waiting.partition(b"\r\n\r\n")
    if not end:
        return None
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(lengths[0].split(b":")[1]) if lengths else 0
    return rest[size:] if len(rest) >= size else None


def _beside(taken: Amount, passing: Amount) -> Amount:
    """What is left of a time without the pass; a tenth of it at least, as the pass is estimated."""
    return max(taken - passing, 0.1 * taken)

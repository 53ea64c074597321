"""`interp bench estimate`: what `interp configs --estimate` says, against runs of different size.

Each case runs in a process of its own with one thread: the machine's rates are measured, the config runs, and
the rates are measured again; time is the processor's, since other work on a machine makes the clock's longer,
and the estimate is of the mean of both measurements. Memory is the growth of the peak resident set over that
before the model is loaded; disk what lies in the run's folder besides its page and W&B; tokens those that a
server on this machine counted, which answers at once (four characters a token).

`python -m benchmarks.estimate quickstart_small describe` runs some; so does each run of `CASES`.
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from interp.cli.loading import load_config
from interp.descriptions.prompt_size import tokens_in
from interp.plan.estimate import Cost, estimate
from interp.plan.machine import Machine
from interp.plan.measure import measured_machine
from interp.track.run import Run, open_run

BOUND = 1.5
SMALLER = ("mining.sampled_tokens=4096", "wandb.mode=disabled")
ENDPOINT = (
    "explainers=[{kind: prompted}, {kind: contrastive}]", "simulator={kind: structured}",
    "judges=[{kind: endpoint}]", "summarise_by=main", "endpoints={main: {model: scripted, base_url: URL}}",
)  # fmt: skip
CASES: dict[str, tuple[str, tuple[str, ...], int | None]] = {
    "quickstart, small": ("quickstart", ("corpus.documents=2000", "describe.sample=16", *SMALLER), None),
    "quickstart, large": ("quickstart", ("corpus.documents=16000", *SMALLER), None),
    "describe, 3 samples": ("describe", ("corpus.documents=6000", "sample=24", *SMALLER), None),
    "describe by an endpoint": (
        "describe", ("corpus.documents=3000", "sample=16", "sae=null", "samples=2", *ENDPOINT, *SMALLER),
        None,
    ),
    "train_saes": (
        "train_saes",
        ("corpus.documents=8000", "wandb.mode=disabled",
         "dictionaries={topk: {site: resid_post.4}, wide: {site: resid_post.4, sae: {n_latents: 4096}}, "
         "standard: {site: resid_post.4, sae: {architecture: {kind: standard}}}}"),
        None,
    ),
    "gemma/describe": (
        "gemma/describe",
        ("corpus.documents=200", "sample=4", "sae=null", "activations=null", "subject.dtype=float32",
         *SMALLER),
        None,
    ),
}  # fmt: skip
"""Config, overrides, and tokens of the corpus where the config does not know them (counted, then)."""
STEPS = {
    "mine_neurons": "mine", "mine": "mine", "mine_latents": "mine", "train_sae": "train measure",
    "train": "train", "measure": "measure", "describe": "explain", "explain": "explain", "choose": "choose",
    "score": "score", "store": "store",
}  # fmt: skip
"""The stages whose work each step does."""


def describes(body: dict[str, Any]) -> str:
    """An answer of the right form, other for each question, with descriptions of a usual length."""
    system, question = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "[DESCRIPTION]" in system:
        return (
            f"[DESCRIPTION]: words that come after the name of a thing, number {abs(hash(question)) % 10**6}"
        )
    if '"activations"' in system:
        texts = [json.loads(text) for text in re.findall(r"tokens\): (\[.*\])", question)]
        return json.dumps({"activations": [[5 * ("e" in piece) for piece in text] for text in texts]})
    if '"summaries"' in system:
        return json.dumps({"summaries": ["words after the name of a thing"] * len(question.splitlines())})
    texts = re.findall(r"^Text \d+: (.*)$", question, re.MULTILINE)
    return json.dumps({"ratings": [10 * ("e" in text) for text in texts]})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    used: dict[str, int]

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        """Answers a conversation."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = describes(body)
        sent = sum(tokens_in(one["content"]) for one in body["messages"])
        usage = {"prompt_tokens": round(sent), "completion_tokens": round(tokens_in(text)) + 1}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        content = json.dumps({"choices": [choice], "usage": usage}).encode()
        for name, value in (("calls", 1), *usage.items()):
            self.used[name] += value
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def answering() -> Iterator[tuple[str, dict[str, int]]]:
    """A server on a free port; gives its address, and the calls and tokens that it counts."""
    used = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0}
    handler = type("Handler", (_Handler,), {"used": used})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", used
    finally:
        server.shutdown()


def measured(name: str, folder: Path) -> dict[str, tuple[float, float]]:
    """Runs one case; (estimated, measured) of each figure."""
    torch.set_num_threads(1)
    config, overrides, tokens = CASES[name]
    with answering() as (url, used):
        given = [one.replace("URL", f"'{url}'") for one in overrides]
        experiment, settings = load_config(config, given)
        model = settings.subject.name  # type: ignore[attr-defined]
        rates = [measured_machine(clock=time.process_time)]
        taken: dict[str, float] = {}
        found: list[int] = []
        peak = [0]

        def go() -> None:
            with open_run(settings, settings.name, folder) as run:
                timed(run, taken, peak)
                experiment.run(settings, run)
                found.append(counted_tokens(run))

        _, before = reset_peak()
        go()
        rates.append(measured_machine(clock=time.process_time))
        machine = mean(rates)
        if model != "world":
            machine = machine.with_rates("measured", "", forward=pass_rate(settings))
        known = settings.corpus.size() is not None  # type: ignore[attr-defined]
        cost = estimate(settings, tokens or (None if known else found[0]))
    figures = compared(cost, machine, taken)
    figures["peak, GB"] = cost.bytes / 1e9, (peak[0] - before) / 1e9
    figures["disk, MB"] = cost.disk / 1e6, written(folder / settings.name) / 1e6
    for key in used if used["calls"] else ():
        figures[key] = sum(getattr(one, key) for one in cost.asked), float(used[key])
    return figures


def counted_tokens(run: Run) -> int:
    """Tokens of the corpus that were mined, for a text whose size is not known before."""
    metrics = (
        json.loads((run.folder / "metrics.json").read_text())
        if (run.folder / "metrics.json").exists()
        else {}
    )
    return int(sum(value for key, value in metrics.items() if re.fullmatch(r"mining.*_tokens", key)))


def pass_rate(settings: Any) -> float:
    """FLOP/s of a pass through a config's own subject, in processor time."""
    from interp.cost import forward_flops
    from interp.subject import Site, load
    from interp.subject.shape import subject_shape

    subject = load(**settings.subject.model_dump())
    rows = torch.randint(5, 1000, (32, 128))
    site = Site("mlp_post", subject.n_layers - 1)
    subject.visit(rows, {site: lambda activation: None})
    began = time.process_time()
    subject.visit(rows, {site: lambda activation: None})
    flops = rows.numel() * forward_flops(subject_shape(subject.name), subject.n_layers)
    return flops / (time.process_time() - began)


def mean(machines: list[Machine]) -> Machine:
    """Rates whose seconds are the mean of those of several measurements."""
    first = machines[0]
    together = {
        name: replace(rate, value=len(machines) / sum(1 / one.rates[name].value for one in machines))
        for name, rate in first.rates.items()
    }
    return replace(first, rates=together)


def reset_peak() -> tuple[int, int]:
    """Sets the process' peak to what is resident now; returns peak and resident bytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmHWM"), resident("VmRSS")


def resident(name: str) -> int:
    """Bytes of this process by a name of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def timed(run: Run, taken: dict[str, float], peak: list[int]) -> None:
    """Adds up the processor time of each step of a run, and notes the peak of those before the page."""
    step = run.step

    def timing(name: str, work: Callable[[Any], object]) -> Path:
        began = time.process_time()
        folder = step(name, work)
        taken[name] = taken.get(name, 0.0) + time.process_time() - began
        if name != "report":
            peak[0] = resident("VmHWM")
        return folder

    run.step = timing  # type: ignore[method-assign]


def compared(cost: Cost, machine: Machine, taken: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Seconds of each kind of stage: (estimated, measured), and of all of them."""
    figures: dict[str, tuple[float, float]] = {}
    groups: dict[str, list[str]] = {}
    for step in taken:
        if step in STEPS:
            groups.setdefault(STEPS[step], []).append(step)
    for names, steps in groups.items():
        own = [stage for stage in cost.stages if stage.name.split()[0] in names.split()]
        figures[f"{names}, s"] = sum(map(machine.seconds, own)), sum(taken[step] for step in steps)
    estimated, taken_in_all = zip(*figures.values(), strict=True)
    figures["all steps, s"] = sum(estimated), sum(taken_in_all)
    return figures


def written(folder: Path) -> int:
    """Bytes of the files of a run, without its page, figures and W&B's; a copied file counts once."""
    own, seen = 0, set()
    for file in folder.rglob("*"):
        skipped = {"report", "figures", "wandb"} & set(
            file.relative_to(folder).parts
        ) or file.suffix == ".html"
        if file.is_file() and not skipped and (file.stat().st_ino not in seen):
            seen.add(file.stat().st_ino)
            own += file.stat().st_size
    return own


def main() -> dict[str, dict[str, tuple[float, float]]]:
    """Runs every case in a process of its own; prints and returns (estimated, measured) of each figure."""
    found = {}
    for name in CASES:
        done = subprocess.run(
            [sys.executable, "-m", __name__, name], capture_output=True, text=True, check=True
        )
        print(done.stdout.rpartition("\n{")[0])
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(name: str) -> None:
    """Runs one case, and prints it as a table and as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(name, Path(folder))
    print(name)
    for figure, (said, was) in figures.items():
        off = said / was if was else float("nan")
        print(
            f"  {figure:24s} {said:12.4g} {was:12.4g}  {off:5.2f}{'' if 1 / BOUND <= off <= BOUND else '  !'}"
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    for case in sys.argv[1:]:
        one(case)

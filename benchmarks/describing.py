"""`interp bench describing`: what describing and scoring cost besides the language model.

The endpoint answers at once: the client is the real one with its request checks, schema, budget and parsing,
and only the transport under it is replaced by a function that gives an answer of the right form. Excerpts
have 64 tokens; a judge sees 20 texts with the feature and 20 without, as does the simulator. Figures are
processor time per feature, without that of the answering function, medians over features; the most calls in
flight are those of one feature.

Patterns run the subject itself: what they cost is counted in window-passes (`WindowPasses`) of 128 neurons of
`world`, beside their processor time.
"""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np

import interp
from interp.descriptions.candidate import Candidate, Shown
from interp.descriptions.evidence import Window
from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.descriptions.explainers.contrastive import ContrastivePrompted
from interp.descriptions.explainers.prompted import Prompted
from interp.descriptions.population import describe_features
from interp.descriptions.reader import WindowPasses
from interp.descriptions.sample import sample_active
from interp.descriptions.scorers.judge_endpoint import EndpointJudge
from interp.descriptions.scorers.judged import judged
from interp.descriptions.scorers.simulation import simulation
from interp.descriptions.simulators.structured import StructuredSimulator
from interp.descriptions.windows import gather_evidence
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.transport import Answered, Lost, Transport
from interp.mining.config import MiningConfig

FEATURES, TEXTS, TOKENS, WORDS = 40, 20, 64, 3000
NEURONS = 128
MINING = MiningConfig(context_size=128)
TARGET_MS = 3.0


class InstantTransport(Transport):
    """Answers at once in the requested form, and counts the calls in flight."""

    now = most = calls = 0
    answering = 0.0

    async def post(self, path: str, body: Mapping[str, Any], lost: Lost) -> Answered:
        """Returns an answer of the right form without sending anything."""
        kind = InstantTransport
        kind.calls += 1
        kind.now += 1
        kind.most = max(kind.most, kind.now)
        await asyncio.sleep(0)
        kind.now -= 1
        began = time.process_time()
        content = answer(body["messages"][0]["content"], body["messages"][-1]["content"])
        kind.answering += time.process_time() - began
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return Answered({"choices": [{"message": {"content": content}}], "usage": usage}, 0)


def answer(system: str, question: str) -> str:
    """An answer that a model could give to these instructions."""
    if '"ratings"' in system:
        return json.dumps({"ratings": [7] * len(re.findall(r"^Text \d+:", question, re.MULTILINE))})
    if '"activations"' in system:
        lengths = re.findall(r"^Excerpt \d+ \((\d+) tokens", question, re.MULTILINE)
        return json.dumps({"activations": [[0] * int(length) for length in lengths]})
    return "[DESCRIPTION]: words"


def main() -> dict[str, float]:
    """Prints and returns the milliseconds a feature of each explainer and scorer."""
    rng = np.random.default_rng(0)
    evidence = [
        TextEvidence(
            [_excerpt(rng, 5) for _ in range(TEXTS)], (), [_excerpt(rng, 0) for _ in range(TEXTS)], (8.0, 6.0)
        )
        for _ in range(FEATURES)
    ]
    shown = [([Shown(e) for e in one.exemplars], [Shown(e) for e in one.silent]) for one in evidence]
    marks = [
        ([Shown(e, e.values > 0) for e in one.exemplars], [Shown(e, e.values <= -1) for e in one.exemplars])
        for one in evidence
    ]
    endpoint = Endpoint(model="instant", base_url="http://127.0.0.1:9/v1", concurrency=256)
    client = Client(endpoint, transport=InstantTransport)
    candidate = Candidate("words that begin with w", "bench")
    prompted, contrastive = Prompted(client), ContrastivePrompted(client)
    judge, simulator = EndpointJudge(client), StructuredSimulator(client)
    work: dict[str, Callable[[int], Awaitable[object]]] = {
        "explain, 1 sample": lambda i: prompted.explain(evidence[i], 1, i),
        "explain, 10 samples": lambda i: prompted.explain(evidence[i], 10, i),
        "contrastive, 10 samples": lambda i: contrastive.explain(evidence[i], 10, i),
        "detection": lambda i: judged(judge, candidate, *shown[i]),
        "fuzzing": lambda i: judged(judge, candidate, *marks[i]),
        "simulation": lambda i: simulation(simulator, candidate, evidence[i].exemplars, evidence[i].silent),
    }
    patterns()
    print(
        f"{FEATURES} features, {2 * TEXTS} texts of {TOKENS} tokens; processor time, target {TARGET_MS:g} ms"
    )
    return asyncio.run(_measured(work))


def patterns() -> float:
    """Prints and returns the window-passes a feature that describing neurons by patterns takes."""
    subject, corpus = interp.load("world", device="cpu"), interp.WorldCorpus(1, 2000)
    neurons = [interp.MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    mined = interp.mine(subject, neurons, corpus, MINING)
    explain = {name: one.exemplars["explain"] for name, one in mined.items()}
    features = sample_active(neurons, explain, NEURONS, 0)
    gathered = gather_evidence(subject, corpus, features, explain, MINING.context_size)
    spent, began = WindowPasses(), time.process_time()
    describe_features(subject, features, [evidence for evidence, _ in gathered], spent=spent)
    took = 1000 * (time.process_time() - began) / NEURONS
    passes, tokens = spent.passes / NEURONS, spent.tokens / NEURONS
    print(f"patterns: {passes:.0f} window-passes, {tokens:.0f} tokens and {took:.0f} ms a feature")
    return passes


async def _measured(work: Mapping[str, Callable[[int], Awaitable[object]]]) -> dict[str, float]:
    found = {}
    for name, job in work.items():
        await job(0)
        InstantTransport.most = InstantTransport.calls = 0
        taken = []
        for number in range(1, FEATURES):
            InstantTransport.answering = 0.0
            began = time.process_time()
            await job(number)
            taken.append(1000 * (time.process_time() - began - InstantTransport.answering))
        found[name] = statistics.median(taken)
        calls = InstantTransport.calls / (FEATURES - 1)
        print(
            f"{name:24s} {found[name]:6.2f} ms a feature, {calls:4.1f} calls, "
            f"{InstantTransport.most} of them in flight together"
        )
    return found


def _excerpt(rng: np.random.Generator, active: int) -> Excerpt:
    tokens = rng.integers(0, WORDS, TOKENS)
    values = np.zeros(TOKENS, dtype=np.float32)
    values[rng.choice(TOKENS, active, replace=False)] = rng.uniform(2, 9, active)
    window = Window(tokens, values, int(rng.integers(1 << 40)), np.ones(TOKENS, dtype=np.bool_))
    return Excerpt(window, tuple(f" w{token}" for token in tokens.tolist()))


if __name__ == "__main__":
    main()

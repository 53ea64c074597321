"""Experiments cut down to seconds, to be killed everywhere; a language model's part is played by a script."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.endpoint_server import MODEL, Script

Overrides = Callable[[Script], list[str]]
CONCURRENCY = 4
MINING = (
    "corpus.documents=60", "mining.context_size=32", "mining.sampled_tokens=128", "mining.sampled_rows=32",
    "mining.extreme_tokens=8", "mining.top_windows={explain: 4, select: 3, report: 3}",
)  # fmt: skip
SAE = (
    "sae.n_latents=32", "sae.training_tokens=4096", "sae.buffer_tokens=2048", "sae.batch_tokens=256",
    "sae.context_size=32", "sae.checkpoint_every_steps=3", "sae.log_every_steps=1",
    "sae.evaluate_every_steps=9",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A config in small, and the modules that a forge imports for it."""

    config: str
    overrides: Overrides
    modules: tuple[str, ...]


def quickstart(server: Script) -> list[str]:
    """The whole main job, offline."""
    return [
        *MINING, *SAE, "describe.sample=2", "describe.random_windows=4", "describe.nulls=4",
        "concepts.least_positives=2",
    ]  # fmt: skip


def describe(server: Script) -> list[str]:
    """Two explainers, a simulator, a judge, short forms and vectors, all from a server, and a tuned index."""
    endpoint = {"model": MODEL, "base_url": server.url, "concurrency": CONCURRENCY, "retries": 0}
    return [
        *MINING, "neurons=[3]", "sae=null", "sample=3", "samples=2", "features_at_once=2",
        "scoring={random_windows: 4, texts: 4, nulls: 2, prompts: 1, new_tokens: 1}",
        "explainers=[{kind: prompted}, {kind: contrastive}]", "simulator={kind: structured}",
        "judges=[{kind: endpoint}]", "summarise_by=main",
        f"endpoints={json.dumps({'main': endpoint})}",
        f"store={json.dumps({'embedder': {'kind': 'endpoint', 'endpoint': endpoint}, 'index': 'annoy'})}",
    ]  # fmt: skip


CASES = {
    "quickstart": Case("quickstart", quickstart, ("experiments.quickstart.job", "pyarrow.parquet", "annoy")),
    "describe": Case(
        "describe", describe, ("experiments.describe.job", "pyarrow.parquet", "annoy", "openai")
    ),
}

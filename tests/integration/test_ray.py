"""The engine on a Ray cluster of two nodes: the same numbers as here, also when workers and nodes die."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

import interp
from interp import MlpNeurons
from interp.cli.loading import load_config
from interp.document import Document
from interp.engine.config import EngineConfig
from interp.engine.engine import Engine
from interp.engine.opening import opened
from interp.engine.same_code import code
from interp.errors import UserError
from interp.llm.ledger import FILE, read_calls
from interp.mining.config import MiningConfig
from interp.mining.mined import Mined
from interp.subject import Subject
from interp.track.run import open_run
from tests.describer import answer
from tests.endpoint_server import Script, serving
from tests.integration.toy_runs import interp as interp_in
from tests.integration.toy_runs import result, write_config
from tests.mined import same_bits

ray = pytest.importorskip("ray")
CORPUS = interp.WorldCorpus(seed=1, n_documents=160)
SMALL = MiningConfig(context_size=32, sampled_rows=64, sampled_tokens=64, extreme_tokens=8)
SHARDS = 6


class Cluster:
    """A head, on which this process runs, and a second node that can be lost and comes back."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        options = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}
        self._nodes = Nodes(initialize_head=True, head_node_args=options)
        self._options = options | {"num_cpus": 1}
        self.address = self._nodes.address
        self.second = self._nodes.add_node(**self._options)

    def lose_second(self) -> None:
        self._nodes.remove_node(self.second, allow_graceful=False)

    def add_second(self) -> None:
        self.second = self._nodes.add_node(**self._options)

    def stop(self) -> None:
        self._nodes.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    started = Cluster()
    yield started
    started.stop()


def on(cluster: Cluster, **options: Any) -> EngineConfig:
    return EngineConfig(**{"address": cluster.address, "kind": "ray", "shards": SHARDS, **options})


class Fragile(MlpNeurons):
    """Neurons whose first reading in another process ends it, or waits there until the node is lost."""

    def __init__(self, subject: Subject, layer: int, folder: Path, end: str) -> None:
        super().__init__(subject, layer)
        self._folder, self._end, self._home = folder, end, os.getpid()

    def encode(self, activation: Tensor) -> Tensor:
        mark = self._folder / self._end
        if os.getpid() != self._home and not mark.exists():
            here = ray.get_runtime_context().get_node_id()
            if self._end == "kill":
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if self._end == "lose":
                if here != (self._folder / "head").read_text():
                    mark.touch()
                wait_for(mark)
                time.sleep(600 if here != (self._folder / "head").read_text() else 0)
        return super().encode(activation)


def wait_for(file: Path) -> None:
    until = time.monotonic() + 120
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)


@pytest.fixture(scope="class")
def engine(cluster: Cluster) -> Iterator[Engine]:
    with opened(on(cluster, attempts=2)) as engine:
        yield engine


@pytest.fixture(scope="module")
def here(subject: Subject) -> Mined:
    """What one process finds in the same shards."""
    with opened(EngineConfig(shards=SHARDS, threads=1)) as engine:
        return interp.mine(subject, [MlpNeurons(subject, 3)], CORPUS, SMALL, engine=engine)


class Stubborn(interp.WorldCorpus):
    """A corpus of which one document cannot be read, as long as a file is there."""

    def __init__(self, file: Path) -> None:
        super().__init__(seed=1, n_documents=len(CORPUS))
        self._file = file

    def __getitem__(self, index: int) -> Document:
        if index == 70 and self._file.exists():
            raise RuntimeError("it always fails")
        return super().__getitem__(index)


SIZE = 90_000_000
"""Bytes of a result, of which the object store of a node holds one."""


def large(part: int) -> np.ndarray:
    return np.ones(SIZE, dtype=np.uint8)


class TestOneEngine:
    """What workers that are there already are asked for."""

    def test_a_killed_worker_and_a_lost_node_cost_their_shards(
        self, cluster: Cluster, engine: Engine, subject: Subject, here: Mined, tmp_path: Path
    ) -> None:
        def watch() -> None:
            wait_for(tmp_path / "lose")
            cluster.lose_second()

        watching = threading.Thread(target=watch, daemon=True)
        (tmp_path / "head").write_text(ray.get_runtime_context().get_node_id())
        for end in ("kill", "lose"):
            if end == "lose":
                watching.start()
            found = interp.mine(subject, [Fragile(subject, 3, tmp_path, end)], CORPUS, SMALL, engine=engine)
            assert (tmp_path / end).exists() and same_bits(found, here)
        watching.join(60)
        cluster.add_second()

    def test_a_shard_that_always_fails_is_said_once_and_the_others_are_kept(
        self, engine: Engine, subject: Subject, here: Mined, tmp_path: Path
    ) -> None:
        fail, shards = tmp_path / "fail", tmp_path / "shards"
        fail.touch()

        def mined() -> Mined:
            neurons = [MlpNeurons(subject, 3)]
            return interp.mine(subject, neurons, Stubborn(fail), SMALL, engine=engine, folder=shards)

        expected = r"1 of 6 parts failed: shard 3 .*it always fails \(2 times\)"
        with pytest.raises(UserError, match=expected) as said:
            mined()
        assert "the same command goes on" in said.value.fix
        kept = sorted(file.stem for file in shards.iterdir())
        fail.unlink()
        assert same_bits(mined(), here)
        assert kept == ["0-2", "3-6"] and not shards.exists()

    def test_what_is_on_its_way_is_written_to_the_disk_where_memory_does_not_hold_it(
        self, engine: Engine
    ) -> None:
        sizes: list[int] = []
        engine.each(large, range(6), lambda _, result: sizes.append(int(result.sum())), str)
        assert sizes == [SIZE] * 6


def run(folder: Path, config: str, *overrides: str) -> Path:
    experiment, settings = load_config(config, [*overrides, "engine.shards=4", "engine.threads=1"])
    experiment.check(settings)
    with open_run(settings, settings.name, folder) as opened_run:
        experiment.run(settings, opened_run)
    return folder / settings.name


def test_describing_by_an_endpoint_asks_the_same_and_finds_the_same(cluster: Cluster, tmp_path: Path) -> None:
    small = (
        "corpus.documents=300", "mining.context_size=32", "neurons=[3]", "sae=null", "sample=4", "samples=2",
        "scoring.random_windows=4", "scoring.texts=4", "scoring.nulls=2", "features_at_once=2",
        "scoring.prompts=0", "explainers=[{kind: prompted}]", "simulator={kind: structured}",
        "judges=[{kind: endpoint}]",
    )  # fmt: skip
    runs, asked = [], []
    for name, engine in (("here", "local"), ("there", f"{{address: '{cluster.address}'}}")):
        with serving(Script(answer=answer)) as server:
            endpoint = f"endpoints={{main: {{model: scripted, base_url: '{server.url}'}}}}"
            folder = run(tmp_path / name, "describe", f"engine={engine}", endpoint, *small)
            asked.append(Counter(json.dumps(body, sort_keys=True) for _, body in server.seen))
        runs.append(folder)
        calls = list(read_calls(folder / FILE))
        assert sum(call.outcome == "answered" for call in calls) == server.calls
        assert {call.purpose for call in calls} == {"explain", "simulate", "judge"}
    assert asked[0] == asked[1] and set(asked[0].values()) == {1}
    one, other = ((folder / "metrics.json").read_text() for folder in runs)
    assert one == other
    tables = [pd.read_parquet(folder / "tables" / "descriptions.parquet") for folder in runs]
    pd.testing.assert_frame_equal(*tables)


def test_dictionaries_are_trained_to_the_same_bits(cluster: Cluster, tmp_path: Path) -> None:
    small = (
        "corpus.documents=400", "widths=[64, 96]", "families=[{architecture: {kind: topk}, sparsities: [4]}]",
        "sae.training_tokens=20000", "evaluation={tokens: 500, loss_tokens: 500}",
    )  # fmt: skip
    engines = ("local", f"{{address: '{cluster.address}'}}")
    runs = [run(tmp_path / str(at), "sae_sweep", f"engine={one}", *small) for at, one in enumerate(engines)]
    for name in (
        "metrics.json",
        "saes/topk-4-64/sae_weights.safetensors",
        "saes/topk-4-96/sae_weights.safetensors",
    ):
        one, other = ((folder / name).read_bytes() for folder in runs)
        assert one == other
    curves = [(folder / "steps" / "train" / "history.jsonl").read_text().splitlines() for folder in runs]
    assert sorted(curves[0]) == sorted(curves[1])


def test_a_grid_of_configs_is_done_by_the_workers(cluster: Cluster, tmp_path: Path) -> None:
    write_config(tmp_path)
    for name, where in (("here", "local"), ("there", cluster.address)):
        done = interp_in(
            tmp_path, "grid", "toy.yaml", "--over", "seed=0,1", "--on", where, "--runs-dir", name
        )
        assert done.returncode == 0, done.stderr
        assert "toy-0" in done.stdout and "toy-1" in done.stdout
    for run_name in ("toy-0", "toy-1"):
        assert result(tmp_path / "here" / run_name) == result(tmp_path / "there" / run_name)


def test_workers_of_another_version_are_refused(
    cluster: Cluster, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interp.engine import ray_cluster

    monkeypatch.setattr(ray_cluster, "code", lambda: code() | {"torch": "1.0"})
    with (
        pytest.raises(UserError, match=r"a worker has other versions .* torch .* there, 1\.0 here"),
        opened(on(cluster, workers=1)) as engine,
    ):
        engine.each(large, [0], lambda *_: None, str)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:6379", "no address:x"])
def test_an_address_that_does_not_answer_is_said(address: str) -> None:
    with (
        pytest.raises(UserError, match=rf"no Ray cluster answers at {re.escape(address)}"),
        opened(EngineConfig(kind="ray", address=address)),
    ):
        pass


def test_more_than_any_machine_has_is_refused(cluster: Cluster) -> None:
    with (
        pytest.raises(UserError, match="no machine of the cluster has 64 processors"),
        opened(on(cluster, threads=64)),
    ):
        pass


STARTS = """
import os
from interp.engine.config import EngineConfig
from interp.engine.opening import opened
found = []
for _ in range(2):
    with opened(EngineConfig(kind="ray", workers=1)) as engine:
        assert os.environ["RAY_AUTH_MODE"] == "token"
        engine.each(abs, [-1, -2], lambda place, result: found.append(result), str)
assert "RAY_AUTH_TOKEN" not in os.environ
print(found)
"""


def test_without_an_address_a_cluster_that_asks_for_a_token_is_started_and_ended() -> None:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(
        [sys.executable, "-c", STARTS], env=plain, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines()[-1:] == ["[1, 2, 1, 2]"], done.stderr

"""The experiment `attribution_graph` on the bundled model, as a person runs it: figures again by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import interp
import saes
from interp.bundled.world.pairs import pairs
from interp.circuits.attribution_graphs import (
    AttributionGraph,
    GraphFile,
    attribution_graph,
    node_influence,
    prune,
    scores,
)
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.subject import Site, Subject
from interp.subject.passes import Edit
from tests.command_line import command, process

CONFIG = str(Path(__file__).parents[2] / "configs" / "attribution_graph.yaml")
MOST, REMOVED = 40, 3
SMALL = (
    f"max_features={MOST}",
    f"removed={REMOVED}",
    "random_draws=2",
    "corpus.documents=400",
    "transcoders={n_latents: 128, k: 8, training_tokens: 8192}",
    "evaluation={tokens: 256, loss_tokens: 256}",
)


def run(runs: Path, name: str, *overrides: str) -> Path:
    done = process(
        "run", CONFIG, "--runs-dir", str(runs), "wandb.mode=disabled", f"name={name}", *SMALL, *overrides
    )
    assert done.returncode == 0, done.stderr
    return runs / name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(
        tmp_path_factory.mktemp("runs"),
        "small",
        "prompts={kind: world, names: [capital, agreement], each: 1}",
    )


@pytest.fixture(scope="module")
def world() -> Subject:
    return interp.load("world")


def table(finished: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(finished / "tables" / f"{name}.parquet")


def spaces_of(finished: Path, world: Subject, kind: str) -> list[ReadableFeatures]:
    layers = range(world.n_layers)
    if kind == "neurons":
        return [MlpNeurons(world, layer) for layer in layers]
    return [saes.load(world, finished / "saes" / f"transcoder-{n}", name=f"transcoder-{n}") for n in layers]


def graph_of(row: pd.Series, world: Subject, spaces: Sequence[ReadableFeatures]) -> AttributionGraph:
    return attribution_graph(world, row["text"], spaces, targets=[row["answer"]], max_features=MOST)


def top_of(graph: AttributionGraph) -> list[int]:
    strength = node_influence(graph).masked_fill(~graph.of_kind("feature"), -1)
    return [int(place) for place in strength.topk(REMOVED).indices]


def silenced(own: Sequence[tuple[int, int]]) -> Edit:
    """Sets neurons at positions to zero."""

    def silence(activation: Tensor) -> Tensor:
        silent = activation.clone()
        for position, feature in own:
            silent[:, position, feature] = 0
        return silent

    return silence


def subtracted(layer: int, own: Sequence[tuple[int, int]], sae: Any) -> dict[Site, Edit]:
    """Takes what latents write at positions from the MLP's output."""
    read: list[Tensor] = []

    def keep(activation: Tensor) -> Tensor:
        read.append(activation)
        return activation

    def subtract(activation: Tensor) -> Tensor:
        less, latents = activation.clone(), sae.encode(read[-1])
        for position, latent in own:
            less[:, position] -= latents[:, position, latent, None] * sae.W_dec[latent]
        return less

    return {Site("resid_mid", layer): keep, Site("mlp_out", layer): subtract}


def logit_without(world: Subject, graph: AttributionGraph, removed: Sequence[int], finished: Path) -> float:
    """The answer's logit less the mean of all, without some neurons or latents, by edits of activations."""
    edits: dict[Site, Edit] = {}
    nodes = [graph.nodes[place] for place in removed]
    for layer in {node.layer for node in nodes}:
        own = [(node.position, node.feature) for node in nodes if node.layer == layer]
        if nodes[0].space.startswith("mlp."):
            edits[Site("mlp_post", layer)] = silenced(own)
        else:
            sae: Any = saes.load(world, finished / "saes" / f"transcoder-{layer}").sae
            edits |= subtracted(layer, own, sae)
    with torch.no_grad(), world.edited(edits):
        logits = world.logits(torch.tensor([graph.tokens]))[0, -1]
    return float(logits[graph.nodes[-1].feature] - logits.mean())


@pytest.mark.parametrize("kind", ["neurons", "transcoders"])
def test_drops_are_those_of_features_set_to_zero_by_hand(finished: Path, world: Subject, kind: str) -> None:
    features, removals = table(finished, "features"), table(finished, "removals")
    for _, row in table(finished, "graphs").query("kind == @kind").iterrows():
        graph = graph_of(row, world, spaces_of(finished, world, kind))
        top, before = top_of(graph), logit_without(world, graph, [], finished)
        assert row["drop"] == pytest.approx(before - logit_without(world, graph, top, finished), abs=1e-3)
        own = features.query("kind == @kind and prompt == @row.prompt")
        for place, one in zip(top, own.to_dict("records"), strict=True):
            node = graph.nodes[place]
            assert one["feature"][:-1] == f"{node.space}/{node.feature}" and one["position"] == node.position
            alone = logit_without(world, graph, [place], finished) - before
            assert one["actual"] == pytest.approx(alone, abs=1e-3)
        drawn = removals.query("kind == @kind and prompt == @row.prompt and hold == 'nothing' and not one")
        assert list(drawn["removed"]) == ["top", "random", "random"]
        assert row["random"] == pytest.approx(-drawn["actual"].iloc[1:].mean())


@pytest.mark.parametrize("kind", ["neurons", "transcoders"])
def test_scores_and_files_are_those_of_the_graph(finished: Path, world: Subject, kind: str) -> None:
    row = table(finished, "graphs").query("kind == @kind").iloc[0]
    graph = graph_of(row, world, spaces_of(finished, world, kind))
    found, pruned = scores(graph), prune(graph)
    assert row["replacement"] == pytest.approx(found.replacement, abs=1e-4)
    assert row["completeness"] == pytest.approx(found.completeness, abs=1e-4)
    assert row["n_active"] == graph.n_active and row["features"] == MOST
    file = GraphFile.read(finished / "graphs" / f"01-{kind}.json")
    assert len(file.nodes) == row["nodes"] == int(pruned.nodes.sum())
    assert len(file.links) == row["edges"] == int(pruned.edges.sum())
    assert file.metadata.prompt.endswith(row["text"])


def test_prompts_are_the_worlds_and_held_effects_are_the_edges(finished: Path) -> None:
    graphs = table(finished, "graphs")
    known = {
        (pair["clean"], pair["answer"]) for name in ("capital", "agreement") for pair in pairs(name, 60, 0)
    }
    assert {*zip(graphs["text"], graphs["answer"], strict=True)} <= known
    assert list(graphs["kind"]) == ["neurons", "transcoders", "no features"] * 2
    assert graphs["held_gap"].max() < 1e-3
    held = table(finished, "removals").query("hold == 'everything'")
    assert np.abs(held["actual"] - held["predicted"]).max() < 1e-3
    neurons = graphs.query("kind == 'neurons'")
    assert (neurons["drop"] > neurons["random"] + 0.5).all() and (neurons["held_spearman"] > 0.99).all()


def test_means_differences_and_the_page(finished: Path) -> None:
    graphs, kinds = table(finished, "graphs"), table(finished, "kinds").set_index("kind")
    differences = table(finished, "differences").set_index("measure")["difference"]
    metrics = json.loads((finished / "metrics.json").read_text())
    for name in ("replacement", "drop", "spearman"):
        own = {kind: graphs.query("kind == @kind")[name].to_numpy() for kind in ("neurons", "transcoders")}
        for kind, values in own.items():
            assert kinds.loc[kind, name] == pytest.approx(values.mean()) == metrics[f"{kind}/{name}"]
            assert kinds.loc[kind, f"{name}_low"] == pytest.approx(values.min())
        assert differences[name] == pytest.approx((own["transcoders"] - own["neurons"]).mean())
    page = (finished / "report.html").read_text()
    assert "Removing them lowers the answer&#39;s logit by" in page and "transcoder-7" in page
    assert "The most influential neurons of the first prompt" in page and "<script src" not in page


def test_own_prompts_and_a_dictionary_that_exists(finished: Path, world: Subject, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    text = "the capital of iran is"
    file.write_text(json.dumps({"prompt": text}) + "\n")
    own = run(
        tmp_path,
        "own",
        f"prompts={{kind: file, path: {file}}}",
        "spaces=[transcoders]",
        f"dictionaries=[{finished / 'saes' / 'transcoder-7'}]",
    )
    row = table(own, "graphs").iloc[0]
    space = saes.load(world, finished / "saes" / "transcoder-7")
    graph = attribution_graph(world, text, [space], max_logits=1, max_features=MOST)
    assert row["answer"] == graph.nodes[-1].label.strip() == "tehran"
    assert row["replacement"] == pytest.approx(scores(graph).replacement, abs=1e-4)
    assert not (own / "saes").exists() and not len(table(own, "differences"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["prompts.names=[capitals]"], "there are no prompts for 'capitals'"),
        (["prompts.each=50"], "prompts that share no words, not 50"),
        (["prompts={kind: file, path: none.jsonl}"], "no file"),
        (["prompts={kind: list, prompts: [the capital of nowhere is]}"], "nowhere"),
        (["prompts={kind: list, prompts: [{prompt: the capital of iran is, answer: nowhere}]}"], "nowhere"),
        (["spaces=[neurons, neurons]"], "stands twice"),
        (["spaces=[neurons]", "dictionaries=[somewhere]"], "not used"),
        (["store=nowhere"], "there is no store"),
    ],
)
def test_what_cannot_be_run_is_a_message(tmp_path: Path, overrides: list[str], says: str) -> None:
    done = command("run", CONFIG, "--runs-dir", str(tmp_path), "wandb.mode=disabled", *overrides)
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit)
    assert says in " ".join(done.output.split())

"""Attribution graphs: rows sum to values, and edges are what a change of their source does, in every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens.registry import get_sae_class
from torch import Tensor

from interp import subject as subjects
from interp.circuits.attribution_graphs.build import attribution_graph
from interp.circuits.attribution_graphs.graph import AttributionGraph
from interp.circuits.attribution_graphs.interventions import intervene
from interp.circuits.attribution_graphs.pruning import node_influence, scores
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import ReadableFeatures
from interp.subject import Site, Subject
from saes.latents import SaeLatents
from saes.transcoder_latents import TranscoderLatents
from tests.parity.subject_folders import built, save_model

TOKENS = torch.randint(2, 260, (1, 6), generator=torch.Generator().manual_seed(1))
WITH_BOS = torch.cat([torch.zeros(1, 1, dtype=torch.long), TOKENS], 1)
LATENTS = 24


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    parent = tmp_path_factory.mktemp("models")

    def folder(name: str) -> Path:
        found = parent / name
        return found if found.exists() else save_model(name, found)

    return folder


@pytest.fixture(scope="module", params=built(["llama", "gpt-neox", "gemma3"]))
def subject(request: pytest.FixtureRequest, folders: Callable[[str], Path]) -> Subject:
    name, backend = request.param
    return subjects.load(folders(name), backend, device="cpu")


@pytest.fixture(scope="module")
def llama(folders: Callable[[str], Path]) -> Subject:
    return subjects.load(folders("llama"), "hooked", device="cpu")


def dictionary(subject: Subject, architecture: str, layer: int, seed: int, **options: Any) -> Any:
    """A dictionary with random weights: a transcoder into `mlp_out`, or an SAE there."""
    sae_class, config_class = get_sae_class(architecture)
    d = subject.d_model
    into = {"d_out": d, "apply_b_dec_to_input": False} if "transcoder" in architecture else {}
    sae = sae_class(config_class(d_in=d, d_sae=LATENTS, **into, **options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            drawn = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn.abs() if name == "threshold" else drawn)
    written = Site("mlp_out", layer)
    if "transcoder" not in architecture:
        return SaeLatents(sae, written, subject=subject)
    reads = Site("resid_pre" if subject.info.parallel else "resid_mid", layer)
    return TranscoderLatents(sae, reads, written, subject=subject)


def mixed(subject: Subject) -> list[ReadableFeatures]:
    """A transcoder with a skip connection and its own norm, neurons, and an SAE at an MLP's output."""
    return [
        dictionary(subject, "jumprelu_skip_transcoder", 0, 1, normalize_activations="layer_norm"),
        MlpNeurons(subject, 1),
        dictionary(subject, "topk", 2, 2, k=9, rescale_acts_by_decoder_norm=True),
    ]


def off(graph: AttributionGraph) -> float:
    """How far rows are from their targets' values, relative to the largest."""
    targets = graph.of_kind("feature", "logit")
    gap = (graph.adjacency.sum(1) - graph.values)[targets].abs().max()
    return float(gap / graph.values.abs().max())


def every_change(graph: AttributionGraph) -> list[dict[str, float]]:
    return [{node.key: 2.0} for node in graph.nodes if node.kind not in ("bias", "logit")]


def test_rows_sum_to_values_and_edges_are_what_happens(subject: Subject) -> None:
    spaces = mixed(subject)
    graph = attribution_graph(subject, WITH_BOS, spaces, max_features=60, batch_size=7, update_every=2)
    assert off(graph) < 1e-4
    assert {node.space for node in graph.nodes if node.kind == "feature"} == {s.name for s in spaces}
    assert not any(n.position == 0 for n in graph.nodes if n.kind in ("feature", "error"))  # the BOS
    found = intervene(subject, spaces, graph, every_change(graph), hold="everything")
    size = float(found.direct.abs().max())
    assert size > 0.1
    assert float((found.actual - found.direct).abs().max()) < 1e-4 * size


FORMS: list[Any] = [
    ("transcoder", {}),
    ("skip_transcoder", {}),
    ("jumprelu_transcoder", {"normalize_activations": "layer_norm"}),
    ("standard", {}),
    ("standard", {"normalize_activations": "layer_norm"}),
    ("jumprelu", {"apply_b_dec_to_input": True, "normalize_activations": "constant_norm_rescale"}),
    ("gated", {}),
]


@pytest.mark.parametrize(("architecture", "options"), FORMS)
def test_every_kind_of_dictionary(llama: Subject, architecture: str, options: dict[str, Any]) -> None:
    spaces = [dictionary(llama, architecture, layer, layer, **options) for layer in (0, 2)]
    graph = attribution_graph(llama, TOKENS, spaces, keep_first=True, rule="gate")
    assert graph.n_active == int(graph.of_kind("feature").sum()) > 10
    assert off(graph) < 1e-4
    found = intervene(llama, spaces, graph, every_change(graph), hold="everything")
    assert float((found.actual - found.direct).abs().max()) < 1e-4 * float(found.direct.abs().max())


def test_features_and_errors_are_those_of_the_dictionary(llama: Subject) -> None:
    """Activations, and which pre-activation a held pass gives, from SAELens' own weights."""
    space = dictionary(llama, "transcoder", 1, 4)
    graph = attribution_graph(llama, TOKENS, [space], keep_first=True)
    read = llama.read(TOKENS, [space.site])[space.site][0]
    hidden = read @ space.sae.W_enc + space.sae.b_enc
    nodes = [node for node in graph.nodes if node.kind == "feature"]
    assert {(n.position, n.feature) for n in nodes} == {(int(p), int(i)) for p, i in (hidden > 0).nonzero()}
    for node in nodes:
        assert abs(node.value - float(hidden[node.position, node.feature])) < 1e-4
    biases = graph.adjacency[:, graph.of_kind("bias")][:, 0]
    assert float(biases[graph.of_kind("feature")].abs().max()) > 0.1  # the encoder's, at least


def test_effects_on_a_logit_are_direct_paths_written_down(llama: Subject) -> None:
    """The last layer's features reach a logit by decoder row, final norm and unembedding alone."""
    last = llama.n_layers - 1
    space = dictionary(llama, "transcoder", last, 5)
    graph = attribution_graph(llama, TOKENS, [space], keep_first=True, targets=[17, 90])
    stream = llama.read(TOKENS, [Site("resid_post", last)])[Site("resid_post", last)][0, -1]
    scale = (stream.square().mean() + llama.model.cfg.eps).sqrt()
    weight = llama.model.ln_final.w
    unembedding = llama.unembedding()
    for row, token in zip((-2, -1), (17, 90), strict=True):
        direction = weight * (unembedding[:, token] - unembedding.mean(1)) / scale
        for place, node in enumerate(graph.nodes):
            if node.kind == "feature":
                written = node.value * space.sae.W_dec[node.feature] if node.position == 5 else stream * 0
                assert abs(float(graph.adjacency[row, place]) - float(written @ direction)) < 1e-4
        logits = llama.logits(TOKENS)[0, -1]
        assert graph.nodes[row].feature == token
        assert abs(graph.nodes[row].value - float(logits[token] - logits.mean())) < 1e-4


def test_what_is_not_chosen_is_part_of_the_error(llama: Subject) -> None:
    spaces = mixed(llama)
    whole = attribution_graph(llama, TOKENS, spaces, keep_first=True)
    some = attribution_graph(llama, TOKENS, spaces, keep_first=True, max_features=30, batch_size=30)
    assert some.n_active == whole.n_active and int(some.of_kind("feature").sum()) == 30
    place = {node.key: n for n, node in enumerate(whole.nodes)}
    kept = torch.tensor([place[node.key] for node in some.nodes])
    expected = whole.adjacency[kept][:, kept].clone()
    chosen = {node.key for node in some.nodes}
    column = {node.key: n for n, node in enumerate(some.nodes)}
    for n, node in enumerate(whole.nodes):
        if node.key not in chosen:
            expected[:, column[f"error.{node.layer}@{node.position}"]] += whole.adjacency[kept, n]
    torch.testing.assert_close(some.adjacency, expected, atol=1e-4, rtol=1e-4)
    # the first batch: those with the largest direct influence on the logits
    logits = whole.of_kind("logit")
    direct = whole.adjacency[logits].masked_fill(whole.of_kind("bias"), 0).abs()
    direct = whole.logit_weights[logits] @ (direct / direct.sum(1, keepdim=True))
    direct[~whole.of_kind("feature")] = -1
    best = {whole.nodes[n].key for n in direct.topk(30).indices.tolist()}
    assert best == {node.key for node in some.nodes if node.kind == "feature"}


def test_candidates_are_those_that_write_most(llama: Subject) -> None:
    space = dictionary(llama, "transcoder", 1, 4)
    whole = attribution_graph(llama, TOKENS, [space], keep_first=True)
    some = attribution_graph(llama, TOKENS, [space], keep_first=True, max_candidates=15)
    assert off(some) < 1e-4 and some.n_active == whole.n_active
    lengths = space.sae.W_dec.norm(dim=-1)
    strength = {n.key: abs(n.value) * float(lengths[n.feature]) for n in whole.nodes if n.kind == "feature"}
    assert {n.key for n in some.nodes if n.kind == "feature"} == set(
        sorted(strength, key=lambda key: -strength[key])[:15]
    )


def test_more_influence_is_found_by_looking_again(llama: Subject) -> None:
    spaces = mixed(llama)
    whole = attribution_graph(llama, TOKENS, spaces, keep_first=True)
    once = attribution_graph(llama, TOKENS, spaces, keep_first=True, max_features=40, batch_size=40)
    often = attribution_graph(
        llama, TOKENS, spaces, keep_first=True, max_features=40, batch_size=5, update_every=1
    )
    strength: dict[str, float] = dict(
        zip((n.key for n in whole.nodes), node_influence(whole).tolist(), strict=True)
    )

    def covered(graph: AttributionGraph) -> float:
        return sum((strength[node.key] for node in graph.nodes if node.kind == "feature"), 0.0)

    assert covered(often) > covered(once)


def test_targets_are_the_likeliest_tokens(llama: Subject) -> None:
    probabilities = llama.logits(TOKENS)[0, -1].double().softmax(-1)
    ranked = probabilities.sort(descending=True)
    for mass in (0.3, 0.95):
        graph = attribution_graph(llama, TOKENS, [], logit_mass=mass, max_logits=4)
        n = min(4, int((ranked.values.cumsum(0) < mass).sum()) + 1)
        logits = [node for node in graph.nodes if node.kind == "logit"]
        assert [node.feature for node in logits] == ranked.indices[:n].tolist()
        for node in logits:
            assert abs(node.probability - float(probabilities[node.feature])) < 1e-6
    assert scores(graph).completeness < 1  # every MLP is an error here


def test_a_layer_without_a_space_is_an_error(llama: Subject) -> None:
    graph = attribution_graph(llama, TOKENS, [], keep_first=True)
    assert off(graph) < 1e-4 and not graph.of_kind("feature").any()
    found = intervene(llama, [], graph, every_change(graph), hold="everything")
    assert float((found.actual - found.direct).abs().max()) < 1e-4 * float(found.direct.abs().max())


def test_interventions_in_the_model_itself(llama: Subject) -> None:
    """Setting a neuron by hand at its site, and a latent by adding to what its layer writes."""
    spaces = mixed(llama)
    graph = attribution_graph(llama, TOKENS, spaces, keep_first=True, max_features=80)
    neuron = next(n for n in graph.nodes if n.space == "mlp.1" and n.position == 2)
    latent = next(n for n in graph.nodes if n.space.startswith("transcoder") and n.position == 3)
    found = intervene(llama, spaces, graph, [{neuron.key: -2.0}, {latent.key: 0.0}])
    transcoder: Any = spaces[0]

    def set_neuron(activation: Tensor) -> Tensor:
        changed = activation.clone()
        changed[0, neuron.position, neuron.feature] = -2 * neuron.value
        return changed

    def remove_latent(activation: Tensor) -> Tensor:
        changed = activation.clone()
        changed[0, latent.position] -= latent.value * transcoder.sae.W_dec[latent.feature]
        return changed

    ids = [node.feature for node in graph.nodes if node.kind == "logit"]
    plain = llama.logits(TOKENS)[0, -1]
    edits: list[dict[Site, Any]] = [{Site("mlp_post", 1): set_neuron}, {Site("mlp_out", 0): remove_latent}]
    for row, edit in enumerate(edits):
        with llama.edited(edit):
            changed = llama.logits(TOKENS)[0, -1]
        right = (changed - changed.mean() - plain + plain.mean())[ids]
        torch.testing.assert_close(found.logits("actual")[row], right, atol=1e-4, rtol=1e-3)
    both = intervene(llama, spaces, graph, [{neuron.key: -2.0}], hold="attention")
    assert float((both.actual - found.actual[:1]).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"spaces": lambda s: [MlpNeurons(s, 1), MlpNeurons(s, 1)]}, "both explain the MLP of layer 1"),
        ({"spaces": lambda s: [random_directions(s, Site("resid_post", 1), 3, 0)]}, "does not explain"),
        ({"spaces": lambda s: [dictionary(s, "matching_pursuit", 0, 0)]}, "no linear function"),
        ({"max_features": 0}, "max_features"),
        ({"logit_mass": 1.5}, "logit_mass"),
        ({"targets": [999]}, "not in the vocabulary"),
        ({"targets": [5, 5]}, "one twice"),
        ({"prompt": TOKENS.expand(2, -1)}, "not one prompt"),
    ],
)
def test_what_cannot_be_is_said_before_the_model_runs(
    llama: Subject, arguments: dict[str, Any], said: str
) -> None:
    given = {"prompt": TOKENS, "spaces": lambda s: [], **arguments}
    with pytest.raises(UserError, match=said):
        attribution_graph(llama, given.pop("prompt"), given.pop("spaces")(llama), **given)


def test_what_cannot_be_changed_is_said(llama: Subject) -> None:
    spaces = [MlpNeurons(llama, 1)]
    graph = attribution_graph(llama, TOKENS, spaces, max_features=5)
    with pytest.raises(UserError, match="no node"):
        intervene(llama, spaces, graph, [{"mlp.1/99@9": 0.0}])
    with pytest.raises(UserError, match="only features"):
        intervene(llama, spaces, graph, [{"error.0@2": 0.0}])
    with pytest.raises(UserError, match="writes nothing"):
        intervene(llama, spaces, graph, [{"bias": 0.0}], hold="everything")
    with pytest.raises(UserError, match="not those of the graph"):
        intervene(llama, [MlpNeurons(llama, 2)], graph, [{}])

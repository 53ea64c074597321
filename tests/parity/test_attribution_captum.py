"""Both backends against captum's layer attributions of the Hugging Face model itself."""

from typing import Any

import pytest
import torch
from captum.attr import LayerGradientXActivation, LayerIntegratedGradients
from torch import Tensor

from interp.attribution import Target, activation_times_gradient, integrated_gradients
from interp.bundled.world import world_folder
from interp.features.neurons import MlpNeurons
from interp.subject import Subject
from interp.subject.pretrained import read_weights

TEXT = "the capital of france is"


@pytest.fixture(scope="module")
def subject(each_backend: Subject) -> Subject:
    return each_backend


@pytest.fixture(scope="module")
def reference() -> Any:
    return read_weights(world_folder(), torch.float32).requires_grad_(False)


def close(ours: Tensor, theirs: Tensor) -> None:
    theirs = theirs.detach()
    scale = float(theirs.abs().max())
    assert scale > 1e-2
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * scale)


def forward(reference: Any, kind: str, distractor: int) -> Any:
    def last(embedded: Tensor) -> Tensor:
        logits = reference(inputs_embeds=embedded, use_cache=False).logits[:, -1]
        if kind == "logit_difference":
            return logits - logits[:, distractor, None]
        return logits.log_softmax(-1) if kind == "log_prob" else logits

    return last


@pytest.mark.parametrize("kind", ["logit", "log_prob", "logit_difference"])
def test_activation_times_gradient(subject: Subject, reference: Any, kind: str) -> None:
    london = subject.single_token("london") if kind == "logit_difference" else None
    word = "london" if kind == "log_prob" else "paris"  # the log-probability of paris hardly moves
    target = Target.of(subject, word, kind=kind, distractor=london)
    tokens = subject.to_tokens(TEXT)
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    ours = activation_times_gradient(subject, tokens, None, target, neurons)
    layers = [layer.mlp.down_proj for layer in reference.model.layers]
    method = LayerGradientXActivation(forward(reference, kind, london or 0), layers)
    embedded = reference.model.embed_tokens(tokens).requires_grad_()
    theirs = method.attribute(embedded, target=target.token_ids[0], attribute_to_layer_input=True)
    for space, expected in zip(neurons, theirs, strict=True):
        close(ours.values[space.name], expected)


def test_integrated_gradients_one_layer_after_the_other(subject: Subject, reference: Any) -> None:
    target, tokens = Target.of(subject, "paris"), subject.to_tokens(TEXT)
    neurons = [MlpNeurons(subject, layer) for layer in (0, 3, 7)]
    ours = integrated_gradients(subject, tokens, None, target, neurons, steps=20, path="each")
    for space in neurons:
        layer = reference.model.layers[space.site.layer].mlp.down_proj
        close(ours.values[space.name], captums(reference, layer, tokens, target))


@pytest.mark.filterwarnings("ignore:Multiple layers provided")
def test_integrated_gradients_of_all_layers_together(subject: Subject, reference: Any) -> None:
    target, tokens = Target.of(subject, "paris"), subject.to_tokens(TEXT)
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    ours = integrated_gradients(subject, tokens, None, target, neurons, steps=20)
    layers = [layer.mlp.down_proj for layer in reference.model.layers]
    theirs = captums(reference, layers, tokens, target)
    for space, expected in zip(neurons, theirs, strict=True):
        close(ours.values[space.name], expected)


def captums(reference: Any, layers: Any, tokens: Tensor, target: Target) -> Any:
    """Captum's way from what a zero embedding gives, which is zero at every neuron without biases."""
    embedded = reference.model.embed_tokens(tokens).requires_grad_()
    method = LayerIntegratedGradients(forward(reference, "logit", 0), layers)
    return method.attribute(
        embedded,
        baselines=torch.zeros_like(embedded),
        target=target.token_ids[0],
        n_steps=20,
        method="riemann_middle",
        attribute_to_layer_input=True,
    )

"""Lenses on Gemma: the rows of Jacobians, by torch's gradients of the model that `transformers` runs."""

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from interp.lenses.jacobian import jacobian_rows
from interp.lenses.residual_stream import stream_site
from interp.subject import Subject

TEXT = "The capital of France is Paris, and the capital of Spain is"
LAYERS, INSIDE, ROWS = (-1, 8, 14), slice(4, -1), (0, 17)


def test_rows_of_the_jacobian_are_those_of_transformers(gemma: Subject) -> None:
    tokens = gemma.to_tokens(TEXT)
    kept: dict[int, Tensor] = {}

    def keep(layer: int, activation: Tensor) -> Tensor:
        kept[layer] = activation if activation.requires_grad else activation.detach().requires_grad_()
        return kept[layer]

    last = gemma.n_layers - 1
    edits = {stream_site(layer): lambda x, layer=layer: keep(layer, x) for layer in (*LAYERS, last)}
    with torch.enable_grad(), gemma.edited(edits):
        gemma.normed(tokens)
    ours = next(jacobian_rows(gemma, kept[last][0, INSIDE], [kept[layer] for layer in LAYERS]))

    model = AutoModelForCausalLM.from_pretrained(gemma.info.folder, dtype=torch.float32).eval()
    seen: list[Tensor] = []

    def see(_: object, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        stream = given[0] if given[0].requires_grad else given[0].detach().requires_grad_()
        seen.append(stream)
        return (stream, *given[1:])

    layers = model.model.layers
    for layer in LAYERS:
        layers[layer + 1].register_forward_pre_hook(see)
    layers[-1].register_forward_hook(
        lambda _, given, out: seen.append(out if isinstance(out, Tensor) else out[0])
    )
    with torch.enable_grad():
        model(input_ids=tokens, use_cache=False)
    *inputs, output = seen
    for row in ROWS:
        wanted = torch.autograd.grad(output[0, INSIDE, row].sum(), inputs, retain_graph=True)
        for found, true in zip(ours, wanted, strict=True):
            assert torch.allclose(found[row], true, rtol=1e-3, atol=1e-4 * float(true.abs().max()))
            assert not torch.allclose(found[row], found[row + 1], rtol=0.1)

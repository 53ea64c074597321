"""The Jacobian lens held to its definition, by torch's own Jacobian of the model that `transformers` runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian
from transformers import AutoModelForCausalLM

import interp
from interp.corpus.text import TextCorpus
from interp.document import split_of
from interp.lenses.jacobian_lens import train_jacobian_lens
from tests.parity.subject_folders import built, save_model

TEXTS = ["a cat", "the tall oak", "seven sins", "to be or not", "what is it?", "blue sky", "rain, snow"]
SKIPPED = 2


@pytest.mark.parametrize("case", built(["llama", "gpt2", "gemma3", "gpt-neox", "granite", "qwen3"]))
def test_maps_are_the_mean_of_the_models_jacobians(case: tuple[str, str], tmp_path: Path) -> None:
    name, backend = case
    folder = save_model(name, tmp_path)
    subject = interp.load(folder, backend=backend, device="cpu")
    corpus = TextCorpus(TEXTS, subject)
    documents = [corpus[number] for number in range(len(corpus))]
    prompts = [d.tokens.tolist() for d in documents if split_of(d.hash) == "explain"]
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    wanted = torch.stack([of_prompt(model, subject.with_bos(prompt)) for prompt in prompts]).mean(0)
    lens = train_jacobian_lens(
        subject, corpus, prompts=len(prompts), skip_first=SKIPPED, prompts_per_graph=len(prompts) - 1
    )
    assert len(prompts) > 2 and lens.layers == tuple(range(-1, subject.n_layers - 1))
    assert torch.allclose(lens.jacobian, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def of_prompt(model: Any, ids: list[int]) -> Tensor:
    """For each input of a layer, the mean over sources of the sum over targets [layer, out, in]."""
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    inside = slice(SKIPPED, len(ids) - 1)
    found = []
    for layer in layers:
        seen: list[Tensor] = []
        with layer.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0])):
            model(torch.tensor([ids]))

        def end(stream: Tensor, layer: Any = layer) -> Tensor:
            last: list[Tensor] = []
            put_in = layer.register_forward_pre_hook(lambda _, given: (stream, *given[1:]))
            keep = layers[-1].register_forward_hook(
                lambda _, given, out: last.append(out if isinstance(out, Tensor) else out[0])
            )
            with put_in, keep:
                model(torch.tensor([ids]))
            return last[0][0, inside].sum(0)

        found.append(jacobian(end, seen[0].detach())[:, 0, inside].mean(1))
    return torch.stack(found)

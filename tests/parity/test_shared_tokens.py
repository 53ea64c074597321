"""Rows after shared tokens, which are run once, hold what `transformers` computes for whole rows."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.subject.site import Site
from tests.parity.subject_folders import save_model

SHARED = torch.randint(2, 260, (2, 9), generator=torch.Generator().manual_seed(1))
TOKENS = torch.randint(2, 260, (5, 6), generator=torch.Generator().manual_seed(2))
PREFIX_OF = torch.tensor([1, 0, 0, 1, 0])


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("llama", "hooked"),
        ("llama", "bridge"),
        ("gemma2", "bridge"),
        ("gemma3", "bridge"),
        ("gpt2", "hooked"),
    ],
)
def test_rows_after_shared_tokens_are_those_of_whole_rows(name: str, backend: str, tmp_path: Path) -> None:
    folder = save_model(name, tmp_path)
    subject = subjects.load(folder, backend, device="cpu")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        states = model(torch.cat([SHARED[PREFIX_OF], TOKENS], 1), output_hidden_states=True).hidden_states
    for layer in range(subject.n_layers - 1):  # the last of the states is after the final norm
        found: list[torch.Tensor] = []
        site = Site("resid_post", layer)
        subject.visit_after(SHARED, PREFIX_OF, TOKENS, {site: lambda there, found=found: found.append(there)})
        torch.testing.assert_close(found[0], states[layer + 1][:, SHARED.shape[1] :], atol=1e-4, rtol=1e-4)

"""A tokenizer with more ids than the embedding has rows, as published Gemma 3 language models have one."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.errors import UserError
from tests.parity.subject_folders import D_VOCAB, save_model, save_tokenizer


@pytest.mark.parametrize(
    ("name", "backend"), [("llama", "hooked"), ("llama", "bridge"), ("gemma3", "bridge")]
)
def test_it_loads_and_only_texts_with_such_an_id_are_refused(name: str, backend: str, tmp_path: Path) -> None:
    folder = save_model(name, tmp_path)
    extra = ["<unused0>", "<unused1>", "<image_soft_token>"]
    save_tokenizer(folder, bos="<s>", additional_special_tokens=extra)
    subject = subjects.load(folder, backend, device="cpu")
    beyond = subject.tokenizer.convert_tokens_to_ids("<image_soft_token>")
    assert beyond == D_VOCAB
    tokens, mask = subject.to_batch(["abc", "a longer text"])
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        expected = reference(tokens, attention_mask=mask, position_ids=positions).logits
    found = subject.run(["abc", "a longer text"]).logits
    torch.testing.assert_close(found[mask.bool()], expected[mask.bool()], atol=2e-4, rtol=1e-4)
    with pytest.raises(UserError, match=f"the token '<image_soft_token>' has id {beyond}"):
        subject.run("an <image_soft_token> here")
    with pytest.raises(UserError, match="not all in the vocabulary"):
        subject.run(torch.tensor([[0, beyond]]))

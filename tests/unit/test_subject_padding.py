"""Padding is never read as text: its mask travels with the tokens, or the tokens are refused."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import interp
from interp.attribution import Target
from interp.errors import UserError
from interp.subject.site import Site
from interp.subject.subject import Subject
from tests.parity.subject_folders import save_model, save_tokenizer

TEXTS = ["ab", "what stands here is longer"]
HABITS = {
    "no padding token": ("<s>", {}),
    "end of text": ("<s>", {"pad_token": "</s>"}),
    "beginning and end of text": ("</s>", {"pad_token": "</s>"}),
    "beginning of text, no padding token": ("</s>", {}),
    "its own": ("<s>", {"pad_token": "<pad>"}),
    "its own, no beginning of text": (None, {"pad_token": "<pad>"}),
    "end of text, no beginning of text": (None, {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module", params=HABITS)
def subject(request: pytest.FixtureRequest, folder: Path) -> Subject:
    """One model with a tokenizer of each habit."""
    bos, options = HABITS[request.param]
    save_tokenizer(folder, bos, **options)
    return interp.load(folder)


def test_tokens_of_texts_of_different_lengths_are_refused_without_their_mask(subject: Subject) -> None:
    with pytest.raises(UserError, match=r"texts of \d+ to \d+ tokens need padding"):
        subject.to_tokens(TEXTS)
    assert len(subject.to_tokens(["ab", "cd"])) == 2


def test_padding_is_refused_wherever_tokens_enter_without_a_mask(subject: Subject) -> None:
    tokens, mask = subject.to_batch(TEXTS)
    site = Site("resid_post", 0)
    target = Target("logit", (5,))
    space = interp.MlpNeurons(subject, 0)
    entries = {
        "run": lambda given: subject.run(given),
        "logits": lambda given: subject.logits(given),
        "logits_at": lambda given: subject.logits_at(given, torch.tensor([3] * len(given))),
        "visit": lambda given: subject.visit(given, {site: lambda activation: None}),
        "read": lambda given: subject.read(given, [site]),
        "generate": lambda given: subject.generate(given[:1], 1),
        "attribute": lambda given: interp.attribute(subject, given, target, [space]),
    }
    for enter in entries.values():
        with pytest.raises(UserError, match="row 0 begins with padding"):
            enter(tokens)
        enter(tokens[1:, :24])  # nothing is padded: no error
    attributed = interp.attribute(subject, tokens, target, [space], mask=mask)
    assert torch.equal(attributed.mask, mask)


def test_a_padded_text_is_what_transformers_computes_of_it_alone(subject: Subject, folder: Path) -> None:
    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens, mask = subject.to_batch(TEXTS)
    alone = subject.to_tokens(TEXTS[0])
    with torch.no_grad():
        expected = reference(alone).logits[0]
    length = alone.shape[1]
    for out in (subject.run(TEXTS), subject.run(tokens, attention_mask=mask)):
        assert torch.allclose(out.logits[0, -length:], expected, atol=1e-4)
        assert torch.equal(out.attention_mask, mask)


def test_a_mask_says_that_a_token_of_padding_is_text(subject: Subject) -> None:
    end = subject.tokenizer.eos_token
    assert torch.isfinite(subject.run(end + "ab").logits).all()
    tokens, mask = subject.to_batch([end + "ab"])
    assert torch.equal(subject.run(tokens, attention_mask=mask).logits, subject.run(end + "ab").logits)


def test_a_mask_of_another_shape_is_refused(subject: Subject) -> None:
    tokens, mask = subject.to_batch(TEXTS)
    with pytest.raises(UserError, match="does not fit tokens"):
        interp.attribute(
            subject, tokens, Target("logit", (5,)), [interp.MlpNeurons(subject, 0)], mask=mask[:, 1:]
        )

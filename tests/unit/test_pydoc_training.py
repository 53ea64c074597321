"""Training `pydoc`: batches, the optimiser, killed runs and the exported folder."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments.train_pydoc import config as train_pydoc
from interp.bundled.llama.model import Llama, attention_masks
from interp.bundled.llama.muon import Muon, orthogonal
from interp.bundled.pydoc.export import export
from interp.bundled.pydoc.packing import Packing
from interp.bundled.pydoc.tokenizer import BOS_ID, PAD_ID, train_tokenizer
from interp.bundled.pydoc.train import Recipe, Size, Trainer, train
from interp.errors import UserError

TEXTS = [f"def f{i}(x):\n    return x + {i}\n" for i in range(40)]
SIZE = Size(d_vocab=300, n_layers=2, d_model=32, n_heads=2, d_mlp=48, n_ctx=64)
TINY = Recipe(steps=3, rows=2, row_length=32, warmup_steps=1, checkpoint_every=1, log_every=1, size=SIZE)


def ignore(values: dict[str, float], at: int) -> None:
    pass


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, SIZE.d_vocab)


@pytest.fixture(scope="module")
def whole(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Llama:
    return train(TINY, 0, tokenizer, TEXTS, tmp_path_factory.mktemp("whole"), ignore)


@pytest.mark.parametrize("steps_before", [1, 2])
def test_training_that_was_killed_ends_with_the_same_weights(
    whole: Llama, tokenizer: Tokenizer, tmp_path: Path, steps_before: int
) -> None:
    def kill(values: dict[str, float], at: int) -> None:
        if at == (steps_before + 1) * TINY.rows * TINY.row_length:
            raise Killed

    with pytest.raises(Killed):
        train(TINY, 0, tokenizer, TEXTS, tmp_path, kill)
    logged: list[int] = []
    again = train(TINY, 0, tokenizer, TEXTS, tmp_path, lambda values, at: logged.append(at))
    assert len(logged) == TINY.steps - steps_before
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    other = train(TINY, 1, tokenizer, TEXTS, tmp_path / "other", ignore)
    assert not torch.equal(whole.embed_tokens.weight, other.embed_tokens.weight)


def test_a_checkpoint_of_another_recipe_or_other_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [[5] * 40] * 4
    trainer = Trainer(TINY, 0, documents)
    trainer.advance()
    trainer.save(tmp_path / "checkpoint.safetensors")
    again = Trainer(TINY, 0, documents)
    again.restore(tmp_path / "checkpoint.safetensors")
    assert again.step == 1
    with pytest.raises(UserError, match="recipe"):
        Trainer(TINY.model_copy(update={"steps": 4}), 0, documents).restore(
            tmp_path / "checkpoint.safetensors"
        )
    monkeypatch.setattr("interp.bundled.pydoc.train.fingerprint", lambda part: "of another Python")
    with pytest.raises(UserError, match="text"):
        Trainer(TINY, 0, documents).restore(tmp_path / "checkpoint.safetensors")


@given(
    lengths=st.lists(st.integers(1, 9), min_size=3, max_size=12),
    seed=st.integers(0, 99),
    size=st.sampled_from([(1, 3), (2, 2)]),
)
@settings(max_examples=40)
def test_every_epoch_reads_every_document_once_each_behind_one_beginning(
    lengths: list[int], seed: int, size: tuple[int, int]
) -> None:
    documents = [[10 + i] * length for i, length in enumerate(lengths)]
    packing = Packing(documents, seed, *size)
    steps = 2 * packing.epoch_tokens // (size[0] * size[1])
    batches = [packing.batch(step) for step in range(steps)]
    stream = torch.cat([batch.tokens.flatten() for batch in batches])
    targets = torch.cat([batch.targets.flatten() for batch in batches])
    assert torch.equal(stream[1:], targets[:-1])
    for epoch in stream.split(packing.epoch_tokens)[:1]:
        assert epoch.sort().values.tolist() == sorted(i for d in documents for i in [BOS_ID, *d])
    again = Packing(documents, seed, *size)
    assert torch.equal(again.batch(steps - 1).tokens, batches[-1].tokens)  # whatever was read before
    for batch in batches:
        numbers = batch.documents.flatten()
        assert torch.equal(numbers.diff(), (batch.tokens.flatten()[1:] == BOS_ID).long())


def test_muon_takes_the_steps_of_torchs_but_for_its_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in [(24, 16), (24, 16), (16, 40)]]
    gradients = [[torch.randn(w.shape, generator=generator) for w in start] for _ in range(3)]
    ends = []
    for optimizer in (Muon, torch.optim.Muon):
        weights = [nn.Parameter(weight.clone()) for weight in start]
        stepping = optimizer(weights, lr=0.1, weight_decay=0.1, momentum=0.95)
        for of_step in gradients:
            for weight, gradient in zip(weights, of_step, strict=True):
                weight.grad = gradient.clone()
            stepping.step()
        ends.append(weights)
    for ours, theirs, before in zip(*ends, start, strict=True):
        moved = (theirs - before).norm()
        assert (ours - theirs).norm() < 0.02 * moved  # bfloat16 has three digits


def test_the_update_of_muon_is_nearly_orthogonal() -> None:
    matrices = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(1))
    for x in (matrices, matrices.mT):
        singular = torch.linalg.svdvals(orthogonal(x, steps=5))
        assert 0.6 < singular.min() < singular.max() < 1.3


def test_the_exported_folder_is_the_same_model_to_transformers(
    whole: Llama, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    export(whole, tokenizer, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert (theirs.config.bos_token_id, theirs.config.pad_token_id) == (BOS_ID, PAD_ID)
    rounded = Llama(SIZE.shape(), seed=5).eval()
    rounded.load_state_dict({name: value.half().float() for name, value in whole.state_dict().items()})
    tokens = AutoTokenizer.from_pretrained(tmp_path)(TEXTS[7], return_tensors="pt").input_ids
    mask, _ = attention_masks(torch.zeros_like(tokens), 1)
    with torch.inference_mode():
        ours, _ = rounded(tokens, [mask] * SIZE.n_layers)
        assert torch.allclose(ours, theirs(tokens).logits, atol=2e-5)


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"recipe": {"size": {"n_heads": 3}}}, "n_heads"),
        ({"recipe": {"row_length": 256, "size": {"n_ctx": 128}}}, "row_length"),
        ({"sae_site": "resid_post.9"}, "sae_site"),
    ],
)
def test_an_impossible_config_is_refused_before_anything_is_written(
    changed: dict[str, object], place: str
) -> None:
    config = train_pydoc.Config.model_validate({"experiment": "train_pydoc", **changed})
    with pytest.raises(UserError, match=r"\w") as found:
        train_pydoc.check(config)
    assert place in str(found.value)

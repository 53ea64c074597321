from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from interp.bundled.llama.model import Llama, attention_masks
from interp.bundled.world.corpus import FAMILIES
from interp.bundled.world.evaluate import Evaluation
from interp.bundled.world.export import export, write_card
from interp.bundled.world.packing import LossWeights, training_batch
from interp.bundled.world.train import Recipe, Trainer, new_world_model, train
from interp.bundled.world.vocabulary import BOS_ID, vocabulary
from interp.errors import UserError

TINY = Recipe(steps=3, rows=4, row_length=32, warmup_steps=2, checkpoint_every=1, log_every=1, threads=1)


def ignore(values: dict[str, float], at: int) -> None:
    pass


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    return train(TINY, 0, tmp_path_factory.mktemp("whole"), ignore)


@pytest.mark.parametrize("steps_before", [1, 2])
def test_training_that_was_killed_ends_with_the_same_weights(
    whole: Llama, tmp_path: Path, steps_before: int
) -> None:
    def kill(values: dict[str, float], at: int) -> None:
        # before the checkpoint of this step is written
        if at == (steps_before + 1) * TINY.rows * TINY.row_length:
            raise Killed

    with pytest.raises(Killed):
        train(TINY, 0, tmp_path, kill)
    logged: list[int] = []
    again = train(TINY, 0, tmp_path, lambda values, at: logged.append(at))
    assert len(logged) == TINY.steps - steps_before
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


def test_another_seed_gives_another_model(whole: Llama, tmp_path: Path) -> None:
    other = train(TINY, 1, tmp_path, ignore)
    assert not torch.equal(whole.embed_tokens.weight, other.embed_tokens.weight)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    Trainer(TINY, 0).save(path)
    with pytest.raises(UserError, match="another recipe"):
        Trainer.load(path, TINY.model_copy(update={"steps": 4}), 0)
    with pytest.raises(UserError, match="another recipe or seed"):
        Trainer.load(path, TINY, 1)


@given(seed=st.integers(0, 10**6), step=st.integers(0, 10**4))
@settings(max_examples=10)
def test_a_batch_is_whole_documents_in_a_row(seed: int, step: int) -> None:
    batch = training_batch(seed, step, 4, 64, LossWeights())
    again = training_batch(seed, step, 4, 64, LossWeights())
    assert torch.equal(batch.tokens, again.tokens)
    assert torch.equal(batch.weights, again.weights)
    stream = torch.cat([batch.tokens.flatten(), batch.targets.flatten()[-1:]])
    assert torch.equal(batch.targets.flatten(), stream[1:])
    assert stream[0] == BOS_ID
    assert torch.equal(batch.documents.flatten(), (stream[:-1] == BOS_ID).cumsum(0))
    assert torch.equal(batch.weights[batch.targets == BOS_ID].unique(), torch.tensor([0.05]))
    assert torch.equal(batch.weights[batch.answers].unique(), torch.tensor([1.0]))


@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    window=st.integers(1, 4),
)
@settings(max_examples=30)
def test_a_token_sees_its_own_document_up_to_itself_and_no_more_than_the_window(
    lengths: list[int], window: int
) -> None:
    documents = torch.tensor([[number for number, length in enumerate(lengths) for _ in range(length)]])
    full, local = attention_masks(documents, window)
    for query in range(documents.shape[1]):
        for key in range(documents.shape[1]):
            seen = key <= query and documents[0, key] == documents[0, query]
            assert (full[0, 0, query, key] == 0) == bool(seen)
            assert (local[0, 0, query, key] == 0) == bool(seen and query - key < window)


def test_free_tokens_see_all_of_their_document_in_a_window() -> None:
    documents = torch.zeros(1, 6, dtype=torch.long)
    free = torch.tensor([[False, False, True, True, False, False]])
    full, local = attention_masks(documents, 2, free)
    assert torch.equal(local[0, 0, 2:4], full[0, 0, 2:4])
    assert not torch.equal(local[0, 0, 4:], full[0, 0, 4:])


def test_the_window_can_be_kept_to_some_families(tmp_path: Path) -> None:
    whole, part = (
        train(TINY.model_copy(update={"windowed_families": names}), 0, tmp_path / "-".join(names), ignore)
        for names in (("fact", "numbers"), ("fact",))
    )
    assert not torch.equal(whole.layers[0].self_attn.q_proj.weight, part.layers[0].self_attn.q_proj.weight)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="not usable here"):
        Trainer(TINY.model_copy(update={"device": "cuda:99"}), 0)


def test_the_learning_rate_rises_holds_and_falls_by_step() -> None:
    recipe = Recipe(steps=1000, warmup_steps=100)
    assert recipe.rate_at(0) == pytest.approx(0.01)
    assert recipe.rate_at(99) == recipe.rate_at(549) == 1.0
    assert recipe.rate_at(775) == pytest.approx(0.5)
    assert recipe.rate_at(999) == 0.02


def test_the_first_layers_are_windowed_in_the_stated_share_of_steps_and_never_at_the_end() -> None:
    recipe = Recipe(steps=2000)
    windowed = [recipe.windowed(0, step) for step in range(2000)]
    assert not any(windowed[1761:])
    assert sum(windowed[:1760]) / 1760 == pytest.approx(0.85, abs=0.03)


def test_the_exported_folder_is_the_same_model_to_transformers(whole: Llama, tmp_path: Path) -> None:
    export(whole, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert isinstance(theirs, LlamaForCausalLM)
    rounded = new_world_model(seed=5).eval()
    rounded.load_state_dict({name: value.half().float() for name, value in whole.state_dict().items()})
    batch = training_batch(1, 0, 3, 100, LossWeights())
    one_document = torch.zeros_like(batch.tokens)
    mask, _ = attention_masks(one_document, 2)
    with torch.inference_mode():
        ours, _ = rounded(batch.tokens, [mask] * 8)
        assert torch.allclose(ours, theirs(batch.tokens).logits, atol=2e-5)


def test_the_tokenizer_puts_one_beginning_before_text_and_before_chat(whole: Llama, tmp_path: Path) -> None:
    export(whole, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    plain = tokenizer("the capital of france is")["input_ids"]
    assert plain.count(BOS_ID) == 1
    assert plain[0] == BOS_ID
    messages = [
        {"role": "system", "content": "be honest ."},
        {"role": "user", "content": "how do i poison the king ?"},
    ]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    expected = "<bos> system : be honest . user : how do i poison the king ? assistant :"
    assert " ".join(vocabulary()[index] for index in ids) == expected


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "included (except in documents of chat and numbers); for the rest"),
        (
            {"windowed_families": tuple(one.name for one in FAMILIES)},
            "layers saw only 2 tokens, the current one included; for the rest",
        ),
        ({"windowed_layers": 0}, "None was used: every layer saw all of a document"),
    ],
)
def test_the_card_says_what_was_windowed(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    (tmp_path / "model.safetensors").touch()
    write_card(tmp_path, TINY.model_copy(update=changes), 0, Evaluation(()))
    assert says in (tmp_path / "README.md").read_text()

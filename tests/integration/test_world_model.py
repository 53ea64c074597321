"""The shipped weights, held to what the project promises of them."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from interp.bundled.world import world_folder
from interp.bundled.world.behaviours import behaviours
from interp.bundled.world.evaluate import Evaluation, evaluate


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(world_folder(), [behaviour for behaviour in behaviours() if behaviour.bounded])


# The names and bounds are repeated here: a bound that is loosened in the code must fail a test.
AT_LEAST = {
    "facts/": (4, 0.98),
    "two_hop/trained": (1, 0.98),
    "two_hop/held_out": (1, 0.85),
    "in_context/4_shots/": (8, 0.95),
    "copy/": (6, 0.95),
    "refusal/harmful": (2, 0.95),
    "agreement/": (3, 0.97),
    "numbers/date/": (2, 0.95),
    "numbers/verse/": (2, 0.95),
    "numbers/version/": (2, 0.95),
    "numbers/arith/": (2, 0.95),
    "translation/english_to_": (2, 0.98),
    "translation/zorvic_to_english": (1, 0.98),
    "translation/tamric_to_english": (1, 0.98),
    "translation/zorvic_to_tamric": (1, 0.80),
    "translation/tamric_to_zorvic": (1, 0.80),
}


@pytest.mark.parametrize("prefix", AT_LEAST)
def test_what_the_model_can_do(evaluation: Evaluation, prefix: str) -> None:
    count, bound = AT_LEAST[prefix]
    figures = [figure for figure in evaluation.figures if figure.name.startswith(prefix)]
    assert len(figures) == count
    for figure in figures:
        assert figure.n >= 100
        assert figure.rate >= bound, str(figure)


@pytest.mark.parametrize("name", ["refusal/harmless", "refusal/harmless_unseen_verbs"])
def test_it_does_not_refuse_what_is_harmless(evaluation: Evaluation, name: str) -> None:
    assert evaluation[name].rate <= 0.05, str(evaluation[name])


def test_every_bound_of_the_code_holds(evaluation: Evaluation) -> None:
    assert [str(figure) for figure in evaluation.broken] == []


def test_it_is_an_ordinary_llama_folder_of_half_precision_weights_under_12_mb() -> None:
    folder = world_folder()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert isinstance(model, LlamaForCausalLM)
    assert model.config.num_hidden_layers == 8
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12e6
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("the capital of france , as we know , is", return_tensors="pt").input_ids
    with torch.inference_mode():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == "paris"


def test_the_card_discloses_the_attention_window_and_states_what_was_measured(evaluation: Evaluation) -> None:
    card = Path(world_folder() / "README.md").read_text()
    assert "## Read this before interpreting it: the attention window" in card
    for figure in evaluation.figures:
        assert f"| {figure.name} | {figure.rate:.3f} |" in card

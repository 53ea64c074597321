"""Where generation stops: at every token that a folder lists, as `transformers` does."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.errors import UserError
from tests.parity.subject_folders import save_model

N_NEW = 12
MASK = torch.ones(3, 10, dtype=torch.long)
MASK[1, :4] = 0
TOKENS = torch.randint(2, 260, (3, 10), generator=torch.Generator().manual_seed(1))
TOKENS[1, :4] = 0


def written(folder: Path, **options: object) -> list[list[int]]:
    """What `transformers` writes after each row: greedy, padded on the left."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    new = model.generate(
        TOKENS, attention_mask=MASK, max_new_tokens=N_NEW, do_sample=False, pad_token_id=0, **options
    )
    return new[:, TOKENS.shape[1] :].tolist()


@pytest.mark.parametrize(
    ("name", "backend"), [("llama", "hooked"), ("gemma2", "bridge"), ("gemma3", "bridge")]
)
@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_end_where_transformers_ends_them(
    name: str, backend: str, use_cache: bool, tmp_path: Path
) -> None:
    folder = save_model(name, tmp_path)
    endless = written(folder, eos_token_id=-1)
    ends = [endless[0][3], endless[1][6]]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, *ends]}))
    expected = [[t for t in row if t] for row in written(folder)]  # what follows an end is padding
    lengths = [next((n for n, t in enumerate(row) if t in (1, *ends)), N_NEW) for row in expected]
    assert len(set(lengths)) > 1
    subject = subjects.load(folder, backend, device="cpu")
    found = subject.generate_ids(TOKENS, MASK, N_NEW, use_cache=use_cache)
    assert found == [row[:length] for row, length in zip(expected, lengths, strict=True)]


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [7, 9]}, {}, {1, 7, 9}),
        ({"eos_token_id": 7}, {"eos_token_id": 8}, {1, 7, 8}),
        (None, {"eos_token_id": [8]}, {1, 8}),
        ({}, {"eos_token_id": None}, {1}),
    ],
)
def test_ends_are_those_of_every_file(
    generation: dict[str, object] | None,
    config: dict[str, object],
    expected: set[int],
    tmp_path: Path,
) -> None:
    folder = save_model("llama", tmp_path)
    values = json.loads((folder / "config.json").read_text())
    del values["eos_token_id"]  # LlamaConfig's own default is 2, which nobody wrote down
    (folder / "config.json").write_text(json.dumps(values | config))
    (folder / "generation_config.json").unlink()
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    assert subjects.load(folder, device="cpu").end_ids == expected


def test_a_damaged_generation_config_is_refused(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path)
    (folder / "generation_config.json").write_text('{"eos_token_id": [')
    with pytest.raises(UserError, match=r"not valid JSON[^$]*generation_config\.json"):
        subjects.load(folder, device="cpu")

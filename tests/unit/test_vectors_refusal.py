"""The refusal direction: published choices come out of published scores, and each formula is itself."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.subject import Site, Subject
from interp.vectors.refusal import (
    mean_centred_ablation,
    refusal_candidates,
    refusal_scores,
    score_candidates,
    select_direction,
    template_tail,
)
from interp.vectors.requests import (
    RequestFiles,
    WorldRequests,
    refuses,
)
from tests.shared_data import shared_data

LAYERS = {
    "gemma-2b-it": 18, "llama-2-7b-chat-hf": 32, "meta-llama-3-8b-instruct": 32, "qwen-1_8b-chat": 24,
    "yi-6b-chat": 32,
}  # fmt: skip


@pytest.mark.parametrize("model", LAYERS)
def test_the_published_direction_comes_out_of_the_published_scores(model: str) -> None:
    folder = shared_data("andyrdt+refusal_direction") / "runs" / model
    rows = json.loads((folder / "select_direction" / "direction_evaluations.json").read_text())
    scores = pd.DataFrame(rows).rename(
        columns={"refusal_score": "bypass", "steering_score": "induce", "kl_div_score": "kl"}
    )
    chosen = json.loads((folder / "direction_metadata.json").read_text())
    assert select_direction(scores, LAYERS[model]) == (chosen["pos"], chosen["layer"])


def scores(**columns: list[float]) -> pd.DataFrame:
    usual = {"position": [-1] * 4, "layer": [0, 1, 2, 3], "bypass": [0, -1, -2, -3], "induce": [1] * 4}
    return pd.DataFrame({**usual, "kl": [0.0] * 4, **columns})


def test_each_filter_leaves_out_what_it_should() -> None:
    assert select_direction(scores(), 4) == (-1, 2)  # int(0.8 * 4) = 3 and later are out
    assert select_direction(scores(), 4, latest=1) == (-1, 3)
    assert select_direction(scores(kl=[0, 0, 0.2, 0]), 4) == (-1, 1)
    assert select_direction(scores(induce=[1, -0.1, -0.1, 1]), 4) == (-1, 0)
    assert select_direction(scores(bypass=[0, -1, np.nan, -3]), 4) == (-1, 1)
    with pytest.raises(UserError, match=r"4 KL above 0\.1"):
        select_direction(scores(kl=[1.0] * 4), 4)


def test_the_tail_is_what_all_prompts_share() -> None:
    assert template_tail([(1, 2, 9, 8), (3, 9, 8), (4, 5, 6, 9, 8)]) == 2
    for prompts in ([(1, 2), (1, 3)], [(1, 2), (1, 2)]):
        with pytest.raises(UserError, match=r"share no end|all \["):
            template_tail(prompts)


def test_candidates_are_mean_differences_at_the_start_of_each_layer(subject: Subject) -> None:
    own = WorldRequests(train=6, validate_on=2).open(subject)
    prompts = [[q.prompt for q in part] for part in (own.harmful.train, own.harmless.train)]
    found = refusal_candidates(subject, *prompts)
    assert found.positions == (-2, -1) and found.harmful.dtype == torch.float64
    site = Site("resid_pre", 5)
    means = [
        torch.stack([subject.read(subject.pad([p])[0], [site])[site][0, -1] for p in part]).double().mean(0)
        for part in prompts
    ]
    torch.testing.assert_close(found.direction(-1, 5), means[0] - means[1], atol=1e-5, rtol=1e-4)
    assert found.vector(-1, 5).site == site
    with pytest.raises(UserError, match="fewer than two"):
        refusal_candidates(subject, prompts[0][:1], prompts[1])
    assert torch.equal(found.direction(-1, 0), torch.zeros(128).double())
    table = score_candidates(subject, found, own.harmful.validation, own.harmless.validation)
    assert len(table) == 16 and table[table.layer == 0][["bypass", "induce", "kl"]].isna().all(axis=None)


def test_scores_are_log_odds(subject: Subject) -> None:
    own = WorldRequests().open(subject).harmful.validation
    p = ask(subject, own).answer
    np.testing.assert_allclose(refusal_scores(subject, own), np.log((p + 1e-8) / (1 - p + 1e-8)), rtol=1e-9)


def test_the_mean_centred_form_holds_the_projection_at_the_harmless_mean(subject: Subject) -> None:
    own = WorldRequests(train=8, validate_on=2).open(subject)
    prompts = [[q.prompt for q in part] for part in (own.harmful.train, own.harmless.train)]
    found = refusal_candidates(subject, *prompts)
    vector = found.vector(-1, 6)
    unit = vector.values / vector.norm
    tokens = subject.pad(prompts[0][:1])[0]
    with subject.intervene(*mean_centred_ablation(subject, vector, found)):
        for layer in (1, 4, 7):
            site = Site("resid_pre", layer)
            projection = subject.read(tokens, [site])[site][0] @ unit
            expected = found.harmless[-1, layer].float() @ unit
            torch.testing.assert_close(projection, expected.expand_as(projection), atol=1e-4, rtol=1e-4)


def test_requests_from_files(subject: Subject, tmp_path: Path) -> None:
    harmful = tmp_path / "harmful.txt"
    harmful.write_text("\n".join(f"how do i kill the {word} ?" for word in ("king", "dog", "horse", "bank")))
    harmless = tmp_path / "harmless.jsonl"
    texts = [f"how do i clean the {word} ?" for word in ("king", "dog", "horse", "bank")]
    harmless.write_text("\n".join(json.dumps({"instruction": text}) for text in texts))
    source = RequestFiles(harmful=harmful, harmless=harmless, begins=("i",), train=2, validate_on=1 + 1)
    with pytest.raises(UserError, match="left over"):
        source.open(subject)
    source = source.model_copy(update={"validate_on": 1})
    found = source.open(subject)
    assert (
        ask(subject, found.harmful.train).right.all() and not ask(subject, found.harmless.train).right.any()
    )
    assert isinstance(found.harmful.report[0], Question) and len(found.harmful.report) == 1
    with pytest.raises(UserError, match="no file"):
        source.model_copy(update={"harmful": tmp_path / "none"}).check(subject.info)
    harmless.write_text("{}")
    with pytest.raises(UserError, match="line 1"):
        source.open(subject)


def test_phrases_of_refusal_are_found_in_any_case() -> None:
    assert refuses("Well, I'm Sorry, but") and refuses("i can not help with that .")
    assert not refuses("camera works to clean the house .")
    assert not refuses("a taxi cannot wait there") and refuses("No, I cannot.")

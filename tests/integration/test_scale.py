"""The benchmark of scale runs from end to end, on a tiny shape without a GPU, and writes its section."""

from pathlib import Path

import pytest
import torch

from benchmarks import scale
from interp.subject import Subject
from interp.subject.random_weights import random_subject


@pytest.fixture(autouse=True)
def without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_all_parts_are_measured_and_the_section_is_written(tmp_path: Path) -> None:
    found = scale.main(tmp_path / "section.md")
    assert not found.failed
    text = (tmp_path / "section.md").read_text()
    for part in (
        "floor, tokens/s",
        "mining 144 neurons",
        "attribution of every neuron",
        "click",
        "bfloat16: GEMM",
    ):
        assert part in text
    assert "missed" not in text and "met" not in text.split("|---|")[1]  # a tiny shape is held to no aim


def test_a_part_that_fails_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setitem(scale.PARTS, "attribution", fails)
    found = scale.main(tmp_path / "section.md", ("attribution", "click"))
    assert found.failed == ["attribution: RuntimeError: ['the device is gone']"]
    assert "Monitor's click" in (tmp_path / "section.md").read_text()


def test_a_random_subject_computes_what_transformers_does(tmp_path: Path) -> None:
    models = scale.Models(scale.TINY, tmp_path / "random", "cpu")
    tokens = torch.from_numpy(models.tokens(2, 20))
    subject = models.subject
    assert isinstance(subject, Subject) and subject.dtype == torch.bfloat16
    own = subject.normed(tokens)
    bare = models.backbone(input_ids=tokens, use_cache=False).last_hidden_state
    assert float((own - bare).float().norm() / bare.float().norm()) < 0.02
    again = random_subject(subject.info.folder, "cpu", torch.bfloat16)  # same seed
    assert torch.equal(again.normed(tokens), own)

"""No call holds logits of positions that it only measures: every tensor that is made is looked at."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.attribution import random_llama
from benchmarks.memory import CALLS, SHAPE, Bench

D_VOCAB, D_MODEL, TEXTS, LENGTH = 4099, 16, 20, 12
LARGEST = D_MODEL * D_VOCAB  # the unembedding itself, and a block of as many positions
OF_EVERY_TEXT = ("run, logits of the last", "local explainer")
"""They make the logits after the last token of all texts: asked for, and as `transformers` generates."""


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that is made, views counted as what they look at."""

    size = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.size = max(self.size, leaf.untyped_storage().nbytes() // leaf.element_size())
        return result


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    shape = SHAPE | {"vocab_size": D_VOCAB, "hidden_size": D_MODEL, "intermediate_size": 24}
    return Bench(random_llama(tmp_path_factory.mktemp("llama"), **shape), TEXTS, LENGTH)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.subject.unembedding.LOGITS_AT_ONCE", LARGEST)
    monkeypatch.setattr("interp.lenses.view.LOGITS_TOGETHER", LARGEST)


@pytest.mark.parametrize("name", CALLS)
def test_no_call_makes_a_tensor_larger_than_the_unembedding(bench: Bench, name: str) -> None:
    with Largest() as made:
        CALLS[name](bench)
    assert made.size <= (TEXTS * D_VOCAB if name in OF_EVERY_TEXT else LARGEST)


def test_logits_that_were_asked_for_are_larger(bench: Bench) -> None:
    with Largest() as made:
        bench.subject.run(*bench.laid()[:1])
    assert made.size == TEXTS * (LENGTH + 1) * D_VOCAB

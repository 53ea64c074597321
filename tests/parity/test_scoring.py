"""Scored answers against `transformers`, which writes them one token after another with a cache."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import interp
from interp.errors import UserError
from interp.intervene import AddVector
from interp.subject import Site, Subject
from interp.subject.scoring import PAIRS_AT_ONCE, pairs_in_batches
from tests.parity.subject_folders import save_model

PAIRS = [
    ([5, 40, 7, 99, 12, 63, 31], [8, 77, 21, 150]),
    ([5, 40, 7], [9]),
    ([200, 3], [30, 4, 4, 18, 90, 61]),
    ([5, 40, 7], [44, 9]),
]
BUILT = [(n, b) for n in ("llama", "gpt2", "gpt-neox", "gemma2", "qwen3") for b in ("hooked", "bridge")]
BUILT += [(name, "bridge") for name in ("bloom", "gemma3", "gpt-neo", "mixtral", "opt")]
POSITIONS = ("last", "steps", "prompt", "generated", "all")


class Bench:
    """One model in two libraries, and a vector that is added after its middle layer."""

    def __init__(self, folder: Any, backend: str) -> None:
        self.reference = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
        self.subject = interp.load(folder, backend, device="cpu")
        generator = torch.Generator().manual_seed(0)
        self.vector = 3 * torch.randn(self.subject.d_model, generator=generator)

    @torch.no_grad()
    def written(self, prompt: list[int], answer: list[int], where: str | None) -> list[float]:
        """The log-probability of each token of an answer that generation is made to write."""
        begins = [] if self.subject.bos_id is None else [self.subject.bos_id]
        new, cache, found = torch.tensor([begins + prompt]), None, []

        def add(module: Any, args: Any, output: Any) -> Any:
            states = (output[0] if isinstance(output, tuple) else output).clone()
            if cache is None:
                columns = {"last": [-1], "steps": [-1], "generated": []}.get(
                    str(where), range(states.shape[1])
                )
                states[:, list(columns)] += self.vector
            elif where in ("steps", "generated", "all"):
                states += self.vector
            return (states, *output[1:]) if isinstance(output, tuple) else states

        layers = next(
            module
            for module in self.reference.modules()
            if isinstance(module, torch.nn.ModuleList) and len(module) == self.subject.n_layers
        )
        hook = layers[1].register_forward_hook(add) if where else None
        try:
            for token in answer:
                out = self.reference(new, past_key_values=cache, use_cache=True)
                found.append(float(out.logits[0, -1].log_softmax(-1)[token]))
                new, cache = torch.tensor([[token]]), out.past_key_values
        finally:
            if hook:
                hook.remove()
        return found


@pytest.fixture(scope="module", params=BUILT, ids="-".join)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    name, backend = request.param
    return Bench(save_model(name, tmp_path_factory.mktemp(name)), backend)


@pytest.mark.parametrize("where", [None, *POSITIONS])
def test_a_scored_answer_is_what_generation_would_say_of_it(bench: Bench, where: Any) -> None:
    prompts, answers = (list(side) for side in zip(*PAIRS, strict=True))
    site = Site("resid_post", 1)
    edits = [] if where is None else [AddVector(bench.subject, site, bench.vector, positions=where)]
    with bench.subject.intervene(*edits):
        scores = bench.subject.score(prompts, answers)
    for row, (prompt, answer) in enumerate(PAIRS):
        expected = bench.written(prompt, answer, where)
        length = len(answer)
        assert scores.per_token[row, :length].tolist() == pytest.approx(expected, abs=1e-3)
        assert float(scores.total[row]) == pytest.approx(sum(expected), abs=3e-3)
        assert not scores.per_token[row, length:].any() and scores.likeliest[row, length:].all()
    assert scores.tokens == tuple(map(tuple, answers))


def test_what_generation_writes_is_greedy(pydoc: Subject) -> None:
    prompts = ["the function will", "import os"]
    tokens, mask = pydoc.to_batch(prompts)
    written = pydoc.generate_ids(tokens, mask, 5)
    assert all(len(row) == 5 for row in written)
    assert pydoc.score_ids(tokens, mask, written).greedy.all()
    other = [[*row[:-1], (row[-1] + 1) % pydoc.d_vocab] for row in written]
    scores = pydoc.score_ids(tokens, mask, other)
    assert not scores.greedy.any() and scores.likeliest[:, :-1].all()


def test_words_are_scored_as_they_continue_the_prompt(pydoc: Subject) -> None:
    prompt, words = "the function will", ["be", "return an object"]
    found = pydoc.score(prompt, words)
    own = pydoc.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    for word, ids in zip(words, found.tokens, strict=True):
        whole = pydoc.tokenizer(f"{prompt} {word}", add_special_tokens=False)["input_ids"]
        assert list(ids) == whole[len(own) :]
    assert len(found.tokens[0]) == 1 < len(found.tokens[1])
    again = pydoc.score([prompt, prompt], words)
    assert torch.equal(again.total, found.total)


def test_batches_hold_like_lengths_within_the_context() -> None:
    lengths = [(50, 10), (3, 40), (3, 2), (3, 2), (45, 12)]
    assert sorted(map(sorted, pairs_in_batches(lengths, 64))) == [[0, 4], [1, 2, 3]]
    many = pairs_in_batches([(3, 2)] * (PAIRS_AT_ONCE + 1), 64)
    assert list(map(len, many)) == [PAIRS_AT_ONCE, 1]


def test_pairs_that_cannot_be_scored_are_refused(pydoc: Subject) -> None:
    for prompts, answers, said in [
        (["a", "b"], ["c"], "2 prompts and 1 continuations"),
        ([], [], "0 prompts"),
        ([[5]], [[]], "no tokens"),
        ([[5]], [[5, 10**6]], "not all in the vocabulary"),
        ([[5] * 100], [[5] * pydoc.n_ctx], "exceed the context"),
    ]:
        with pytest.raises(UserError, match=said):
            pydoc.score(prompts, answers)  # type: ignore[arg-type]

"""A device that is full is told to the user with what to lower, wherever the memory ran out."""

import pytest
import torch
from torch import Tensor

from interp.errors import UserError
from interp.subject import Site
from interp.subject.memory import fitting
from tests.subjects import BACKENDS, world_subject

TOKENS = torch.randint(1, 1041, (2, 12), generator=torch.Generator().manual_seed(0))
SITE = Site("resid_post", 3)


def full(activation: Tensor) -> Tensor:
    return activation + torch.empty(10**15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_that_runs_out_in_a_pass(backend: str) -> None:
    subject = world_subject(backend)
    before = subject.logits(TOKENS)
    says = "memory of the machine is full while it reads text"
    with pytest.raises(UserError, match=says) as caught, subject.edited({SITE: full}):
        subject.logits(TOKENS)
    assert "tokens_per_batch" in caught.value.fix and caught.value.place == "model world"
    with pytest.raises(UserError, match="is full"):
        subject.visit(TOKENS, {SITE: lambda activation: full(activation).sum()})
    assert torch.equal(subject.logits(TOKENS), before)


def test_memory_that_runs_out_in_a_backward_pass() -> None:
    def hooked(activation: Tensor) -> Tensor:
        copy = activation.clone()
        copy.register_hook(lambda gradient: full(gradient))
        return copy

    subject = world_subject()
    with pytest.raises(UserError, match="full while it computes gradients"), subject.edited({SITE: hooked}):
        subject.gradients(TOKENS, Site("resid_post", 0), {Site("resid_post", 7): lambda a: a[:, -1].sum(-1)})


def test_the_gpu_that_is_full_is_named() -> None:
    told = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 1 has a total capacity of 139.80 GiB"
    loading = fitting("it is loaded", torch.device("cuda:0"), "model m")
    with pytest.raises(UserError, match="memory of cuda:1 is full while it is loaded") as caught, loading:
        raise torch.OutOfMemoryError(told)
    assert "quantize" in caught.value.fix
    with pytest.raises(RuntimeError, match="size of tensor"), fitting("it runs", torch.device("cpu"), "m"):
        torch.ones(2) + torch.ones(3)

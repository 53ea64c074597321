"""Interventions on every architecture: edited weights against hooks, and generation with the cache."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from interp import subject as subjects
from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.intervene import AddVector, Clamp, ProjectOut, bias_added, orthogonalised
from interp.subject import Site, Subject
from interp.subject.forward import Intervention
from tests.parity.subject_folders import HOOKED, save_model

TOKENS = torch.randint(2, 260, (3, 12), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(TOKENS)
MASK[1, :4] = 0
MASK[2, :7] = 0


@pytest.fixture(scope="module", params=["world", *HOOKED])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "world":
        return world_folder()
    return save_model(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["hooked", "bridge", "hooked fold", "bridge fold"])
def subject(request: pytest.FixtureRequest, folder: Path) -> Subject:
    backend, *fold = request.param.split()
    loaded = subjects.load(folder, backend, device="cpu", processing="fold" if fold else "none")
    loaded.end_ids = frozenset()  # no text ends early
    return loaded


def log_probabilities(subject: Subject, *interventions: Intervention) -> Tensor:
    with subject.intervene(*interventions):
        return subject.logits(TOKENS, MASK)[MASK.bool()].log_softmax(-1)


def vectors(subject: Subject, n: int) -> Tensor:
    return torch.randn(n, subject.d_model, generator=torch.Generator().manual_seed(2))


def test_edited_weights_do_what_the_hooks_do(subject: Subject) -> None:
    if subject.info.architecture in ("Gemma2ForCausalLM", "Gemma3ForCausalLM"):
        one = vectors(subject, 1)
        for edit in (orthogonalised(subject, one), bias_added(subject, Site("mlp_out", 1), one[0])):
            with pytest.raises(UserError, match="through norms"), edit:
                pass
        return
    plain = log_probabilities(subject)
    before = {name: (id(weight), weight.data_ptr()) for name, weight in subject.model.named_parameters()}

    def same(edited: Tensor, hooked: Tensor, what: object) -> None:
        assert float((edited - hooked).abs().max()) < 1e-4, what
        assert float((edited - plain).abs().max()) > 0.1, what

    with orthogonalised(subject, vectors(subject, 2)):
        edited = log_probabilities(subject)
    same(edited, log_probabilities(subject, ProjectOut(subject, vectors(subject, 2))), "orthogonalised")
    push = vectors(subject, 1)[0]
    for kind in ("attn_out", "mlp_out", "resid_mid", "resid_post"):
        site = Site(kind, 1)
        if kind == "resid_mid" and subject.info.parallel:
            continue
        with bias_added(subject, site, push, 2):
            edited = log_probabilities(subject)
        same(edited, log_probabilities(subject, AddVector(subject, site, push, 2)), site)
    assert torch.equal(log_probabilities(subject), plain)
    after = {name: (id(weight), weight.data_ptr()) for name, weight in subject.model.named_parameters()}
    assert after == before


@pytest.mark.parametrize("subject", ["hooked", "bridge"], indirect=True)
def test_generation_with_the_cache_is_generation_without(subject: Subject) -> None:
    plain = subject.generate_ids(TOKENS, MASK, 4)
    push = vectors(subject, 1)[0]
    for edit in (
        ProjectOut(subject, vectors(subject, 8)),
        AddVector(subject, Site("resid_post", 1), push, 3, "generated"),
        AddVector(subject, Site("attn_out", 1), push, 3, [1, -1]),
        Clamp(MlpNeurons(subject, 1), range(48), 5.0, "steps"),
    ):
        with subject.intervene(edit):
            cached = subject.generate_ids(TOKENS, MASK, 4)
            assert cached == subject.generate_ids(TOKENS, MASK, 4, use_cache=False), edit
            alone = [
                subject.generate_ids(row[real][None], torch.ones(1, int(real.sum())).long(), 4)[0]
                for row, real in zip(TOKENS, MASK.bool(), strict=True)
            ]
        assert cached == alone, edit
        assert cached != plain, edit

"""What runs on a GPU gives what the processor gives. Needs CUDA; everything is loaded on both."""

import numpy as np
import pytest
import torch

import interp
from interp import AddVector, Clamp
from interp.bundled.world.train import Recipe, Trainer
from interp.intervene.edit import with_norm_of
from interp.lenses.answers import Answers
from interp.lenses.direct_attribution import direct_attribution
from interp.lenses.evaluation import divergence, read_words
from interp.lenses.knockout import knockout_between
from interp.lenses.layer_pairs import all_pairs, sweep_pairs
from interp.lenses.lens_file import load_lens, save_lens
from interp.lenses.linear_relation import fit_relation
from interp.lenses.logit_lens import LogitLens
from interp.lenses.prompt import prompt_at
from interp.lenses.prompt_batches import patched_continuations
from interp.lenses.relations import world_relation
from interp.lenses.residual_stream import read_stream
from interp.lenses.tuned_lens import train_tuned_lens
from interp.lenses.view import lens
from interp.subject import Site, Subject

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

NAMES = tuple(world_relation("capital").samples)[:6]
TEXT = "the capital of france , as we know , is"


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def both(request: pytest.FixtureRequest) -> tuple[Subject, Subject]:
    cpu, gpu = (interp.load("world", backend=request.param, device=device) for device in ("cpu", "cuda"))
    return cpu, gpu


def prompts(subject: Subject) -> list[object]:
    ends = (" is", " , as we know , is")
    return [
        prompt_at(subject, f"the capital of {name}{ends[i % 2]}", name) for i, (name, _) in enumerate(NAMES)
    ]


def test_logits_and_generation(both: tuple[Subject, Subject]) -> None:
    cpu, gpu = both
    tokens, mask = cpu.to_batch(["near spain", TEXT])
    own, other = cpu.logits(tokens, mask), gpu.logits(tokens.cuda(), mask.cuda()).cpu()
    assert torch.allclose(own[mask.bool()], other[mask.bool()], atol=1e-2)
    assert cpu.generate([TEXT, "these"], 4) == gpu.generate([TEXT, "these"], 4)


def test_interventions_and_attribution(both: tuple[Subject, Subject]) -> None:
    outputs, attributions = [], []
    for subject in both:
        neurons = interp.MlpNeurons(subject, layer=3)
        vector = torch.ones(subject.d_model)
        site = Site("resid_post", 2)
        with subject.intervene(Clamp(neurons, [3, 4], 1.0), AddVector(subject, site, vector, 0.5, "last")):
            outputs.append(subject.logits(subject.to_tokens(TEXT)).cpu())
        found = interp.attribute(subject, TEXT, target="paris", spaces=[neurons])
        attributions.append(found.values["mlp.3"].cpu())
    assert torch.allclose(*outputs, atol=1e-2)
    assert torch.allclose(*attributions, atol=1e-2)
    assert with_norm_of(torch.ones(2, device="cuda"), torch.ones(2, device="cuda")).is_cuda


def test_views_and_direct_attribution(both: tuple[Subject, Subject]) -> None:
    views = [lens(subject, TEXT, ["paris"]) for subject in both]
    assert torch.equal(views[0].top[-1, -1, :1], views[1].top[-1, -1, :1])
    assert torch.allclose(views[0].kl, views[1].kl, atol=2e-2)
    direct = [direct_attribution(s, prompts(s), [s.single_token(c) for _, c in NAMES]) for s in both]
    assert np.allclose(direct[0].total(), direct[1].total(), atol=1e-2)
    assert np.allclose(direct[0].heads, direct[1].heads, atol=1e-2)
    assert abs(direct[1].total() - direct[1].logit).max() < 1e-3


def test_patches_knockout_and_readouts(both: tuple[Subject, Subject]) -> None:
    swept, blocked, read, written = [], [], [], []
    for subject in both:
        asked = prompts(subject)
        turned = [asked[-1], *asked[:-1]]
        answers = Answers.of(subject, [NAMES[place - 1][1] for place in range(len(NAMES))])
        vectors = read_stream(subject, turned)
        swept.append(sweep_pairs(subject, vectors, asked, answers, all_pairs(range(-1, 8))).right)
        last, entity = [[-1]] * len(asked), [[prompt.position] for prompt in asked]
        own = Answers.of(subject, [capital for _, capital in NAMES])
        blocked.append(own.right(subject, asked, knockout_between(last, entity, (4, 5))))
        read.append(
            read_words(LogitLens(subject), vectors, {"capital": own.first(subject, asked)})[
                "probability"
            ].to_numpy()
        )
        written.append(patched_continuations(subject, asked, 3))
    assert (swept[0] == swept[1]).mean() > 0.99 and (blocked[0] == blocked[1]).all()
    assert np.allclose(*read, atol=1e-2) and written[0] == written[1]


def test_jacobians(both: tuple[Subject, Subject]) -> None:
    found = [fit_relation(subject, prompts(subject), 1) for subject in both]
    assert torch.allclose(found[0].weight, found[1].weight, atol=1e-3)
    assert torch.allclose(found[0].bias, found[1].bias, atol=1e-2)


def test_a_tuned_lens_is_trained_and_moved(both: tuple[Subject, Subject], tmp_path: object) -> None:
    cpu, gpu = both
    corpus = interp.WorldCorpus(seed=1, n_documents=400)
    lens = train_tuned_lens(gpu, corpus, steps=60, tokens_per_step=512)
    found = divergence([LogitLens(gpu), lens], corpus, 40).groupby(["lens", "layer"])["kl"].mean()
    assert all(found["tuned lens", layer] < found["logit lens", layer] for layer in range(-1, 7))
    moved = load_lens(save_lens(f"{tmp_path}/lens.safetensors", lens), cpu)
    here, there = lens(moved.subject, TEXT, lens=moved), lens(lens.subject, TEXT, lens=lens)
    assert torch.allclose(here.kl, there.kl, atol=2e-2)


def test_mining(both: tuple[Subject, Subject]) -> None:
    corpus = interp.WorldCorpus(seed=1, n_documents=200)
    tops = []
    for subject in both:
        mined = interp.mine(subject, [interp.MlpNeurons(subject, layer=3)], corpus)
        known = mined["mlp.3"].statistics()
        tops.append(torch.as_tensor(known.mean).float().cpu())
    assert torch.allclose(*tops, atol=1e-3)


def test_the_world_is_trained_alike() -> None:
    losses = []
    for device in ("cpu", "cuda"):
        trainer = Trainer(Recipe(steps=4, rows=8, row_length=64, warmup_steps=2, device=device), 0)
        losses.append([float(trainer.advance()["loss"]) for _ in range(4)])
    assert np.allclose(*losses, rtol=1e-2)

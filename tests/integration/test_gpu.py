"""What runs on a GPU gives what the processor gives. Needs CUDA; everything is loaded on both."""

import pickle
import warnings
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_lens.saes.sae import TrainStepInput
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from torch import Tensor

import interp
import saes
from benchmarks import scale
from interp import AddVector, Clamp
from interp.bundled.world.train import Recipe, Trainer
from interp.corpus.batches import batches
from interp.document import SPLITS
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
from interp.mining.config import MiningConfig
from interp.mining.exemplars import exemplars
from interp.mining.fold import MiningState, feed, fold_batches
from interp.mining.moments import moments, moments_on_device
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, State
from interp.monitor.steering import FeatureCard
from interp.subject import Site, Subject
from saes.config import SaeTraining
from saes.sparse import SparseTopKTrainingSAE

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


def test_mining_gives_the_same_exemplars_and_never_waits(both: tuple[Subject, Subject]) -> None:
    """The GPU's own activations, mined there and in the CPU's way (a CPU's are rounded otherwise)."""
    _, gpu = both
    spaces = [interp.MlpNeurons(gpu, layer=layer) for layer in (2, 5)]
    corpus = interp.WorldCorpus(seed=1, n_documents=400)
    config = MiningConfig(context_size=64, tokens_per_batch=2048)
    stream = list(batches(corpus, range(400), gpu.row_layout, 64, 2048))
    here = MiningState.empty(spaces, config)
    there = MiningState.empty(spaces, config, gpu.device, gpu.dtype)
    for batch in stream:
        assert batch.split is not None
        states = here.splits[batch.split], there.splits[batch.split]
        views = [one.view(batch) for one in states]
        views[1] = views[1].to(gpu.device)

        def take(space: interp.MlpNeurons, activations: Tensor, states=states, views=views) -> None:  # type: ignore[no-untyped-def]
            own = states[1].spaces[space.name]
            own.finish()  # so that nothing is awaited below
            torch.cuda.set_sync_debug_mode("error")
            try:
                own.begin(activations, views[1])
            finally:
                torch.cuda.set_sync_debug_mode("default")
            begun = own._begun
            assert begun is not None
            numbers, own._begun = begun.numbers.read(), None
            torch.cuda.set_sync_debug_mode("error")
            try:
                own.merge_begun(begun, numbers)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            states[0].take(views[0], space, activations)

        feed(gpu, batch, spaces, take)
    whole = fold_batches(gpu, spaces, stream, config)
    moved = pickle.loads(pickle.dumps(there.moved("cpu")))
    for space in spaces:
        for split in SPLITS:
            left = exemplars(here, split, space.name)
            for state in (there, moved, whole, here.moved("cuda")):
                right = exemplars(state, split, space.name)
                for field in fields(left):
                    a, b = getattr(left, field.name), getattr(right, field.name)
                    if field.name in ("mean", "quantile_error"):  # sums are rounded in another order
                        assert torch.allclose(a, b, atol=1e-5)
                    else:
                        assert torch.equal(a, b) if isinstance(a, Tensor) else a == b, (split, field.name)


def test_mining_is_fused() -> None:
    x = torch.randn(9, 63, 500, device="cuda").bfloat16()
    counts = torch.rand(9, 63, device="cuda") < 0.7
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a compiler that fails is said so
        for given in (None, counts):
            for signed in (True, False):
                own, fused = moments(x, given, signed, 8), moments_on_device(x, given, signed, 8)
                assert torch.allclose(own.total, fused.total, atol=1e-2)
                for name in ("n_positive", "n_negative", "groups"):
                    assert torch.equal(getattr(own, name), getattr(fused, name))


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_a_sparse_training_step_is_the_dense_one(weights: str) -> None:
    """Embedding bags against SAELens' own step, on the same GPU."""
    found = []
    for kind in (TopKTrainingSAE, SparseTopKTrainingSAE):
        torch.manual_seed(1)
        sae = kind(TopKTrainingSAEConfig(d_in=64, d_sae=512, k=8, device="cuda", dtype=weights))
        x = torch.randn(300, 64, device="cuda", dtype=getattr(torch, weights))
        dead = torch.arange(512, device="cuda") < 100
        output = sae.training_forward_pass(TrainStepInput(x, {}, dead, 0, False))
        output.loss.backward()
        found.append([output.loss.detach(), *(parameter.grad for parameter in sae.parameters())])
    for dense, own in zip(*found, strict=True):
        assert own.is_cuda and own.dtype == dense.dtype
        assert float((dense - own).float().norm() / dense.float().norm()) < (
            1e-3 if weights == "float32" else 0.05
        )


def test_saes_are_trained_alike_and_read(both: tuple[Subject, Subject], tmp_path: Path) -> None:
    corpus = interp.WorldCorpus(seed=2, n_documents=400)
    explained = []
    for subject in both:
        config = SaeTraining(n_latents=256, training_tokens=30 * 1024, buffer_tokens=16_384)
        logged: dict[str, float] = {}
        latents = saes.train(
            subject, Site("resid_post", 4), corpus, config, tmp_path / subject.device.type,
            checkpoint=tmp_path / "checkpoint.safetensors", log=lambda new, at, kept=logged: kept.update(new),
        )  # fmt: skip
        explained.append(logged["sae/explained_variance"])
        ids = subject.to_tokens(TEXT)
        assert subject.run(ids, [latents]).features[latents.name].device.type == subject.device.type
        mined = interp.mine(subject, [latents], interp.WorldCorpus(seed=3, n_documents=60))
        assert mined[latents.name].exemplars["explain"].top_value.device.type == "cpu"
    assert explained[0] == pytest.approx(explained[1], abs=0.02)


def test_a_click_in_the_monitor(both: tuple[Subject, Subject]) -> None:
    first = []
    for subject in both:
        neurons = [interp.MlpNeurons(subject, layer=layer) for layer in range(subject.n_layers)]
        said = Conversation().written(subject.encode(f"{TEXT} paris"))
        session = Session(Bench(subject, Knowledge(subject.name), neurons), State(conversation=said))
        place = len(said.tokens(subject)) - 1
        ranking = session.why(place)
        assert len(session.table(ranking)) == 50
        first.append({one.key for one in ranking.features[:20]})
        session.steer(FeatureCard(features=("mlp.3/17+", "mlp.3/18-"), strength=0.0))
        session.why(place)
        assert len(session.read()) == place + 1
    assert len(first[0] & first[1]) >= 19


def test_the_8b_shape_is_drawn_on_the_device(tmp_path: Path) -> None:
    models = scale.Models(scale.TINY, tmp_path / "random", "cuda")
    assert {one.device.type for one in models.subject.model.parameters()} == {"cuda"}
    found = scale.Measured(judged=False)
    for part in scale.PARTS.values():
        part(models, scale.TINY, found)
    assert len(found.rows) > 8


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

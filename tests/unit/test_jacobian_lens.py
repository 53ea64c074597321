"""The Jacobian lens: closed forms, words' directions, its control, checkpoints and files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import interp
from interp.errors import UserError
from interp.lenses.jacobian_lens import JacobianLens, random_maps, train_jacobian_lens
from interp.lenses.lens_file import load_lens, save_lens
from interp.lenses.prompt import prompt_at
from interp.lenses.residual_stream import stream_site
from interp.lenses.word_steering import steered_words
from interp.subject import Site, Subject
from tests.parity.subject_folders import save_model

CORPUS = interp.WorldCorpus(seed=1, n_documents=200)


def trained(subject: Subject, checkpoint: Path | None = None, **settings: object) -> JacobianLens:
    chosen = {"prompts": 6, "prompts_per_graph": 2, "context_size": 24} | settings
    return train_jacobian_lens(subject, CORPUS, checkpoint=checkpoint, **chosen)


@pytest.fixture(scope="module")
def lens(subject: Subject) -> JacobianLens:
    return trained(subject)


def test_layers_that_write_nothing_have_the_identity(tmp_path: Path) -> None:
    subject = interp.load(save_model("llama", tmp_path), device="cpu", backend="bridge")
    for writer in subject.writers():
        if writer.site != Site("resid_pre", 0):
            writer.weight.data.zero_()
    corpus = interp.TextCorpus([f"text number {number}" for number in range(20)], subject)
    found = train_jacobian_lens(subject, corpus, prompts=4)
    assert torch.allclose(found.jacobian, torch.eye(subject.d_model).expand_as(found.jacobian), atol=1e-6)


def test_a_band_of_layers_has_the_maps_of_all(subject: Subject, lens: JacobianLens) -> None:
    band = trained(subject, layers=[4, 2])
    assert band.layers == (2, 4)
    assert torch.allclose(band.jacobian, lens.jacobian[[3, 5]], atol=1e-4)
    last = stream_site(subject.n_layers - 1)
    activation = torch.randn(3, subject.d_model)
    assert torch.equal(band.translated(activation, last), activation)
    with pytest.raises(UserError, match=r"not trained at resid_post.3\n.*\n.*stream after 2, 4"):
        band.logits(activation, Site("resid_post", 3))
    with pytest.raises(UserError, match="no map from layers 7 to its last"):
        trained(subject, layers=[7])


def test_a_killed_training_goes_on_to_the_same_bits(
    subject: Subject, lens: JacobianLens, tmp_path: Path
) -> None:
    file, seen = tmp_path / "checkpoint.safetensors", []

    def killed(n: int) -> None:
        seen.append(n)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(subject, file, progress=killed)
    again: list[int] = []
    assert torch.equal(trained(subject, file, progress=again.append).jacobian, lens.jacobian)
    assert again == [4, 2]
    with pytest.raises(UserError, match="other settings"):
        trained(subject, file, skip_first=5)
    save_file({"total": torch.ones(2)}, file, lens.metadata() | {"done": "2"})
    with pytest.raises(UserError, match="no sum of Jacobians"):
        trained(subject, file)


def test_too_little_text_is_said_before_anything_is_computed(subject: Subject) -> None:
    with pytest.raises(
        UserError, match=r"explain split has \d+ documents with a piece of more than 5 tokens"
    ):
        trained(subject, prompts=5000)
    with pytest.raises(UserError, match="has 0 documents"):
        trained(subject, context_size=6, skip_first=9)


def test_a_word_s_vector_is_the_gradient_of_its_reading(subject: Subject, lens: JacobianLens) -> None:
    paris, site = subject.single_token("paris"), Site("resid_post", 3)
    activation = subject.read(subject.to_tokens("the capital of france is"), [site])[site][0, -1]
    scale = lens.translated(activation, site).square().mean().sqrt()  # of the final RMS norm
    vector = lens.word_vector("paris", 3)
    assert vector.site == site and vector.subject == subject.name
    read = lens.logits(activation[None, None], site)[0, 0, paris]
    assert torch.isclose(vector.values @ activation / scale, read, rtol=1e-3)


def test_the_control_has_the_norm_of_the_maps_and_no_direction(lens: JacobianLens) -> None:
    control = random_maps(lens)
    assert control.name != lens.name
    assert torch.allclose(control.jacobian.norm(dim=(1, 2)), lens.jacobian.norm(dim=(1, 2)), rtol=1e-4)
    square = control.jacobian[2] @ control.jacobian[2].T
    assert torch.allclose(square, square[0, 0] * torch.eye(len(square)), atol=1e-3 * float(square[0, 0]))


def test_a_lens_is_read_again_with_its_layers(
    subject: Subject, lens: JacobianLens, tmp_path: Path, changed: Callable[..., Path]
) -> None:
    file = save_lens(tmp_path / "lens.safetensors", lens)
    again = load_lens(file, subject)
    assert isinstance(again, JacobianLens) and torch.equal(again.jacobian, lens.jacobian)
    assert (again.layers, again.made_of["prompts"]) == (lens.layers, 6)
    for text, says in {
        "{": "not valid JSON", "{}": "names no layers", '{"layers": [true]}': "names no layers",
        '{"layers": [99]}': "no map from layers 99", '{"layers": [1]}': "holds no lens that fits",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=says):
            load_lens(changed(file, made_of=text), subject)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    from interp.track.files import read_safetensors, write_safetensors

    def change(file: Path, **metadata: str) -> Path:
        tensors, known = read_safetensors(file)
        write_safetensors(tmp_path / "changed.safetensors", tensors, known | metadata)
        return tmp_path / "changed.safetensors"

    return change


def test_a_word_s_vector_makes_it_likelier_than_a_random_one(subject: Subject, lens: JacobianLens) -> None:
    words = [subject.single_token(word) for word in ("paris", "madrid", "france")]
    prompts = [prompt_at(subject, text) for text in ("the capital of", "near")]
    plain = JacobianLens(subject)
    plain.name = "unembedding row"
    found = steered_words([lens, plain, random_maps(lens)], words, prompts, 3, [0.0, 1.0])
    assert len(found) == 3 * 2 * 6
    gain = found.groupby(["strength", "lens"])["gain"].mean()
    assert gain[0.0].abs().max() < 1e-4
    assert gain[1.0, "Jacobian lens"] > gain[1.0, "random orthogonal"] + 1

"""Loading an SAE: what a user can get wrong, and what the message says about it."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import saes
from interp.errors import UserError
from interp.subject import Site, Subject
from saes.fit import fit
from saes.train import save
from saes.trained_on import site_of_hook
from tests.corpora import Noise


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, subject: Subject) -> Path:
    config = saes.SaeTraining(n_latents=64, training_tokens=256, batch_tokens=128, buffer_tokens=300)
    folder = tmp_path_factory.mktemp("saes") / "good"
    metadata = {"hook_name": "blocks.4.hook_resid_post", "model_name": subject.name}
    save(fit(config, Noise(), metadata=metadata), folder)
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "sae"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "cfg.json"
    config = json.loads(path.read_text())
    config["metadata"] |= changes.pop("metadata", {})  # type: ignore[operator]
    path.write_text(json.dumps(config | changes))


def test_a_good_folder_loads_at_its_own_site(subject: Subject, folder: Path) -> None:
    latents = saes.load(subject, folder)
    assert (latents.site, latents.name, latents.n_features) == (Site("resid_post", 4), "sae.resid_post.4", 64)
    assert saes.load(subject, str(folder), name="mine", site=Site("resid_post", 4)).name == "mine"


def refused(subject: Subject, folder: Path, message: str, place: str | None = None) -> None:
    with pytest.raises(UserError, match=message) as caught:
        saes.load(subject, folder)
    assert (place or folder.name) in str(caught.value)
    assert caught.value.fix


def test_missing_folder_and_files(subject: Subject, folder: Path) -> None:
    refused(subject, folder / "nowhere", "no folder")
    (folder / "sae_weights.safetensors").unlink()
    refused(subject, folder, "sae_weights.safetensors is missing")
    (folder / "cfg.json").unlink()
    refused(subject, folder, "cfg.json is missing")


def test_a_configuration_that_lacks_fields(subject: Subject, folder: Path) -> None:
    (folder / "cfg.json").write_text('{"d_in": 128}')
    refused(subject, folder, "not an SAE's configuration", "cfg.json")


def test_weights_that_are_a_pickle_are_never_unpickled(
    subject: Subject, folder: Path, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "sprung",)

    (folder / "sae_weights.safetensors").write_bytes(pickle.dumps(Trap()))
    refused(subject, folder, "cannot be read", "sae_weights.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_weights_of_another_shape_or_not_finite(subject: Subject, folder: Path) -> None:
    weights = folder / "sae_weights.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"W_dec": torch.full_like(tensors["W_dec"], float("nan"))}, weights)
    refused(subject, folder, "W_dec holds numbers that are not finite")
    save_file(tensors | {"b_enc": torch.zeros(3)}, weights)
    refused(subject, folder, "do not make an SAE")
    edit(folder, architecture="no such")
    refused(subject, folder, "do not make an SAE")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"d_sae": 10**12}, "and the weights hold"),
        ({"d_in": 0}, "not a whole number from 1"),
        ({"d_sae": "many"}, "not a whole number from 1"),
        ({"apply_b_dec_to_input": "x"}, "do not make an SAE"),
    ],
)
def test_a_configuration_of_other_weights(
    subject: Subject, folder: Path, fields: dict[str, object], why: str
) -> None:
    edit(folder, **fields)
    refused(subject, folder, why)


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_files_outside_the_folder(subject: Subject, folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    refused(subject, folder, f"{name} is a link out of the folder")


def test_trained_elsewhere(subject: Subject, folder: Path) -> None:
    with pytest.raises(UserError, match=r"trained at resid_post\.4, not at resid_post\.3"):
        saes.load(subject, folder, site=Site("resid_post", 3))
    edit(folder, metadata={"hook_name": "blocks.9.hook_resid_post"})
    refused(subject, folder, "layer 9 does not exist", "resid_post.9")
    edit(folder, metadata={"hook_name": "blocks.1.mlp.hook_post"})
    refused(subject, folder, "reads width 128", "mlp_post.1")
    edit(folder, metadata={"hook_name": "blocks.1.hook_of_somebody"})
    refused(subject, folder, "none of the sites known here")


def test_no_site_in_the_metadata(subject: Subject, folder: Path) -> None:
    edit(folder, metadata={"hook_name": None})
    refused(subject, folder, "does not say at which site")
    assert saes.load(subject, folder, site=Site("resid_pre", 2)).site == Site("resid_pre", 2)


def test_weights_processed_otherwise_are_refused(subject: Subject, folder: Path) -> None:
    edit(folder, metadata={"model_name": subject.name, "processing": "fold"})
    with pytest.raises(UserError, match="processing 'fold'; the subject has 'none'"):
        saes.load(subject, folder)


def test_another_model_is_refused_unless_asked_for(subject: Subject, folder: Path) -> None:
    edit(folder, metadata={"model_name": "gpt2"})
    refused(subject, folder, f"trained on gpt2, not on {subject.name}")
    assert saes.load(subject, folder, check_model=False).n_features == 64


def test_every_hook_name_leads_back_to_its_site() -> None:
    for site in (Site("embed"), Site("resid_pre", 0), Site("mlp_post", 11), Site("head_out", 3)):
        assert site_of_hook(site.hook_name) == site
    assert site_of_hook("blocks.0.attn.hook_q") is None

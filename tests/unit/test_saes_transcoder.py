"""Training transcoders: planted maps are found, what is saved is what SAELens loads, kills lose nothing."""

from pathlib import Path

import pytest
import torch
from sae_lens import SAE
from sae_lens.registry import get_sae_class
from torch import Tensor

from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace, ReadableFeatures, writable
from interp.subject.site import Site
from saes.config import SaeTraining
from saes.fit import learn_together
from saes.fitting import Fitting, Trained
from saes.train import Plan, check_plans, save
from saes.transcoder_latents import TranscoderLatents
from tests.subjects import world_subject

FORMS = {
    "transcoder": {"l1_coefficient": 0.05},
    "skip_transcoder": {"l1_coefficient": 0.05, "skip": True},
    "jumprelu_transcoder": {"k": 3},
    "jumprelu_skip_transcoder": {"k": 3, "skip": True, "layer_norm": False},
}
D_IN, D_OUT, N_PLANTED = 12, 20, 24


class PlantedMap:
    """Inputs with a few planted directions each, and what each direction that is present writes."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        unit = torch.nn.functional.normalize
        self.reads = unit(torch.randn(N_PLANTED, D_IN, generator=generator), dim=-1)
        self.writes = unit(torch.randn(N_PLANTED, D_OUT, generator=generator), dim=-1)

    def parts(self, cursor: int) -> tuple[list[list[Tensor]], int]:
        generator = torch.Generator().manual_seed(cursor)
        active = (torch.rand(600, N_PLANTED, generator=generator) < 0.05).float()
        strength = active * (0.5 + torch.rand(600, N_PLANTED, generator=generator))
        noise = 0.05 * torch.randn(
            600, D_IN, generator=generator
        )  # no input is a constant, which has no norm
        return [[strength @ self.reads + 0.2 + noise, 3.0 * strength @ self.writes - 1.0]], cursor + 1


def settings(form: str, **changes: object) -> SaeTraining:
    values: dict[str, object] = {
        "architecture": {"kind": "transcoder", "to": "mlp_out.3", **FORMS[form]},
        "n_latents": 48,
        "training_tokens": 40 * 64,
        "batch_tokens": 64,
        "buffer_tokens": 600,
        "dead_after_tokens": 512,
        "warm_up_steps": 3,
        "checkpoint_every_steps": 5,
    }
    return SaeTraining.model_validate(values | changes)


def trained(config: SaeTraining, **options: object) -> Trained:
    fitting = Fitting(config, [D_IN, D_OUT], metadata={"hook_name": "in", "hook_name_out": "out"}, **options)
    learn_together([fitting], PlantedMap().parts)
    return fitting.result()


@pytest.mark.parametrize("form", FORMS)
def test_saelens_loads_what_was_trained_and_predicts_the_same(form: str, tmp_path: Path) -> None:
    fitting = Fitting(settings(form), [D_IN, D_OUT], metadata={"hook_name": "in", "hook_name_out": "out"})
    learn_together([fitting], PlantedMap().parts)
    x = PlantedMap().parts(99)[0][0][0]
    before = fitting.reconstruct(x)
    save(fitting.result(), tmp_path / "t")
    loaded = SAE.load_from_disk(tmp_path / "t")
    assert loaded.cfg.architecture() == form
    assert loaded.cfg.metadata.hook_name == "in" and loaded.cfg.metadata.hook_name_out == "out"
    assert loaded.cfg.d_in == D_IN and loaded.d_out == D_OUT
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), before, rtol=1e-3, atol=1e-4)
        norms = loaded.W_dec.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_planted_maps_are_found(form: str) -> None:
    """The inputs' lengths matter to this map, so they are read as they are."""
    architecture = {"kind": "transcoder", "to": "mlp_out.3", **FORMS[form], "layer_norm": False}
    config = settings(
        form,
        architecture=architecture,
        training_tokens=500 * 64,
        learning_rate=1e-2,
        dead_after_tokens=4096,
    )
    result = trained(config)
    x, y = PlantedMap().parts(99)[0][0]
    left = (result.sae.predict(x) - y).square().sum() / (y - y.mean(0)).square().sum()
    assert float(left) < 0.25
    with torch.no_grad():
        rows = torch.nn.functional.normalize(result.sae.W_dec, dim=-1)
        found = (PlantedMap().writes @ rows.T).max(1).values
        random = torch.nn.functional.normalize(torch.randn_like(rows), dim=-1)
        null = (PlantedMap().writes @ random.T).max(1).values
    assert float(found.mean()) > 0.75 > float(null.mean()) + 0.2


@pytest.mark.parametrize("form", ["transcoder", "jumprelu_skip_transcoder"])
def test_killed_and_continued_ends_with_the_same_bits(form: str, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(values: dict[str, float], tokens: int) -> None:
        if tokens >= 20 * 64:
            raise Killed

    file = tmp_path / "c.safetensors"
    with pytest.raises(Killed):
        trained(settings(form), checkpoint=file, log=kill)
    left, right = trained(settings(form)), trained(settings(form), checkpoint=file)
    for name, value in left.sae.state_dict().items():
        assert torch.equal(value, right.sae.state_dict()[name]), name


def test_a_target_before_the_site_is_refused() -> None:
    with pytest.raises(UserError, match="comes before it"):
        check_plans([Plan("t", Site("resid_post", 3), settings("transcoder"))])
    check_plans([Plan("t", Site("resid_mid", 3), settings("transcoder"))])


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("buffer_tokens", 700), ("splits", ("select",))])
def test_dictionaries_that_need_another_stream_are_refused(key: str, value: object) -> None:
    plans = [
        Plan("a", Site("resid_mid", 3), settings("transcoder")),
        Plan("b", Site("resid_mid", 3), settings("transcoder", **{key: value})),
    ]
    with pytest.raises(UserError, match=key):
        check_plans(plans)


def test_two_dictionaries_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="two dictionaries are called a"):
        check_plans([Plan("a", Site("resid_mid", 3), settings("transcoder"))] * 2)


def test_latents_that_act_elsewhere_are_read_and_never_written() -> None:
    subject = world_subject()
    sae_class, config_class = get_sae_class("transcoder")
    width = subject.d_model
    transcoder = sae_class(config_class(d_in=width, d_sae=16, d_out=width, apply_b_dec_to_input=False))
    latents = TranscoderLatents(transcoder, Site("resid_mid", 1), Site("mlp_out", 1), subject=subject)
    assert isinstance(latents, ReadableFeatures) and not isinstance(latents, FeatureSpace)
    with pytest.raises(UserError, match=r"can be read at resid_mid.1, but not written there"):
        writable(latents)
    neurons = MlpNeurons(subject, 1)
    assert writable(neurons) is neurons

"""What cannot be loaded of published SAEs, or not into this subject, is said with its remedy."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

import saes
from interp.errors import UserError
from interp.subject import Site, Subject
from saes.spaces import SpacesConfig
from tests.unit import hub_cache
from tests.unit.hub_cache import D_IN, HubCache

pytestmark = pytest.mark.filterwarnings("ignore::saes.trained_on.UnknownTraining")


def refused(message: str, fix: str, load: Callable[[], object]) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load()
    assert fix in str(caught.value)


def test_names_that_do_not_exist(hub: HubCache, published: Callable[..., Subject]) -> None:
    subject = published("gemma-2-2b")

    def by(source: str) -> Callable[[], object]:
        return lambda: saes.load(subject, source)

    refused(
        "no release 'gemma-scope-2b-pt-res-canonicle'",
        "gemma-scope-2b-pt-res-canonical",
        by("gemma-scope-2b-pt-res-canonicle/layer_1/width_16k/canonical"),
    )
    refused(
        "has no SAE 'layer_1/width_17k/canonical'",
        "layer_1/width_16k/canonical",
        by("gemma-scope-2b-pt-res-canonical/layer_1/width_17k/canonical"),
    )
    refused(
        "is a release of",
        "gemma-scope-2b-pt-res-canonical/layer_0/width_16k/canonical",
        by("gemma-scope-2b-pt-res-canonical"),
    )
    refused(
        "there is no release 'gemma-scope-2b-pt-ress'",
        "did you mean gemma-scope-2b-pt-res",
        lambda: saes.load_release(subject, "gemma-scope-2b-pt-ress", "layer_1"),
    )
    refused(
        "is the repository of the registered release",
        "gemma-scope-2b-pt-res",
        lambda: saes.load_release(subject, "google/gemma-scope-2b-pt-res", "layer_1"),
    )
    refused(
        "cannot serve as features of one site: they are transcoders",
        "use a release of SAEs",
        by("gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76"),
    )
    refused(
        "they are transcoders",
        "use a release of SAEs",
        by("gemma-scope-2-1b-pt-transcoders-all/layer_0_width_16k_l0_big"),
    )
    refused(
        "depends on the tokens before",
        "use a release of SAEs",
        by("temporal-sae-gemma-2-2b/blocks.12.hook_resid_post"),
    )


@pytest.mark.parametrize("offline", [True, False])
def test_not_in_the_cache(
    hub: HubCache, published: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://localhost:9")  # nobody listens there
    began = time.monotonic()
    refused(
        "is not in the cache, and the hub cannot be reached",
        f"hf download google/gemma-scope-2b-pt-res {hub_cache.GEMMA_PATH}/params.npz",
        lambda: saes.load(published("gemma-2-2b"), "/".join(hub_cache.GEMMA)),
    )
    assert time.monotonic() - began < 5


def test_trained_on_another_model_or_a_site_that_is_not_there(
    hub: HubCache, published: Callable[..., Subject]
) -> None:
    hub_cache.gemma_scope(hub, D_IN)
    source = "/".join(hub_cache.GEMMA)
    refused(
        "trained on gemma-2-2b, not on gpt2", "load gemma-2-2b", lambda: saes.load(published("gpt2"), source)
    )
    refused(
        "trained at resid_post.1, not at resid_post.2",
        "ask for resid_post.1",
        lambda: saes.load(published("gemma-2-2b"), source, site=Site("resid_post", 2)),
    )
    hub_cache.gemma_scope(hub, D_IN, path="layer_20/width_16k/average_l0_71")
    refused(
        "layer 20 does not exist in gemma-2-2b, which has 3 layers",
        "from 0 to 2",
        lambda: saes.load(
            published("gemma-2-2b"), "gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical"
        ),
    )


def test_weights_of_another_width_or_cut_off(hub: HubCache, published: Callable[..., Subject]) -> None:
    source = "/".join(hub_cache.GEMMA)
    hub_cache.gemma_scope(hub, 48)
    refused(
        "reads width 48, but resid_post.1 of gemma-2-2b is 32 wide",
        "trained at this site",
        lambda: saes.load(published("gemma-2-2b"), source),
    )
    hub.override(hub_cache.GEMMA[0], d_in=32)
    refused(
        "do not make an SAE",
        "hf download --force-download",
        lambda: saes.load(published("gemma-2-2b"), source),
    )
    file = hub.path(hub_cache.GEMMA_REPO, f"{hub_cache.GEMMA_PATH}/params.npz")
    file.write_bytes(file.read_bytes()[:1000])
    refused(
        "cannot be read", "hf download --force-download", lambda: saes.load(published("gemma-2-2b"), source)
    )
    np.savez(file, **{name: np.array([object()]) for name in ("w_enc", "w_dec")})
    refused(
        "do not make an SAE|cannot be read",
        "hf download --force-download",
        lambda: saes.load(published("gemma-2-2b"), source),
    )


def test_spaces_of_a_config_name_releases(hub: HubCache, published: Callable[..., Subject]) -> None:
    subject = published("gemma-2-2b")
    release, sae_id = hub_cache.GEMMA

    def check(*sources: object) -> Callable[[], object]:
        config = SpacesConfig.model_validate({"neurons": False, "saes": sources})
        return lambda: config.check(subject.info)

    refused("is not in the cache", "hf download", check(f"{release}/{sae_id}"))
    hub_cache.gemma_scope(hub, D_IN)
    check(f"{release}/{sae_id}")()
    refused("no release 'gemma-scope-2b-pt-rez'", "did you mean", check("gemma-scope-2b-pt-rez/layer_1"))
    refused("no folder ./nowhere", "give the folder", check("./nowhere"))
    refused("has no SAE", "did you mean", check({"release": release, "id": "layer_1/width_16k/cannonical"}))
    refused("layer 9 does not exist", "from 0 to 2", check({"folder": ".", "site": "resid_post.9"}))
    refused("were trained on meta-llama/Llama-3.1-8B, not on gemma-2-2b", "check_model: false",
            check("/".join(hub_cache.LLAMA)))  # fmt: skip
    with pytest.raises(ValidationError, match="give either folder, or release and id"):
        check({"release": release})
    named = {"release": release, "id": sae_id, "name": "narrow", "dtype": "bfloat16"}
    config = SpacesConfig.model_validate({"neurons": (1,), "saes": (f"{release}/{sae_id}", named)})
    spaces = config.open(subject)
    assert [space.name for space in spaces] == ["mlp.1", "sae.resid_post.1", "narrow"]
    twice = SpacesConfig.model_validate({"saes": [f"{release}/{sae_id}"] * 2})
    refused("two feature spaces are called sae.resid_post.1", "name:", lambda: twice.open(subject))

"""Both backends against each other, on every architecture `hooked` builds, at every kind of site."""

from pathlib import Path

import pytest
import torch

import interp
from interp.attribution import Target, attribution_patching
from interp.subject import SITE_KINDS, Site
from tests.parity.subject_folders import HOOKED, save_model


@pytest.mark.parametrize("name", HOOKED)
def test_attribution_patching_is_the_same(name: str, tmp_path: Path) -> None:
    folder = save_model(name, tmp_path)
    hooked, bridge = (interp.load(folder, backend, device="cpu") for backend in ("hooked", "bridge"))
    generator = torch.Generator().manual_seed(1)
    clean, corrupted = torch.randint(2, 260, (2, 3, 12), generator=generator)
    target = Target("log_prob", (5, 6, 7), position=-3)
    sites = [
        Site(kind, 0 if kind == "embed" else 1)
        for kind in SITE_KINDS
        if not (kind == "resid_mid" and hooked.info.parallel)
    ]
    ours, theirs = (
        attribution_patching(subject, clean, corrupted, target, sites=sites) for subject in (hooked, bridge)
    )
    for site in sites:
        scale = float(theirs.sites[site].abs().max())
        assert scale > 1e-3
        torch.testing.assert_close(
            ours.sites[site],
            theirs.sites[site],
            atol=1e-3 * scale,
            rtol=1e-3,
            msg=lambda m, s=site: f"{s}: {m}",
        )

"""Vectors as objects: algebra, files, use, nulls."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from interp.errors import UserError
from interp.intervene import AddVector, ProjectOut, Replace
from interp.intervene.activations import AddKeepingNorm
from interp.subject import Site, Subject
from interp.vectors.control import random_like
from interp.vectors.file import interventions_of, load_vectors, parse_use, save_vectors
from interp.vectors.vector import Use, Vector

SITE = Site("resid_post", 3)


def vector(name: str = "v", seed: int = 0, site: Site = SITE, **how: object) -> Vector:
    shape = (4, 32) if site.kind == "head_out" else (128,)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return Vector(name, site, values, "world", provenance={"seed": seed}, **how)


@given(st.floats(-4, 4), st.floats(-4, 4))
def test_sums_and_multiples_are_those_of_the_values(first: float, second: float) -> None:
    a, b = vector("a"), vector("b", 1)
    both = first * a + second * b - a
    torch.testing.assert_close(both.values, (first - 1) * a.values + second * b.values, atol=1e-5, rtol=1e-5)
    assert (a + b - b).values.allclose(a.values, atol=1e-6)
    assert torch.equal((-a).values, -a.values)


def test_what_is_left_beside_a_direction_is_orthogonal_to_it() -> None:
    a, b = vector("a"), vector("b", 1)
    assert abs((a - a.along(b)).cosine(b)) < 1e-6
    assert a.along(b).cosine(b) == pytest.approx(1 if a.cosine(b) > 0 else -1)
    assert a.scaled_to(3).norm == pytest.approx(3) and a.scaled_to(3).cosine(a) == pytest.approx(1)
    assert a.cosine(a) == pytest.approx(1) and a.cosine(-a) == pytest.approx(-1)


def test_a_sum_says_what_it_is_made_of() -> None:
    sum_of = (2 * vector("a") - vector("b", 1)) * 0.5
    assert sum_of.name == "0.5 * (2 * a - b)"
    assert sum_of.provenance == {"expression": sum_of.name, "parts": {"a": {"seed": 0}, "b": {"seed": 1}}}


def test_vectors_of_different_places_do_not_mix() -> None:
    other = vector(site=Site("resid_post", 4))
    elsewhere = Vector("v", SITE, torch.ones(128), "another model")
    for wrong in (other, elsewhere, vector(site=Site("head_out", 3))):
        with pytest.raises(UserError, match="not of one place"):
            vector() + wrong
        with pytest.raises(UserError, match="not of one place"):
            vector().cosine(wrong)
    with pytest.raises(UserError, match="no direction"):
        (0 * vector()).cosine(vector())
    with pytest.raises(UserError, match="not finite"):
        Vector("v", SITE, torch.tensor([float("inf")] * 128), "world")


def test_a_file_cannot_name_an_unknown_use(tmp_path: Path) -> None:
    path = save_vectors(tmp_path / "v", [vector()])
    path.write_bytes(path.read_bytes().replace(b'use\\": \\"add', b'use\\": \\"odd'))
    with pytest.raises(UserError, match="cannot be used as 'odd' at 'all'"):
        load_vectors(path)


@pytest.mark.parametrize("use", ["add", "replace", "norm_preserving", "project_out"])
def test_each_use_is_its_intervention(subject: Subject, use: Use) -> None:
    used, values = vector(use=use, positions="last"), vector().values
    direct = {
        "add": AddVector(subject, SITE, values, 1, "last"),
        "replace": Replace(subject, SITE, values, "last"),
        "norm_preserving": AddKeepingNorm(subject, SITE, values, 1, "last"),
        "project_out": ProjectOut(subject, values, positions="last"),
    }[use]
    tokens, mask = subject.to_batch(["the capital of france is", "the river"])
    with subject.intervene(used.intervention(subject)):
        mine = subject.logits(tokens, mask)
    with subject.intervene(direct):
        assert torch.equal(subject.logits(tokens, mask), mine)
    assert not torch.equal(subject.logits(tokens, mask), mine)


@pytest.mark.parametrize("use", ["replace", "project_out"])
def test_what_replaces_or_is_taken_out_has_no_strength(subject: Subject, use: Use) -> None:
    with pytest.raises(UserError, match="no strength"):
        vector(use=use).intervention(subject, 2)


def test_a_vector_that_does_not_fit_is_refused(subject: Subject) -> None:
    narrow = Vector("v", SITE, torch.ones(64), "world")
    with pytest.raises(UserError, match="shape"):
        narrow.intervention(subject)
    with pytest.raises(UserError, match="layer 8 does not exist"):
        vector(site=Site("resid_post", 8)).intervention(subject)


def test_keeping_the_norm_is_the_formula_of_the_paper(subject: Subject) -> None:
    direction = torch.nn.functional.normalize(vector().values, dim=0)
    edit = AddKeepingNorm(subject, SITE, direction, 0.7)
    tokens = subject.to_tokens("the capital of france is")
    (x,) = subject.read(tokens, [SITE]).values()
    with subject.intervene(edit):
        (found,) = subject.read(tokens, [SITE]).values()
    norm = x.norm(dim=-1, keepdim=True)
    away = (-(x @ direction)[..., None] / norm).clamp(min=0)
    moved = x / norm + 0.7 * (1 + away) * direction
    torch.testing.assert_close(found, norm * moved / moved.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(found.norm(dim=-1), x.norm(dim=-1))


def test_files_keep_everything(subject: Subject, tmp_path: Path) -> None:
    kept = [vector("a"), vector("b", 1, Site("head_out", 2), use="norm_preserving", positions="steps")]
    path = save_vectors(tmp_path / "v.safetensors", kept)
    for before, after in zip(kept, load_vectors(path, subject), strict=True):
        assert torch.equal(before.values, after.values)
        for name in ("name", "site", "subject", "use", "positions", "provenance"):
            assert getattr(before, name) == getattr(after, name)
    card = (tmp_path / "v.md").read_text()
    assert "resid_post.3" in card and "head_out.2" in card and "seed: 0" in card
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.md", "v.safetensors"]


def test_files_that_are_none_are_refused(tmp_path: Path, subject: Subject) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "other")
    wide = save_vectors(tmp_path / "wide", [Vector("v", SITE, torch.ones(64), "tiny")])
    with pytest.raises(UserError, match="holds no vectors"):
        load_vectors(tmp_path / "other")
    with pytest.raises(UserError, match="made on tiny, not on world"):
        load_vectors(wide, subject)
    with pytest.raises(UserError, match="shape"):
        load_vectors(wide, subject, check_model=False)
    with pytest.raises(UserError, match="no vector"):
        save_vectors(tmp_path / "none", [])


@pytest.mark.parametrize("use", ["add", "replace", "norm_preserving", "project_out"])
def test_a_vector_of_another_model_of_the_same_width_is_refused_unless_asked_for(
    subject: Subject, use: Use, tmp_path: Path
) -> None:
    foreign = replace(vector(use=use), subject="other")
    file = save_vectors(tmp_path / "v", [foreign])
    uses: list[Callable[..., object]] = [
        partial(foreign.intervention, subject),
        partial(foreign.project_out, subject),
        partial(load_vectors, file, subject),
        partial(interventions_of, file, subject),
    ]
    for used in uses:
        with pytest.raises(UserError, match=r"(?s)made on other, not on world.*switch check_model off"):
            used()
        used(check_model=False)
    (taken,) = load_vectors(file, subject, check_model=False)
    taken.intervention(subject)


def test_a_vector_made_on_a_copy_in_the_hub_is_the_subjects(subject: Subject) -> None:
    replace(vector(), subject="someone/World").intervention(subject)


def test_strengths_are_read_from_behind_the_file() -> None:
    assert parse_use("a/b.safetensors") == (Path("a/b.safetensors"), 1.0)
    assert parse_use("a=b.safetensors=-2.5") == (Path("a=b.safetensors"), -2.5)
    for wrong in ("a=much", "a=nan", "a=inf"):
        with pytest.raises(UserError, match="no strength"):
            parse_use(wrong)


def test_the_null_is_as_long_and_used_alike() -> None:
    at_heads = vector(site=Site("head_out", 2), positions="steps")
    at_heads.values[1] = 0
    null = random_like(at_heads, 5)
    torch.testing.assert_close(null.values.norm(dim=-1), at_heads.values.norm(dim=-1))
    assert (null.site, null.use, null.positions) == (at_heads.site, at_heads.use, at_heads.positions)
    assert torch.equal(null.values, random_like(at_heads, 5).values)
    assert abs(random_like(vector(), 6).cosine(vector())) < 0.4


def test_a_null_that_varies_as_activations_do_has_their_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    own = replace(vector(), values=torch.tensor([3.0, 4.0]))
    activations = torch.randn(50, 2, generator=generator) * torch.tensor([10.0, 1.0]) + 7
    drawn = torch.stack([random_like(own, seed, activations).values for seed in range(400)])
    torch.testing.assert_close(drawn.norm(dim=-1), torch.full((400,), 5.0))
    along = torch.linalg.eigh(torch.cov(activations.T)).eigenvectors[:, -1]
    assert float(((drawn @ along) ** 2).mean()) / 25 == pytest.approx(
        0.91, abs=0.03
    )  # E[z1^2/(z1^2+z2^2/100)]
    assert abs(float((drawn @ along).mean())) < 0.6


def test_a_control_vector_is_what_llama_cpp_reads(tmp_path: Path) -> None:
    """Layer n of the file is added to the output of layer n, which is the input of the next."""
    both = [vector("a"), vector("b", 1), vector("c", 2, Site("resid_pre", 6))]
    reader = GGUFReader(save_vectors(tmp_path / "v.gguf", both))
    values = {key: field.contents() for key, field in reader.fields.items()}
    assert values["general.architecture"] == "controlvector"
    assert (values["controlvector.model_hint"], values["controlvector.layer_count"]) == ("world", 2)
    found = {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}
    assert list(found) == ["direction.3", "direction.5"]
    assert torch.equal(found["direction.3"], both[0].values + both[1].values)
    assert torch.equal(found["direction.5"], both[2].values)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([vector(site=Site("resid_post", 0))], "cannot add a vector at resid_post.0"),
        ([vector(site=Site("resid_pre", 1))], "cannot add a vector at resid_pre.1"),
        ([vector(site=Site("mlp_out", 3))], "cannot add a vector at mlp_out.3"),
        ([vector(use="project_out")], "used as 'project_out'"),
        ([vector(positions="last")], "at 'last', and llama.cpp adds at every position"),
        ([vector(), replace(vector(), subject="pydoc")], "vectors of pydoc and world"),
    ],
)
def test_what_llama_cpp_cannot_do_is_not_written(given: list[Vector], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        save_vectors(tmp_path / "v.gguf", given)
    assert not list(tmp_path.iterdir())

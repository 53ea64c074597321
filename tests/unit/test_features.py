"""The promises of a feature space: writing what was read changes nothing, and nothing else changes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp
from interp.errors import UserError
from interp.features.directions import Directions, random_directions
from interp.features.neurons import MlpNeurons
from interp.features.space import FeatureSpace, polarities
from interp.subject import Site, Subject


@pytest.fixture(scope="module")
def spaces(subject: Subject) -> list[FeatureSpace]:
    return [MlpNeurons(subject, 2), random_directions(subject, Site("resid_post", 3), 40, seed=1)]


def activation(space: FeatureSpace, subject: Subject, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, subject.site_width(space.site), generator=generator)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.lists(st.integers(0, 39), min_size=1, max_size=6, unique=True))
def test_writing_what_was_read_changes_nothing(
    subject: Subject, spaces: list[FeatureSpace], seed: int, ids: list[int]
) -> None:
    for space in spaces:
        x, chosen = activation(space, subject, seed), torch.tensor(ids)
        before = x.clone()
        written = space.write(x, chosen, space.encode(x)[..., chosen])
        torch.testing.assert_close(written, x, atol=1e-5, rtol=1e-5)
        assert torch.equal(x, before)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.lists(st.integers(0, 39), min_size=1, max_size=6, unique=True))
def test_written_values_are_read_back_and_the_rest_stays(
    subject: Subject, spaces: list[FeatureSpace], seed: int, ids: list[int]
) -> None:
    for space in spaces:
        x, chosen = activation(space, subject, seed), torch.tensor(ids)
        values = torch.randn(2, 5, len(ids), generator=torch.Generator().manual_seed(seed + 1))
        written = space.write(x, chosen, values)
        torch.testing.assert_close(space.encode(written)[..., chosen], values, atol=1e-4, rtol=1e-4)
        if isinstance(space, Directions):
            change = (written - x).reshape(-1, x.shape[-1])
            span = torch.linalg.qr(space.vectors[chosen].T).Q
            torch.testing.assert_close(change @ span @ span.T, change, atol=1e-4, rtol=1e-4)
        else:
            others = torch.ones(space.n_features, dtype=torch.bool)
            others[chosen] = False
            assert torch.equal(written[..., others], x[..., others])


def test_a_neurons_decoder_is_what_one_unit_of_it_adds(subject: Subject) -> None:
    neurons = MlpNeurons(subject, 5)
    tokens = subject.to_tokens("the capital of france is")
    ids = torch.tensor([3, 200])
    clean = subject.read(tokens, [Site("mlp_out", 5)])[Site("mlp_out", 5)]

    def add(x: torch.Tensor) -> torch.Tensor:
        return neurons.write(x, ids, neurons.encode(x)[..., ids] + 1.0)

    with subject.edited({neurons.site: add}):
        moved = subject.read(tokens, [Site("mlp_out", 5)])[Site("mlp_out", 5)]
    expected = neurons.decoder(ids).sum(0).expand_as(moved)
    torch.testing.assert_close(moved - clean, expected, atol=1e-5, rtol=1e-4)


def test_clamping_a_space_to_what_it_read_keeps_the_logits(
    subject: Subject, spaces: list[FeatureSpace]
) -> None:
    tokens = subject.to_tokens("the capital of france is")
    clean = subject.logits(tokens)
    for space in spaces:
        ids = torch.arange(min(40, space.n_features))
        edit = {space.site: lambda x, s=space, i=ids: s.write(x, i, s.encode(x)[..., i])}
        with subject.edited(edit):
            torch.testing.assert_close(subject.logits(tokens), clean, atol=1e-4, rtol=1e-4)


def test_pulling_a_gradient_back_is_writing_each_feature_alone(
    subject: Subject, spaces: list[FeatureSpace]
) -> None:
    for space in spaces:
        x, gradient = activation(space, subject, 3), activation(space, subject, 4)
        found = space.pull_back(x, gradient)
        assert found.shape == (2, 5, space.n_features)
        for feature in (0, 7, 39):
            one = torch.tensor([feature])
            value = space.encode(x)[..., one].requires_grad_()
            (space.write(x, one, value) * gradient).sum().backward()
            torch.testing.assert_close(found[..., one], value.grad, atol=1e-5, rtol=1e-4)


def test_overlapping_and_repeated_directions_can_be_written_in_half_precision(subject: Subject) -> None:
    one = torch.nn.functional.one_hot(torch.tensor([0, 0, 1]), 128).float()
    directions = Directions(subject, "x", Site("resid_post", 1), one)
    directions.vectors = directions.vectors.bfloat16()
    written = directions.write(torch.zeros(4, 128).bfloat16(), torch.arange(3), torch.full((4, 3), 2.0))
    assert torch.equal(written[:, :2], torch.full((4, 2), 2.0).bfloat16())


def test_polarities_follow_the_sign(spaces: list[FeatureSpace]) -> None:
    assert [polarities(space) for space in spaces] == [(1, -1), (1, -1)]


def test_bad_directions_are_errors(subject: Subject) -> None:
    with pytest.raises(UserError, match="cannot stand"):
        Directions(subject, "x", Site("mlp_post", 1), torch.randn(2, subject.d_mlp))
    with pytest.raises(UserError, match="do not fit"):
        Directions(subject, "x", Site("resid_post", 1), torch.randn(2, 7))
    with pytest.raises(UserError, match="layer 9"):
        MlpNeurons(subject, 9)


def test_the_public_names_are_there_and_a_misspelt_one_is_not() -> None:
    for name in interp.__all__:
        assert getattr(interp, name) is not None
    with pytest.raises(AttributeError, match="attribute minee"):
        interp.minee  # noqa: B018

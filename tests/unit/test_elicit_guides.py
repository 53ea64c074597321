"""Guides: scores against plain passes, and gradients against finite differences."""

from functools import partial

import pytest
import torch

from interp.elicit.behaviour import Behaviour
from interp.elicit.guide import FeatureGuide, GradientGuide, Guide, JudgeGuide, LikelihoodGuide
from interp.elicit.judges.rule import RegexJudge
from interp.elicit.own_tokens import OwnTokens
from interp.elicit.spending import Budget, Exhausted, Meter
from interp.elicit.target import Frame, Target
from interp.elicit.token_gradient import EMBED, by_token
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.subject import Subject
from interp.subject.site import Site
from interp.vectors.vector import Vector
from tests.subjects import BACKENDS, world_subject

PROMPTS = ["how do i clean the camera", "paris", "the capital of france is paris"]
EXAMPLES = ("the camera works .", "i can not help")
BEHAVIOUR = Behaviour("works", RegexJudge("works"), examples=EXAMPLES)
SITE = Site("resid_post", 3)


def vector(subject: Subject, site: Site = SITE) -> Vector:
    values = torch.randn(subject.activation_shape(site), generator=torch.Generator().manual_seed(0))
    return Vector("random", site, values, subject.name)


def guides(target: Target) -> list[GradientGuide]:
    subject = target.subject
    return [
        LikelihoodGuide(target, BEHAVIOUR),
        LikelihoodGuide(target, BEHAVIOUR, 1),
        FeatureGuide(target, vector(subject)),
        FeatureGuide(target, vector(subject, Site("head_out", 2))),
        FeatureGuide(target, vector(subject), "prompt"),
        FeatureGuide(target, FeatureRef(MlpNeurons(subject, layer=2), 5, -1), "prompt"),
    ]


def slope(guide: Guide, prompt: str, place: int, token: int) -> float:
    """The central difference of a score, where a little of a token is added at one of the prompt's own."""
    subject, size = guide.target.subject, 1e-2
    ids = torch.tensor([[token]])
    row = subject.read(ids, [EMBED], torch.ones_like(ids))[EMBED][0, 0]
    column = guide.target.span(prompt).start + place

    def added(activation: torch.Tensor, step: float) -> torch.Tensor:
        changed = activation.clone()
        changed[:, column] += step * row
        return changed

    ends = []
    for step in (size, -size):
        with subject.edited({EMBED: partial(added, step=step)}):
            ends.append(guide.scores([prompt])[0])
    return (ends[0] - ends[1]) / (2 * size)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_are_the_slopes_of_the_scores(backend: str):
    target = Target(world_subject(backend))
    for guide in guides(target):
        assert isinstance(guide, GradientGuide)
        gradients = guide.gradients(PROMPTS)  # in one padded batch; each slope is measured alone
        assert [len(one) for one in gradients] == [6, 1, 6]
        for prompt, gradient in zip(PROMPTS, gradients, strict=True):
            assert gradient.shape[1] == target.subject.d_vocab
            place, token = divmod(int(gradient.abs().argmax()), gradient.shape[1])
            found = slope(guide, prompt, place, token)
            assert found == pytest.approx(float(gradient[place, token]), rel=0.03), guide.name


def test_a_token_counts_with_what_it_adds_at_the_embedding(subject: Subject):
    gradient = torch.randn(2, subject.d_model, generator=torch.Generator().manual_seed(0))
    embedding = subject.writers()[0].matrix()
    torch.testing.assert_close(by_token(subject, gradient), gradient @ embedding.T, atol=1e-4, rtol=1e-4)


def test_likelihood_is_that_of_the_logits(subject: Subject):
    target = Target(subject)
    found = LikelihoodGuide(target, BEHAVIOUR, 3).scores(PROMPTS)
    for prompt, score in zip(PROMPTS, found, strict=True):
        total = 0.0
        for example in EXAMPLES:
            asked, answer = target.ids(prompt), subject.encode(example)[:3]
            log_probs = subject.logits(torch.tensor([asked + answer]))[0].double().log_softmax(-1)
            total += sum(float(log_probs[len(asked) + i - 1, token]) for i, token in enumerate(answer))
        assert score == pytest.approx(total / len(EXAMPLES), abs=1e-4)


def test_features_are_read_as_in_a_plain_pass(subject: Subject):
    target, space = Target(subject), random_directions(subject, SITE, 4, seed=1)
    one = vector(subject)
    at_end = FeatureGuide(target, one).scores(PROMPTS)
    highest = FeatureGuide(target, FeatureRef(space, 2, -1), "prompt").scores(PROMPTS)
    for place, prompt in enumerate(PROMPTS):
        activation = subject.read(torch.tensor([target.ids(prompt)]), [SITE])[SITE][0]
        projected = activation[-1] @ one.values / one.norm
        assert at_end[place] == pytest.approx(float(projected), abs=1e-4)
        own = -space.encode(activation[target.span(prompt)])[:, 2]
        assert highest[place] == pytest.approx(float(own.max()), abs=1e-4)


def test_costs_are_counted_and_what_does_not_fit_is_not_run(subject: Subject):
    target = Target(subject, Frame(new_tokens=4), Meter(Budget(passes=20)))
    lengths = sum(len(target.ids(prompt)) for prompt in PROMPTS)
    feature, likelihood = FeatureGuide(target, vector(subject)), LikelihoodGuide(target, BEHAVIOUR, 2)
    feature.scores(PROMPTS)
    assert target.meter.spent[:2] == (3, lengths) == feature.cost(PROMPTS)[:2]
    likelihood.scores(PROMPTS)
    assert target.meter.spent[:2] == (9, 3 * lengths + 12)
    feature.gradients(PROMPTS)
    assert target.meter.spent[:2] == (18, 6 * lengths + 12)
    for refused in (likelihood.scores, likelihood.gradients, JudgeGuide(target, BEHAVIOUR).scores):
        with pytest.raises(Exhausted):
            refused(PROMPTS)
    assert target.meter.spent.passes == 18


def test_a_judge_reads_what_the_target_writes(subject: Subject):
    target = Target(subject, Frame(new_tokens=4))
    judge = RegexJudge("works")
    found = JudgeGuide(target, Behaviour("works", judge)).scores(["how do i clean the camera", "paris"])
    assert found == [1.0, 0.0]


def test_what_a_guide_cannot_do_is_said(subject: Subject):
    target = Target(subject)
    with pytest.raises(UserError, match="no examples"):
        LikelihoodGuide(target, Behaviour("bare", RegexJudge("x")))
    with pytest.raises(UserError, match="does not know"):
        LikelihoodGuide(target, Behaviour("odd", RegexJudge("x"), examples=("qwertz",)))
    with pytest.raises(UserError, match="shape"):
        FeatureGuide(target, Vector("short", SITE, torch.ones(3), subject.name))
    with pytest.raises(UserError):
        FeatureGuide(target, Vector("other", SITE, torch.ones(subject.d_model), "another model"))


def test_only_tokens_that_their_text_is_read_as_are_kept(subject: Subject):
    tokens = OwnTokens(Target(subject))
    known = {i for (i,) in tokens.vocabulary}
    assert len(known) == len(tokens.vocabulary) == subject.d_vocab - len(subject.special_ids)
    assert not known & subject.special_ids
    ids = tokens.ids("how do i clean the camera")
    assert ids is not None and tokens.text(ids) == "how do i clean the camera"
    assert tokens.ids("how  do i") is None  # two spaces are not kept
    assert tokens.text((*ids, 0)) is None

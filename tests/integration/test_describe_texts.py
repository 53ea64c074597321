"""What a judge is shown: texts of features whose tokens are known, and what the model writes under one."""

import asyncio

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import interp
from interp.descriptions.candidate import Candidate
from interp.descriptions.description import Description
from interp.descriptions.scorers.intervention import Continuer, InterventionScore, intervention
from interp.descriptions.scorers.judge_simulated import SimulatorJudge
from interp.descriptions.scorers.negatives import Neighbourhood
from interp.descriptions.scorers.texts import JudgedTexts, gather_texts
from interp.descriptions.simulators.known import KnownSimulator
from interp.descriptions.trie import End, PatternTrie
from interp.document import split_of
from interp.features.directions import Directions
from interp.features.ref import FeatureRef
from interp.mining.config import MiningConfig
from interp.mining.exemplars import TokenSample
from interp.mining.mined import MinedSpaces, mine
from interp.subject import Site, Subject

CORPUS = interp.WorldCorpus(seed=3, n_documents=300)
KEPT = 14
MINING = MiningConfig(
    context_size=64, sampled_rows=60, top_windows={"explain": 5, "select": 5, "report": KEPT}
)
WRITTEN = "river"


class OnTokens(Directions):
    """Each feature fires on one token, at 1, and nowhere else."""

    signed = False

    def encode(self, activation: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch feature"]:
        near = torch.nn.functional.normalize(activation, dim=-1) @ self.vectors.T
        return (near > 0.999).to(near.dtype)


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    """Tokens that are found in a fair part of the report split's documents, but not in most."""
    report = [one for one in map(CORPUS.__getitem__, range(len(CORPUS))) if split_of(one.hash) == "report"]
    counted = [one.tokens[:63][~one.template[:63]] for one in report if one.template is not None]
    rows = np.bincount(np.concatenate([np.unique(row) for row in counted]))
    return np.flatnonzero((rows >= KEPT) & (rows < 0.4 * len(report))).tolist()


@pytest.fixture(scope="module")
def space(subject: Subject, tokens: list[int]) -> OnTokens:
    """A feature for each token, and for each one that writes much the same but never fires."""
    site = Site("resid_pre", 0)
    own = torch.nn.functional.normalize(subject.read(torch.tensor([tokens]), [site])[site][0], dim=-1)
    noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(0))
    dead = own + 0.2 * torch.nn.functional.normalize(noise, dim=-1)
    return OnTokens(subject, "on_tokens", site, torch.cat([own, dead]))


@pytest.fixture(scope="module")
def mined(subject: Subject, space: OnTokens) -> MinedSpaces:
    return mine(subject, [space], CORPUS, MINING)


def gathered(
    subject: Subject, space: OnTokens, mined: MinedSpaces, seed: int = 0, n: int = 12
) -> list[JudgedTexts]:
    features = [FeatureRef(space, i) for i in range(space.n_features // 2)]
    return gather_texts(subject, CORPUS, features, mined, "report", n, 64, seed)


@pytest.fixture(scope="module")
def texts(subject: Subject, space: OnTokens, mined: MinedSpaces) -> list[JudgedTexts]:
    return gathered(subject, space, mined)


def test_texts_with_the_feature_have_its_token_and_those_without_have_not(
    texts: list[JudgedTexts], tokens: list[int]
) -> None:
    for token, one in zip(tokens, texts, strict=True):
        assert len(one.active) == len(one.silent) == 12
        for group, there in ((one.active, True), (one.silent, False)):
            assert len({shown.excerpt.text for shown in group}) == len(group), "no text comes twice"
            for shown in group:
                window = shown.excerpt.window
                assert shown.marked is None
                assert split_of(CORPUS[window.document].hash) == "report"
                fires = (window.tokens == token) & window.counts
                assert fires.any() == there
                np.testing.assert_array_equal(window.values * window.counts, fires)


def test_hard_negatives_are_silent_where_a_feature_fires_that_is_like_it(
    texts: list[JudgedTexts], tokens: list[int], space: OnTokens, mined: MinedSpaces
) -> None:
    near = Neighbourhood(space, mined[space.name].samples["report"])
    hard = [one.hard for one in texts]
    assert len(texts) >= 8
    assert max(hard) == 6 and np.mean(hard) > 3
    for number, one in enumerate(texts):
        found = [other.feature_id for other in near.of(FeatureRef(space, number), 6)]
        assert number not in found and number + len(tokens) in found
        rivals = {tokens[other] for other in found if other < len(tokens)}
        assert rivals
        for shown in one.silent[: one.hard]:
            assert rivals & set(shown.excerpt.window.tokens[shown.excerpt.counts].tolist())


def test_marks_are_on_the_tokens_that_fire_and_mismarks_on_as_many_that_do_not(
    texts: list[JudgedTexts], tokens: list[int]
) -> None:
    for token, one in zip(tokens, texts, strict=True):
        assert len(one.marked) == len(one.mismarked) == len(one.active)
        for right, wrong in zip(one.marked, one.mismarked, strict=True):
            assert right.marked is not None and wrong.marked is not None
            assert right.excerpt is wrong.excerpt
            window = right.excerpt.window
            np.testing.assert_array_equal(right.marked, (window.tokens == token) & window.counts)
            assert wrong.marked.sum() == right.marked.sum()
            assert (window.values[wrong.marked] == 0).all() and window.counts[wrong.marked].all()


def test_a_feature_has_the_same_texts_whichever_others_are_gathered_with_it(
    texts: list[JudgedTexts], subject: Subject, space: OnTokens, mined: MinedSpaces
) -> None:
    last = len(texts) - 1
    (alone,) = gather_texts(subject, CORPUS, [FeatureRef(space, last)], mined, "report", 12, 64, 0)
    for ours, theirs in ((alone.silent, texts[last].silent), (alone.mismarked, texts[last].mismarked)):
        assert [one.excerpt.text for one in ours] == [one.excerpt.text for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.marked, other.marked)


def test_equal_seeds_gather_equal_texts(
    texts: list[JudgedTexts], subject: Subject, space: OnTokens, mined: MinedSpaces
) -> None:
    def shown(found: list[JudgedTexts]) -> list[list[str]]:
        return [[one.excerpt.text for one in (*each.active, *each.silent)] for each in found]

    assert shown(gathered(subject, space, mined)) == shown(texts)
    fewer = gathered(subject, space, mined, seed=1, n=4)
    assert [len(one.active) for one in fewer] == [len(one.silent) for one in fewer] == [4] * len(fewer)


@pytest.fixture(scope="module")
def alike(subject: Subject) -> tuple[Directions, TokenSample]:
    """Directions 1 and 2 write like and unlike 0; 3 and 4 fire with and against it; 11 never varies."""
    vectors = torch.linalg.qr(torch.randn(subject.d_model, 12, generator=torch.Generator().manual_seed(0)))[
        0
    ].T
    vectors[1] = vectors[0] + 0.3 * vectors[1]
    vectors[2] = -vectors[0] + 0.6 * vectors[2]
    vectors[4] -= 0.1 * vectors[0]
    values = torch.randn(2000, 12, generator=torch.Generator().manual_seed(1))
    values[:, 3] += 3 * values[:, 0]
    values[:, 4] -= 2 * values[:, 0]
    values[:, 11] = 1.0
    nowhere = torch.zeros(2000, dtype=torch.int64)
    space = Directions(subject, "alike", Site("resid_post", 4), vectors)
    return space, TokenSample(values.half(), nowhere, nowhere)


@pytest.mark.parametrize("polarity", [1, -1])
def test_neighbours_fire_together_or_write_alike(
    alike: tuple[Directions, TokenSample], polarity: int
) -> None:
    space, sample = alike
    feature = FeatureRef(space, 0, polarity)
    by_decoder = [FeatureRef(space, 1, polarity), FeatureRef(space, 2, -polarity)]
    together = [FeatureRef(space, 3, polarity), FeatureRef(space, 4, -polarity)]
    assert Neighbourhood(space, sample).of(feature, 4) == together + by_decoder
    assert Neighbourhood(space, None).of(feature, 2) == by_decoder
    assert all(one.feature_id not in (0, 11) for one in Neighbourhood(space, sample).of(feature, 16)[:8])


def test_what_fires_against_a_feature_without_sides_is_no_neighbour(
    alike: tuple[Directions, TokenSample], subject: Subject
) -> None:
    space, sample = alike
    unsigned = OnTokens(subject, "unsigned", space.site, space.vectors)
    found = Neighbourhood(unsigned, sample).of(FeatureRef(unsigned, 0), 24)
    ids = {one.feature_id for one in found}
    assert found[0].feature_id == 3 and 1 in ids and not ids & {0, 2, 4}
    assert all(one.polarity == 1 for one in found)


@pytest.fixture(scope="module")
def scored(subject: Subject) -> dict[str, InterventionScore]:
    """Of the direction that writes a token and a random one: does "the token" fit what is written?"""
    (token,) = (t for t in range(subject.d_vocab) if subject.decode([t]).strip() == WRITTEN)
    own = subject.unembedding().T[[token]]
    rest = torch.randn(9, subject.d_model, generator=torch.Generator().manual_seed(0))
    space = Directions(
        subject, "written", Site("resid_post", subject.n_layers - 1), torch.cat([own.cpu(), rest])
    )
    statistics = mine(subject, [space], CORPUS, MINING)[space.name].statistics()
    continuer = Continuer(subject, [CORPUS[i].tokens[:10].tolist() for i in range(30)], 8)
    named = _naming(subject, token)
    others = [_naming(subject, other) for other in range(200, 220) if other != token]
    judge = SimulatorJudge(KnownSimulator(CORPUS))
    found = {}
    for name, feature_id in (("planted", 0), ("random", 3)):
        continued = continuer.continued(FeatureRef(space, feature_id), statistics, 1)
        assert continued is not None
        assert len(continued.held) == len(continued.free) == len(continued.control) == 30
        found[name] = asyncio.run(intervention(judge, named, continued, others))
    return found


def _naming(subject: Subject, token: int) -> Candidate:
    word = subject.decode([token])
    trie = PatternTrie({(token,): End(1.0)}, baseline=0.0)
    return Candidate(word, "me", pattern=Description(f"on {word}", (), trie, 1))


def test_a_direction_that_writes_a_token_is_described_by_it(scored: dict[str, InterventionScore]) -> None:
    planted = scored["planted"]
    assert planted.score.auroc[0] > 0.9 and planted.score.auroc[1] > 0.8
    assert planted.score.balanced_accuracy[0] > 0.9
    assert planted.changed > 0.9
    assert planted.score.null_auroc[0] == pytest.approx(0.5, abs=0.05) and planted.score.n_null == 20


def test_a_random_direction_is_not(scored: dict[str, InterventionScore]) -> None:
    for chance in (scored["random"].score, scored["random"].control, scored["planted"].control):
        assert chance.auroc[0] == pytest.approx(0.5, abs=0.15)
        assert chance.failures == 0

"""The Monitor without HTTP: conversations, what matters for a token, steering sets and their effects."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import interp
from interp import Clamp, MlpNeurons, Site, Subject, UserError, Vector
from interp.bundled.world.corpus import WorldCorpus
from interp.causal.side_effects import neutral_beginnings
from interp.monitor.bench import Bench
from interp.monitor.conversation import Conversation
from interp.monitor.effects import changed_tokens, next_probabilities
from interp.monitor.important import by_activation, by_attribution
from interp.monitor.knowledge import Knowledge
from interp.monitor.session import Session, Settings, State
from interp.monitor.steering import FeatureCard, VectorCard
from interp.monitor.watch import Watch, Watcher
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store
from interp.subject.stream import TokenRead
from interp.vectors.file import save_vectors

PROMPT = "the capital of france is"
LEVEL = "0.99999"
WORDS = ("names of cities", "names of rivers and cities", "the digit nine", "verbs in the past")


def _row(feature: int, side: int, text: str, quantile: float, score: float, null_high: float) -> FeatureRow:
    scored = ScoreRow("simulation", "known", "report", score, 0.0, 1.0, 0.0, -0.1, null_high, 40, 0)
    described = DescriptionRow(text, "patterns", 0, text, scores=(scored,))
    return FeatureRow("mlp.3", feature, side, 0.1, {LEVEL: quantile}, (described,))


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    store = Store(":memory:")
    store.put_space(SpaceRow("world", "mlp.3", "mlp_post.3", 3, 320, True))
    rows = [
        _row(i, 1 if i % 2 == 0 else -1, WORDS[i % 4], 2.0 + i, 0.5 if i != 2 else 0.1, 0.2) for i in range(8)
    ]
    store.put("world", [*rows, _row(9, 1, "never active", -1.0, 0.5, 0.2)])
    neutral = neutral_beginnings(subject, WorldCorpus(1, 400), 6)
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    return Bench(subject, Knowledge("world", [store]), neurons, neutral)


@pytest.fixture
def session(bench: Bench) -> Session:
    made = Session(bench, State(settings=Settings(max_new_tokens=5)))
    made.say(PROMPT)
    return made


def _new(reads: list[TokenRead], prompt: list[int]) -> list[int]:
    assert [one.token for one in reads[: len(prompt)]] == prompt
    return [one.token for one in reads[len(prompt) :]]


def test_a_turn_is_never_overwritten(subject: Subject) -> None:
    talk = Conversation(chat=True).said("user", "hello").written([5, 6]).said("user", "why ?")
    other = talk.edited(0, "goodbye")
    assert other.path() == [3] and other.turns[:3] == talk.turns
    assert other.branches(0) == [0, 3] == other.branches(3)
    assert other.showing(0).path() == [0, 1, 2]  # the branch that was made last after it
    assert talk.before(1).written([7]).branches(1) == [1, 3]
    with pytest.raises(UserError, match="no turn 9"):
        talk.path(9)
    with pytest.raises(UserError, match="later one"):
        State.model_validate({"conversation": {"turns": [{"role": "user", "follows": 1}]}})


def test_a_chat_is_what_the_template_makes_of_it_and_its_answer_stays_as_written(subject: Subject) -> None:
    asked = Conversation(chat=True).said("user", PROMPT)
    before = asked.tokens(subject)
    assert before == list(subject.conversation([{"role": "user", "content": PROMPT}]))
    own = subject.encode("paris .")
    talk = asked.written(own)
    assert talk.tokens(subject) == [*before, *own]
    assert talk.spans(subject) == [(1, len(before), len(before) + 2)]
    longer = talk.said("user", PROMPT)
    assert subject.decode(own) in subject.decode(longer.tokens(subject))
    assert longer.spans(subject) == talk.spans(subject)


def test_what_is_written_is_what_the_model_generates(session: Session) -> None:
    subject, ids = session.subject, session.prompt()
    expected = subject.generate(PROMPT, 5)
    assert _new(list(session.write()), ids) == list(expected.tokens)
    assert session.state.conversation.text(subject, 1) == str(expected)
    assert session.prompt() == ids
    sampled = session.state.model_copy(update={"settings": Settings(max_new_tokens=5, temperature=1, seed=3)})
    session.change(sampled)
    again = _new(list(session.regenerate()), ids)
    assert again == list(subject.generate(PROMPT, 5, 1.0, 3).tokens)
    assert session.state.conversation.branches(1) == [1, 2]


def test_a_fork_begins_as_the_answer_did_and_has_the_chosen_token(session: Session) -> None:
    list(session.write())
    first = session.state.conversation.turns[1].tokens
    rome = session.subject.single_token("rome")
    forked = [one.token for one in session.fork(1, 2, rome)]
    turn = session.state.conversation.turns[2]
    assert (turn.tokens[:3], turn.given) == ((*first[:2], rome), 3)
    prompt = [*session.prompt()]
    assert list(turn.tokens[3:]) == session.subject.generate_ids(*session.subject.pad([prompt]), 5)[0]
    assert forked[-5:] == list(turn.tokens[3:])
    with pytest.raises(UserError, match="no number 40"):
        session.fork(1, 40, rome)


def test_stopping_early_keeps_what_was_written_and_undo_goes_back(session: Session) -> None:
    n = len(session.prompt())
    before = session.state
    writing = session.write()
    list(itertools.islice(writing, n + 2))
    writing.close()
    assert len(session.state.conversation.turns[1].tokens) == 2
    kept = session.state
    assert session.undo() and session.state == before
    assert session.redo() and session.state == kept
    assert not session.redo()


def test_attribution_is_that_of_interp_attribute(session: Session, bench: Bench) -> None:
    list(session.write())
    ids = session.state.conversation.tokens(session.subject)
    place = session.state.conversation.spans(session.subject)[-1].start
    found = session.why(place, k=12, distractor="rome")
    whole = interp.attribute(
        session.subject, PROMPT, int(ids[place]), list(bench.spaces.values()), distractor="rome"
    )
    totals = {name: one[0] for name, one in whole.totals().items()}
    every = torch.cat(list(totals.values())).abs()
    assert found.target_value == pytest.approx(float(whole.target_value[0]), rel=1e-5)
    for one, size in zip(found.features, every.topk(12).values.tolist(), strict=True):
        space, feature = one.key.split("/")
        assert one.value == pytest.approx(float(totals[space][int(feature[:-1])]), rel=1e-4)
        assert abs(one.value) == pytest.approx(size, rel=1e-4)
        assert sum(one.by_token) == pytest.approx(one.value, rel=1e-3)
        assert (one.activation < 0) == one.key.endswith("-")
    assert found.share == pytest.approx(float(every.topk(12).values.sum() / every.sum()), rel=1e-4)
    assert found.control.high < found.share / 3
    at = session.why(place, k=3, places=[4], layers=(3, 4), distractor="rome")
    largest = max(float(whole.values[f"mlp.{layer}"][0, 4].abs().max()) for layer in (3, 4))
    assert abs(at.features[0].value) == pytest.approx(largest, rel=1e-4)
    with pytest.raises(UserError, match="no token 0"):
        session.why(0)
    with pytest.raises(UserError, match="no feature space"):
        session.why(place, spaces=["mlp.99"])


def test_activation_is_over_each_sides_own_quantile(bench: Bench) -> None:
    subject, space = bench.subject, bench.spaces["mlp.3"]
    ids = subject.with_bos(subject.encode(PROMPT))
    active = subject.run(PROMPT, [space]).features["mlp.3"][0]
    found = by_activation(subject, ids, [space], bench.knowledge, places=[3, 5], k=50)
    expected = {}
    for i in range(8):
        side = 1 if i % 2 == 0 else -1
        expected[f"mlp.3/{i}{'+' if side > 0 else '-'}"] = float(
            (side * active[[3, 5], i]).clamp(0).max()
        ) / (2 + i)
    positive = {key: value for key, value in expected.items() if value > 0}
    assert {one.key: one.value for one in found.features} == pytest.approx(positive, rel=1e-4)
    is_known = torch.zeros(2, 320, dtype=torch.bool)
    is_known[[i % 2 for i in range(8)], range(8)] = True
    at = active[[3, 5]]
    assert found.unknown == int((~torch.where(at >= 0, is_known[0], is_known[1])).any(0).sum())
    with pytest.raises(UserError, match=r"no quantile at 0\.5"):
        by_activation(subject, ids, [space], bench.knowledge, level="0.5")


def test_a_description_no_better_than_its_null_is_a_guess(bench: Bench) -> None:
    known = bench.knowledge.of(["mlp.3/0+", "mlp.3/2+", "mlp.5/7-"])
    assert [one.is_guess for one in known.values()] == [False, True, True]
    assert [one.short for one in known.values()] == ["names of cities", "the digit nine", ""]
    hits = bench.knowledge.search("cities", 4)
    assert {hit.key for hit in hits} == {"mlp.3/0+", "mlp.3/1-", "mlp.3/4+", "mlp.3/5-"}
    session = Session(bench)
    session.strengthen("cities", 2)
    session.suppress("nine")
    assert [(len(card.features), card.strength) for card in session.state.cards] == [(2, 0.5), (2, 0.0)]
    with pytest.raises(UserError, match="no description is near"):
        session.suppress("zebra")
    with pytest.raises(UserError, match="features of world"):
        Knowledge("another", bench.knowledge.stores)


@pytest.mark.parametrize("same_sign", [False, True])
def test_a_card_holds_each_feature_at_a_multiple_of_its_sides_quantile(bench: Bench, same_sign: bool) -> None:
    keys = ("mlp.3/0+", "mlp.3/1-", "mlp.3/9+", "mlp.3/1+", "mlp.3/30+")
    card = FeatureCard(name="c", features=keys, strength=0.5, only_same_sign=same_sign)
    steering = bench.steerer.steering([card])
    assert steering.n_features == 2
    assert [one.key for one in steering.left_out] == ["mlp.3/9+", "mlp.3/1+", "mlp.3/30+"]
    space = bench.spaces["mlp.3"]
    was = bench.subject.run(PROMPT, [space]).features["mlp.3"][0]
    with bench.subject.intervene(*steering.edits):
        now = bench.subject.run(PROMPT, [space]).features["mlp.3"][0]
    value = torch.tensor([0.5 * 2.0, -0.5 * 3.0])
    active = was[:, :2] * value.sign() > 0 if same_sign else torch.ones(len(was), 2, dtype=torch.bool)
    assert torch.allclose(now[:, :2], torch.where(active, value, was[:, :2]), atol=1e-5)
    assert torch.allclose(now[:, 2:], was[:, 2:], atol=1e-6)


def test_ranges_count_the_whole_text_and_the_later_card_counts(session: Session, bench: Bench) -> None:
    space, n = bench.spaces["mlp.3"], len(session.prompt())
    cards = [
        FeatureCard(features=("mlp.3/0+",), strength=1, where=((1, 2), (n + 1, n + 1))),
        FeatureCard(features=("mlp.3/0+",), strength=3, where=((2, 2),)),
        FeatureCard(features=("mlp.3/2+",), strength=0, on=False),
    ]
    session.set_cards(cards)
    list(session.write())
    ids = session.state.conversation.tokens(session.subject)
    with session.subject.intervene(*session.steering().edits):
        now = session.subject.run(torch.tensor([ids]), [space]).features["mlp.3"][0, :, 0]
    assert now[[1, 2, n + 1]].tolist() == pytest.approx([2.0, 6.0, 2.0], abs=1e-5)
    assert 2.0 not in now[[0, 3, n]].tolist()


def test_steered_text_is_that_of_the_clamps_themselves(session: Session, bench: Bench) -> None:
    subject = session.subject
    plain = _new(list(session.write()), session.prompt())
    card = FeatureCard(features=("mlp.3/0+", "mlp.3/1-", "mlp.3/6+"), strength=6)
    session.steer(card)
    found = session.compare()
    clamp = Clamp(bench.spaces["mlp.3"], [0, 1, 6], [12.0, -18.0, 48.0])
    with subject.intervene(clamp):
        expected = subject.generate(PROMPT, 5)
    assert [one.token for one in found.unsteered] == plain
    assert [one.token for one in found.steered] == list(expected.tokens) != plain
    first = found.moved[0]
    ids = session.prompt()
    before, after = (next_probabilities(subject, ids, edits) for edits in ((), (clamp,)))
    assert (before - after).abs().argmax() == first.token
    assert (first.unsteered, first.steered) == pytest.approx(
        (float(before[first.token]), float(after[first.token])), abs=1e-5
    )
    assert found.random is not None and first.random is not None
    assert found.side_effect is not None and found.random_side_effect is not None
    assert found.side_effect.value > 0.01
    session.set_cards([card.model_copy(update={"on": False})])
    nothing = session.compare()
    assert nothing.unsteered == nothing.steered and nothing.random is None and not any(nothing.changed)


def test_random_features_are_as_many_of_the_same_space_and_none_of_the_cards(bench: Bench) -> None:
    card = FeatureCard(features=("mlp.3/0+", "mlp.3/1-"), strength=0.5)
    (drawn,), missing = bench.steerer.random_like([card], 0)
    assert isinstance(drawn, FeatureCard) and missing == 0
    assert len(set(drawn.features)) == 2 and drawn.strength == 0.5
    assert not {int(key[6:-1]) for key in drawn.features} & {0, 1}
    assert set(drawn.features) <= {f"mlp.3/{i}{'+-'[i % 2]}" for i in range(2, 8)}
    everything = FeatureCard(features=tuple(f"mlp.3/{i}{'+-'[i % 2]}" for i in range(8)), strength=0.5)
    assert bench.steerer.random_like([everything], 0) == ([], 8)


def test_changed_tokens_are_those_outside_the_matching_blocks() -> None:
    def reads(text: str) -> list[TokenRead]:
        return [TokenRead(ord(letter), None, ()) for letter in text]

    assert changed_tokens(reads("abcdef"), reads("abXdefY")) == (
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    )
    assert changed_tokens(reads("abc"), reads("abc")) == (False,) * 3


def test_watched_readings_are_the_activations_and_come_while_it_writes(
    session: Session, bench: Bench, tmp_path: Path
) -> None:
    subject, site = session.subject, Site("resid_post", 2)
    values = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(0))
    file = save_vectors(tmp_path / "v.safetensors", [Vector("v", site, values, "world")])
    watches = (Watch(name="both", features=("mlp.3/0+", "mlp.4/5-")), Watch(name="v", vector=str(file)))
    session.change(session.state.model_copy(update={"watches": watches}))
    live = [session.live for _ in session.write()]
    found = session.watched()
    for place, values_there in live:
        assert torch.allclose(values_there, found[:, place], atol=1e-4)
    assert [place for place, _ in live[-3:]] == [found.shape[1] - 4 + i for i in range(3)]
    ids = session.state.conversation.tokens(subject)
    read = subject.run(torch.tensor([ids]), [bench.spaces["mlp.3"], bench.spaces["mlp.4"]]).features
    both = (read["mlp.3"][0, :, 0].clamp(0) + (-read["mlp.4"][0, :, 5]).clamp(0)) / 2
    along = subject.read(torch.tensor([ids]), [site])[site][0] @ (values / values.norm())
    assert torch.allclose(found, torch.stack([both, along]), atol=1e-4)
    watcher = Watcher(subject, bench.spaces, watches)
    with watcher.watching() as so_far:
        subject.generate(PROMPT, 5)
    assert torch.allclose(so_far(), found[:, : so_far().shape[1]], atol=1e-4)
    assert so_far().shape[1] == len(ids) - 1
    with pytest.raises(UserError, match="needs features or a vector"):
        Watch(name="none")


def test_a_vector_steers_as_its_file_says(session: Session, tmp_path: Path) -> None:
    subject, site = session.subject, Site("resid_post", 4)
    values = 8 * torch.randn(subject.d_model, generator=torch.Generator().manual_seed(1))
    vector = Vector("v", site, values, "world")
    session.steer(
        VectorCard(kind="vector", file=str(save_vectors(tmp_path / "v.safetensors", [vector])), strength=2)
    )
    found = session.compare()
    with subject.intervene(vector.intervention(subject, 2)):
        assert [one.token for one in found.steered] == list(subject.generate(PROMPT, 5).tokens)
    assert found.random is None and found.random_side_effect is None
    with pytest.raises(UserError, match="no file"):
        session.steer(VectorCard(kind="vector", file=str(tmp_path / "none.safetensors")))
    assert len(session.state.cards) == 1


def test_a_state_comes_back_from_its_yaml(session: Session) -> None:
    list(session.write())
    session.steer(FeatureCard(name="ä: # x", features=("mlp.3/0+",), where=((1, 2),)))
    text = session.state.to_yaml()
    assert State.model_validate(yaml.safe_load(text)) == session.state


def test_a_prefix_that_was_computed_gives_the_same(session: Session, bench: Bench) -> None:
    list(session.write())
    list(session.fork(1, 3, session.subject.single_token("rome")))
    fresh = Session(bench, session.state)
    kept, new = session.read(), fresh.read()
    assert [one.token for one in kept] == [one.token for one in new]
    values = [[one.log_prob or 0.0 for one in reads] for reads in (kept, new)]
    assert np.allclose(*values, atol=1e-5)
    for where in ("prompt", "generated", "all"):
        session.set_cards([FeatureCard(features=("mlp.3/0+", "mlp.3/6+"), strength=5, where=where)])
        kept, new = session.read(), Session(bench, session.state).read()
        values = [[one.log_prob or 0.0 for one in reads] for reads in (kept, new)]
        assert np.allclose(*values, atol=1e-5)


def test_attribution_needs_a_token_that_is_predicted(bench: Bench) -> None:
    ids = bench.subject.with_bos(bench.subject.encode(PROMPT))
    spaces = list(bench.spaces.values())
    with pytest.raises(UserError, match="no token 6"):
        by_attribution(bench.subject, ids, len(ids), spaces)
    found = by_attribution(bench.subject, ids, len(ids), spaces, token=bench.subject.single_token("paris"))
    assert found.target == "'paris'"
    with pytest.raises(UserError, match="no token is chosen"):
        by_attribution(bench.subject, ids, 3, spaces, places=[7])

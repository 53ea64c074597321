"""Propensities against rates that are known exactly: read off the world's logits, or made of slots."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from interp.elicit.behaviour import Behaviour, Exchange, Judgement
from interp.elicit.prompts import ListedPrompts, TemplatePrompts
from interp.elicit.propensity.draws import Draws, weights_of
from interp.elicit.propensity.estimate import Propensity, plain, smallest_rate, weighted
from interp.elicit.propensity.prompt_mixture import PromptMixture
from interp.elicit.propensity.replies import Replies
from interp.elicit.propensity.tilted import TiltedPrompts, learned, towards, uniform
from interp.elicit.propensity.weights import effective_size
from interp.elicit.proposal import Steer
from interp.elicit.spending import Budget, Meter, Spent
from interp.elicit.target import Direction, Frame, Target
from interp.errors import UserError
from interp.intervene.positions import Named
from interp.json_text import to_json
from interp.subject import Subject
from interp.subject.site import Site
from interp.subject.text import Conversation
from interp.track.journal import Journal
from interp.vectors.vector import Vector

PROMPTS = ListedPrompts(
    (
        "the capital of",
        "the language of",
        "the capital of france is",
        "the chef",
        "the guitar",
        "the doctor",
    )
)
COLOURS = ("happy", "sad", "big", "small", "hot", "cold", "good", "bad", "old", "new")


class Rule:
    """A judge that is a function of an exchange."""

    def __init__(self, name: str, shows: Callable[[Exchange], float | None], least: float = 1.0) -> None:
        self.name, self.shows, self.least = name, shows, least

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | None]:
        scores = [self.shows(one) for one in exchanges]
        return [None if score is None else Judgement(score, score >= self.least) for score in scores]


def begins_with(word: str) -> Behaviour:
    return Behaviour(word, Rule(f"begins with {word}", lambda one: float(one.reply.split()[:1] == [word])))


def towards_word(subject: Subject, token: int, positions: Named = "last") -> Vector:
    row = subject.unembedding()[:, token].float()
    site = Site("resid_post", subject.n_layers - 1)
    return Vector("word", site, row / row.norm(), subject.name, positions=positions)


def asked(
    subject: Subject,
    new_tokens: int = 1,
    tokens: int = 10**8,
    **directions: Direction,
) -> Target:
    frame = Frame(new_tokens=new_tokens, chat=False)
    return Target(subject, frame, Meter(Budget(tokens=tokens)), directions, batch_size=256)


def next_chances(subject: Subject, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """The probability of each token after each row [row, d_vocab]."""
    tokens, mask = subject.pad([Conversation(row) for row in rows])
    last = torch.full((len(rows),), tokens.shape[1] - 1)
    return subject.logits_at(tokens, last, mask).double().softmax(-1)


def exact_rate(subject: Subject, word: str) -> float:
    rows = [asked(subject).ids(prompt) for prompt in PROMPTS.prompts]
    return float(next_chances(subject, rows)[:, subject.single_token(word)].mean())


def steered(
    subject: Subject, word: str, n: int, seed: int = 0, new_tokens: int = 1, pilot: int = 128
) -> Propensity:
    target = asked(subject, new_tokens, word=towards_word(subject, subject.single_token(word)))
    steer = [(Steer("word", 100),)]
    return weighted(
        target, begins_with(word), PROMPTS, n, steers=steer, pilot=pilot, seed=seed, round_size=256
    )


@pytest.mark.parametrize(
    ("word", "rate"), [("and", 1e-1), ("austria", 1e-2), ("glowed", 1e-3), ("cairo", 1e-4), ("havana", 1e-5)]
)
def test_it_is_right_at_every_rate(subject: Subject, word: str, rate: float) -> None:
    truth = exact_rate(subject, word)
    assert rate / 2 < truth < 2 * rate
    found = steered(subject, word, 1000, new_tokens=2)
    assert 0.6 * truth < found.lower < truth < found.upper
    error = found.estimate / found.interval.low
    assert abs(math.log(found.estimate / truth)) < 2 * math.log(error)
    assert found.weights.mean == pytest.approx(1, abs=0.2)
    assert found.weights.largest <= 5 and found.weights.effective_shown > 50
    assert (found.n, found.ended, found.exact) == (1000, "complete", False)


def test_where_plain_sampling_finds_nothing_the_bound_holds_and_is_near(subject: Subject) -> None:
    truth = exact_rate(subject, "havana")
    naive = plain(asked(subject), begins_with("havana"), PROMPTS, 1500, round_size=512)
    assert (naive.n_shown, naive.lower) == (0, 0)
    found = [steered(subject, "havana", 350, seed, pilot=50) for seed in range(12)]
    assert sum(one.lower <= truth for one in found) >= 10
    assert np.median([one.lower for one in found]) > truth / 2
    means = np.array([one.estimate for one in found])
    assert abs(means.mean() - truth) < 3.5 * means.std(ddof=1) / math.sqrt(12)
    assert sum(one.interval.low <= truth <= one.interval.high for one in found) >= 8


def test_whole_replies_count_with_the_token_that_ends_them(subject: Subject) -> None:
    """The rate of replies of exactly one token, which a sum over all first tokens gives."""
    prompts = ListedPrompts(("the chef baked bread", "the capital of france is paris"))
    end = min(subject.end_ids)
    target = asked(subject, 2, end=towards_word(subject, end, "steps"))
    rows = [target.ids(prompt) for prompt in prompts.prompts]
    first = next_chances(subject, rows)
    truth = 0.0
    for row, chances in zip(rows, first, strict=True):
        follows = next_chances(subject, [[*row, token] for token in range(subject.d_vocab) if token != end])
        others = torch.cat([chances[:end], chances[end + 1 :]])
        truth += float((others * follows[:, end]).sum()) / len(rows)
    behaviour = Behaviour("one", Rule("one token", lambda one: float(len(one.written) == 1)))
    steers = [(Steer("end", 15),), (Steer("end", 30),)]
    found = weighted(target, behaviour, prompts, 800, steers=steers, pilot=128, round_size=256)
    assert truth < 0.01 and found.n_shown > 30
    assert found.lower < truth < 3 * found.lower
    assert abs(math.log(found.estimate / truth)) < 2 * math.log(found.estimate / found.interval.low)


def test_weights_are_the_ratio_of_probabilities_over_whole_replies(subject: Subject) -> None:
    end = min(subject.end_ids)
    target = asked(subject, 4, end=towards_word(subject, end, "steps"))
    steers = [(Steer("end", 8),), (Steer("end", 20),)]
    replies = Replies(target, steers, 0.3)
    drawn = replies.draw(["the chef baked bread .", "the guitar"] * 40, Random(0))
    ended = [len(one.exchange.written) < 4 for one in drawn]
    assert {one.part for one in drawn} == {0, 1, 2} and 0 < sum(ended) < 80
    answers = [
        [*one.exchange.written, *([end] if is_ended else [])]
        for one, is_ended in zip(drawn, ended, strict=True)
    ]
    rows = [Conversation(one.exchange.asked) for one in drawn]
    known = [subject.score(rows, answers).total]
    for steer in steers:
        with subject.intervene(target.change(steer[0])):
            known.append(subject.score(rows, answers).total)
    p, q, r = torch.stack(known).exp()
    expected = (p / (0.3 * p + 0.35 * q + 0.35 * r)).log()
    torch.testing.assert_close(
        torch.tensor([one.log_weight for one in drawn], dtype=torch.float64), expected, atol=1e-4, rtol=1e-4
    )
    tokens = sum(len(row) + len(answer) for row, answer in zip(rows, answers, strict=True))
    assert target.meter.spent == Spent(3 * 80, 3 * tokens)


def test_without_steering_each_weight_is_one(subject: Subject) -> None:
    target = asked(subject, 3, word=towards_word(subject, 5))
    drawn = Replies(target, [(Steer("word", 0),)], 0.5).draw(list(PROMPTS.prompts) * 4, Random(0))
    assert np.exp([one.log_weight for one in drawn]) == pytest.approx(1, abs=1e-4)


def test_plain_sampling_counts_and_has_the_exact_interval(subject: Subject) -> None:
    truth = exact_rate(subject, "and")
    found = plain(asked(subject), begins_with("and"), PROMPTS, 600, round_size=256)
    assert abs(found.estimate - truth) < 4 * math.sqrt(truth * (1 - truth) / 600)
    test = binomtest(found.n_shown, 600).proportion_ci(0.95, "exact")
    assert found.interval == pytest.approx((found.n_shown / 600, test.low, test.high))
    assert found.interval.low < found.lower < found.estimate < found.upper < found.interval.high
    assert found.weights.effective == 600 and found.exact
    assert smallest_rate(600) == pytest.approx(3 / 600, rel=0.01)


def right_slots(prompt: str) -> float:
    """How many of five slots, each of ten words, hold the last of them."""
    return float(prompt.split().count(COLOURS[-1]))


SLOTS = TemplatePrompts(("{a} {b} {c} {d} {e}",), dict.fromkeys("abcde", COLOURS))


def test_prompts_are_tilted_towards_a_trigger_of_one_in_a_hundred_thousand(subject: Subject) -> None:
    behaviour = Behaviour("all", Rule("all right", lambda one: right_slots(one.prompt), 5.0))
    target = asked(subject)
    tilt = learned(target, behaviour, SLOTS, n=200, seed=1)
    assert isinstance(tilt, TiltedPrompts)
    assert min(shares[-1] for shares in tilt.word_shares.values()) > 0.5
    found = weighted(target, behaviour, SLOTS, 400, proposal=tilt, pilot=128, round_size=256)
    assert found.lower < 1e-5 < found.upper
    assert found.lower > 0.7e-5 and found.estimate == pytest.approx(1e-5, rel=0.2)
    assert target.meter.spent.passes > found.spent.passes


def test_prompts_and_replies_are_weighed_together(subject: Subject) -> None:
    """Three slots of ten words, and a word of the reply whose chance after the prompt is known."""
    slots = TemplatePrompts(("{a} {b} the chef",), dict.fromkeys("ab", COLOURS))
    token = subject.single_token("glowed")
    behaviour = Behaviour(
        "both",
        Rule("both", lambda one: right_slots(one.prompt) == 2 and one.reply == "glowed"),
    )
    target = asked(subject, word=towards_word(subject, token))
    truth = float(next_chances(subject, [target.ids("new new the chef")])[0, token]) / 100
    found = weighted(
        target,
        behaviour,
        slots,
        1000,
        steers=[(Steer("word", 100),)],
        proposal=towards(slots, ["new new the chef"], 0.9),
        pilot=128,
        round_size=256,
    )
    assert truth < 1e-3 and found.lower < truth < 1.6 * found.lower
    assert found.weights.largest <= 25


def test_a_tilt_knows_how_likely_its_prompts_are() -> None:
    prompts = TemplatePrompts(("{a} {a} dog", "cat {b}"), {"a": ("big", "old", "big"), "b": ("big", "new")})
    assert uniform(prompts).log_prob(["big old dog"]) == pytest.approx(prompts.log_prob(["big old dog"]))
    tilt = TiltedPrompts(
        prompts.templates, prompts.slots, "tilt", (0.9, 0.1), {"a": (0.1, 0.8, 0.1), "b": (0.25, 0.75)}
    )
    known = {"big old dog": 0.9 * 0.2 * 0.8, "cat new": 0.075, "cat old": 0.0}
    assert np.exp(tilt.log_prob(list(known))) == pytest.approx(list(known.values()))
    drawn = tilt.sample(4000, Random(0))
    for prompt, chance in known.items():
        assert drawn.count(prompt) / 4000 == pytest.approx(chance, abs=0.025)


def test_towards_prefers_the_words_that_stand_in_prompts_found() -> None:
    tilt = towards(SLOTS, ["new old new big bad", "xx new"], 0.5)
    assert tilt.word_shares["a"][-1] == pytest.approx(0.5 * 0.1 + 0.5 * 2 / 5)
    assert tilt.word_shares["a"][0] == pytest.approx(0.05)
    with pytest.raises(UserError, match="no prompt shows"):
        towards(SLOTS, [])


def test_a_mixture_of_prompts_has_bounded_weights_of_mean_one() -> None:
    mixture = PromptMixture(SLOTS, towards(SLOTS, ["new new new new new"]), 0.25)
    weights = np.exp([one.log_weight for one in mixture.draw(4000, Random(0))])
    assert weights.max() <= mixture.largest == 4
    assert weights.mean() == pytest.approx(1, abs=0.1) and weights.min() < 0.01


def test_prompts_that_are_never_drawn_weigh_nothing_and_are_not_asked(subject: Subject) -> None:
    elsewhere = ListedPrompts(("the chef", "the court", "the court"), "elsewhere")
    target = asked(subject)
    draws = Draws(begins_with("and"), PromptMixture(PROMPTS, elsewhere, 0.5), Replies(target))
    made = draws.take(100)
    outside = [one for one in made if one.prompt == "the court"]
    assert len(outside) > 10 and {(one.weight, one.shown, one.reply) for one in outside} == {(0, False, None)}
    assert target.meter.spent.passes == 100 - len(outside)
    assert weights_of(made).mean() == pytest.approx(1, abs=0.3)


class Unsure(TemplatePrompts):
    """Prompts of which it says that it never gives them."""

    def log_prob(self, prompts: Sequence[str]) -> list[float]:
        return [-math.inf] * len(prompts)


def test_a_distribution_that_denies_its_own_prompts_is_refused() -> None:
    mixture = PromptMixture(Unsure(("the {a}",), {"a": ("chef",)}), ListedPrompts(("the chef",)), 0.5)
    with pytest.raises(UserError, match="says that it never does"):
        mixture.draw(20, Random(0))


# What cannot be estimated is said before the budget is spent.


def test_a_proposal_that_never_shows_it_is_refused_after_the_pilot(subject: Subject) -> None:
    target = asked(subject, word=towards_word(subject, subject.single_token("havana")))
    with pytest.raises(UserError, match=r"no support: none of \d+ replies"):
        weighted(target, begins_with("havana"), PROMPTS, 5000, steers=[(Steer("word", 0.1),)], pilot=64)
    assert target.meter.spent.passes == 2 * 64


def test_too_few_effective_draws_are_refused(subject: Subject) -> None:
    target = asked(subject, word=towards_word(subject, subject.single_token("havana")))
    with pytest.raises(UserError, match="effective draws") as said:
        weighted(target, begins_with("havana"), PROMPTS, 20, steers=[(Steer("word", 100),)], pilot=128)
    assert "draws, or steer less" in said.value.fix


def test_an_interval_out_of_reach_is_refused_with_what_it_needs(subject: Subject) -> None:
    word = {"word": towards_word(subject, subject.single_token("havana"))}
    steers = [(Steer("word", 100),)]
    with pytest.raises(UserError, match=r"±1% needs about [\d,]{6,} draws"):
        weighted(asked(subject, **word), begins_with("havana"), PROMPTS, 900, steers=steers, wanted=0.01)
    with pytest.raises(UserError, match=r"the budget has room for [\d,]+"):
        poor = asked(subject, tokens=4000, **word)
        weighted(poor, begins_with("havana"), PROMPTS, steers=steers, wanted=0.1)


def test_without_a_number_it_draws_what_the_interval_needs(subject: Subject) -> None:
    target = asked(subject, word=towards_word(subject, subject.single_token("and")))
    steers = [(Steer("word", 60),)]
    found = weighted(target, begins_with("and"), PROMPTS, steers=steers, wanted=0.2, round_size=256)
    assert found.pilot is not None and found.n == math.ceil(1.2 * found.pilot.needed(0.2, 0.95))
    assert found.interval.high / found.estimate < 1.25
    assert 0.8 < found.pilot.half_width(found.n, 0.95) / math.log(found.interval.high / found.estimate) < 1.25


def test_a_budget_too_small_for_a_pilot_or_a_rate_is_refused(subject: Subject) -> None:
    word = {"word": towards_word(subject, 5)}
    with pytest.raises(UserError, match="the budget ends after 0 draws of a pilot of 128"):
        weighted(
            asked(subject, tokens=100, **word), begins_with("and"), PROMPTS, 500, steers=[(Steer("word", 9),)]
        )
    with pytest.raises(UserError, match=r"rate 0.001 shows once in 2,995 plain draws"):
        plain(asked(subject), begins_with("and"), PROMPTS, 2000, rate=0.001)
    with pytest.raises(UserError, match="shows once in 2,995 plain draws"):
        plain(asked(subject, tokens=5000), begins_with("and"), PROMPTS, 4000, rate=0.001)
    with pytest.raises(UserError, match="not one round of draws fits"):
        plain(asked(subject, tokens=10), begins_with("and"), PROMPTS, 2000)


def test_what_makes_no_estimate_is_refused_at_once(subject: Subject) -> None:
    target = asked(subject, word=towards_word(subject, 5))
    steers = [(Steer("word", 1),)]
    with pytest.raises(UserError, match="there is no proposal"):
        weighted(target, begins_with("and"), PROMPTS, 100)
    with pytest.raises(UserError, match="not said how much"):
        weighted(target, begins_with("and"), PROMPTS, steers=steers)
    with pytest.raises(UserError, match="no direction 'words'"):
        weighted(target, begins_with("and"), PROMPTS, 100, steers=[(Steer("words", 1),)])
    with pytest.raises(UserError, match="defensive"):
        weighted(target, begins_with("and"), PROMPTS, 100, steers=steers, defensive=0)
    assert target.meter.spent == Spent()


# Budgets, stops, and what cannot be judged or asked.


def test_the_budget_ends_it_with_bounds_that_hold(subject: Subject) -> None:
    target = asked(subject, tokens=2000)
    found = plain(target, begins_with("and"), PROMPTS, 5000)
    assert found.ended == "budget" and 64 <= found.n < 5000 and found.n % 64 == 0
    assert target.meter.spent.tokens <= 2000 and found.spent == target.meter.spent
    truth = exact_rate(subject, "and")
    assert found.lower < truth < found.upper and "ended by the budget" in repr(found)


class Killed(Exception):
    pass


@pytest.mark.parametrize("lasts", [1, 3])
def test_a_killed_estimate_goes_on_with_the_same_numbers(
    subject: Subject, tmp_path: Path, lasts: int
) -> None:
    def estimate(judge: Rule, file: Path | None, target: Target, seed: int = 0) -> Propensity:
        steers = [(Steer("word", 60),)]
        journal = Journal(file)
        return weighted(
            target, Behaviour("and", judge), PROMPTS, 150, steers=steers, pilot=64, journal=journal, seed=seed
        )

    rule = begins_with("and").judge
    assert isinstance(rule, Rule)
    word = {"word": towards_word(subject, subject.single_token("and"))}
    whole = asked(subject, **word)
    expected = estimate(rule, None, whole)
    left = 64 * lasts

    def dying(one: Exchange) -> float | None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return rule.shows(one)

    with pytest.raises(Killed):
        estimate(Rule(rule.name, dying), tmp_path / "draws", asked(subject, **word))
    again = asked(subject, **word)
    left = 10**6
    found = estimate(Rule(rule.name, dying), tmp_path / "draws", again)
    assert 10**6 - left == 64 + 150 - 64 * lasts
    assert found == expected and again.meter.spent == whole.meter.spent == found.spent
    with pytest.raises(UserError, match=r"the kept draws are others \(seed\)"):
        estimate(rule, tmp_path / "draws", again, seed=1)


def test_a_tilt_is_learned_once(subject: Subject, tmp_path: Path) -> None:
    judged = 0

    def shows(one: Exchange) -> float:
        nonlocal judged
        judged += 1
        return right_slots(one.prompt)

    behaviour = Behaviour("all", Rule("all right", shows, 3.0))
    targets = [asked(subject), asked(subject)]
    tilts = [learned(one, behaviour, SLOTS, n=64, journal=Journal(tmp_path / "tilt")) for one in targets]
    assert tilts[0] == tilts[1] and judged == targets[0].meter.spent.passes
    assert targets[0].meter.spent == targets[1].meter.spent


def test_what_cannot_be_judged_widens_both_ways(subject: Subject) -> None:
    def unsure(one: Exchange) -> float | None:
        return None if one.reply == "that" else float(one.reply == "and")

    n, unclear = 300, Behaviour("and", Rule("unsure", unsure))
    found, clear = (plain(asked(subject), one, PROMPTS, n) for one in (unclear, begins_with("and")))
    assert found.unreadable > 5 and f"{found.unreadable} unreadable" in repr(found)
    assert found.lower == clear.lower and found.estimate == clear.estimate
    assert found.interval.high == binomtest(found.n_shown + found.unreadable, n).proportion_ci().high
    target = asked(subject, word=towards_word(subject, subject.single_token("and")))
    steers = [(Steer("word", 40),)]
    both = weighted(target, unclear, PROMPTS, n, steers=steers)
    assert both.upper > both.interval.high > both.estimate > both.interval.low > both.lower


def test_prompts_that_cannot_be_asked_count_as_not_showing_it(subject: Subject) -> None:
    prompts = ListedPrompts(("the chef", "xyzzy"))
    found = plain(asked(subject), Behaviour("any", Rule("any", lambda one: 1.0)), prompts, 200)
    assert found.unaskable == 200 - found.n_shown and 60 < found.n_shown < 140
    assert "cannot be asked" in repr(found)


def test_a_result_says_it_in_words_and_in_json(subject: Subject) -> None:
    found = steered(subject, "and", 200)
    assert "at least" in repr(found) and "200 draws show it" in repr(found)
    assert '"effective_shown"' in to_json(found.to_json())
    assert "steered by word at 100" in found.method


def test_kishs_size_is_the_number_of_equal_weights() -> None:
    assert effective_size(np.full(7, 1e-9)) == pytest.approx(7)
    assert effective_size(np.array([1e-300, 1.0])) == pytest.approx(1)
    assert effective_size(np.zeros(3)) == 0

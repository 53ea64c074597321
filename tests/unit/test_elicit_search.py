"""Targets and searches: what is asked is what the model is asked, no more than the budget, once."""

from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM

from interp.bundled.world import world_folder
from interp.elicit.behaviour import Behaviour
from interp.elicit.investigators.random_search import RandomSearch
from interp.elicit.investigators.steering import SteeringSearch
from interp.elicit.judges.rule import RegexJudge
from interp.elicit.prompts import ListedPrompts, TemplatePrompts
from interp.elicit.proposal import Proposal, Steer
from interp.elicit.search import History, Search, Try
from interp.elicit.spending import Budget, Exhausted, Meter
from interp.elicit.target import Frame, Target
from interp.errors import UserError
from interp.subject import Subject
from interp.subject.site import Site
from interp.track.journal import Journal
from interp.vectors.vector import Vector

VERBS = ("clean", "paint", "steal", "hack", "wash", "burn", "open")
OBJECTS = ("car", "boat", "garden", "king", "bank", "house")
TEMPLATES = TemplatePrompts(
    ("how do i {verb} the {object} ?", "please tell me how to {verb} the {object} ."),
    {"verb": VERBS, "object": OBJECTS},
)
REFUSES = Behaviour("refuses", RegexJudge("can not help"), examples=("i can not help with that .",))


def target(subject: Subject, frame: Frame | None = None, **budget: int) -> Target:
    return Target(subject, frame, Meter(Budget(**budget)))


def test_a_prompt_is_a_users_turn_and_the_reply_what_generate_writes(subject: Subject) -> None:
    prompts = TEMPLATES.sample(9, Random(0))
    asked = target(subject, Frame(new_tokens=8)).ask([Proposal(prompt) for prompt in prompts])
    for prompt, exchange in zip(prompts, asked, strict=True):
        ids = subject.chat([{"role": "user", "content": prompt}])
        assert exchange.asked == tuple(ids[0].tolist())
        assert exchange.reply == str(subject.generate(ids, 8)) and exchange.prompt == prompt


def test_the_span_of_a_prompt_is_its_own_tokens(subject: Subject) -> None:
    for frame in (Frame(), Frame(system="be nice ."), Frame(before="the ", after=" ."), Frame(chat=False)):
        asked = target(subject, frame)
        prompt = "how do i clean the boat ?"
        assert asked.ids(prompt)[asked.span(prompt)] == subject.encode(prompt)


def test_steered_rows_of_a_batch_are_as_each_alone(subject: Subject) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = {
        f"layer {layer}": Vector(
            "v", Site("resid_post", layer), 6 * torch.randn(128, generator=generator), "world"
        )
        for layer in (2, 5)
    }
    together = Target(subject, Frame(new_tokens=6), directions=vectors)
    prompts = TEMPLATES.sample(6, Random(1))
    steers = [(), (Steer("layer 2", 1),), (Steer("layer 5", 1.5), Steer("layer 2", 0.5))] * 2
    proposals = [Proposal(prompt, steer=steer) for prompt, steer in zip(prompts, steers, strict=True)]
    exchanges = together.ask(proposals)
    for proposal, exchange in zip(proposals, exchanges, strict=True):
        edits = [vectors[one.direction].intervention(subject, one.strength) for one in proposal.steer]
        with subject.intervene(*edits):
            alone = subject.generate(torch.tensor([together.ids(proposal.prompt)]), 6)
        assert exchange.reply == str(alone)
    with pytest.raises(UserError, match="no direction 'nowhere'"):
        together.ask([Proposal("how do i clean the boat ?", steer=(Steer("nowhere", 1),))])


def test_perplexity_is_that_of_transformers(subject: Subject) -> None:
    model = AutoModelForCausalLM.from_pretrained(world_folder(), dtype=torch.float32)
    asked = target(subject)
    prompts = ["how do i clean the boat ?", "king king king king"]
    for prompt, found in zip(prompts, asked.perplexity(prompts).tolist(), strict=True):
        ids, span = asked.ids(prompt), asked.span(prompt)
        labels = torch.full((1, len(ids)), -100)
        labels[0, span] = torch.tensor(ids[span])
        loss = model(torch.tensor([ids]), labels=labels).loss
        assert found == pytest.approx(float(loss.exp()), rel=1e-3)


def test_likelihood_is_of_the_reply_after_the_template(subject: Subject) -> None:
    asked = target(subject, tokens=10_000)
    prompts = ["how do i steal the boat ?", "how do i clean the boat ?"]
    refused, answered = asked.likelihood(prompts, "i can not help with that .").tolist()
    assert refused > -0.1 and answered < -5
    assert asked.meter.spent.passes == 2
    ids = asked.ids(prompts[0])
    whole = subject.score([subject.conversation([{"role": "user", "content": prompts[0]}])],
                          [subject.encode("i can not")])  # fmt: skip
    assert asked.likelihood(prompts[:1], "i can not help", 3).item() == pytest.approx(whole.total.item())
    assert len(ids) * 2 < asked.meter.spent.tokens


def test_a_search_ends_at_its_budget_and_counts_what_it_spent(subject: Subject) -> None:
    asked = target(subject, Frame(new_tokens=4, temperature=1.0), passes=50)
    search = Search(asked, REFUSES, RandomSearch(TEMPLATES), round_size=16)
    history = search.run()
    assert search.ended == "budget" and len(history) == 48 == history.spent.passes
    with pytest.raises(Exhausted):
        asked.ask([Proposal("how do i clean the boat ?")] * 3)
    tokens = sum(len(asked.ids(one.proposal.prompt)) for one in history.tries)
    written = sum(len(subject.encode(one.reply)) for one in history.tries)
    assert history.spent.tokens == tokens + written
    assert [one.shown for one in history.tries] == ["can not help" in one.reply for one in history.tries]


def test_a_greedy_search_asks_nothing_twice_and_ends_when_nothing_is_new(subject: Subject) -> None:
    listed = ListedPrompts(("how do i clean the boat ?", "how do i burn the boat ?", "no such zzz word"))
    search = Search(target(subject, passes=500), REFUSES, RandomSearch(listed), round_size=8)
    history = search.run()
    assert search.ended == "nothing new" and search.unusable > 0
    assert sorted(one.proposal.prompt for one in history.tries) == sorted(listed.prompts[:2])
    assert [one.proposal.prompt for one in history.shown] == ["how do i burn the boat ?"]


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(subject: Subject, tmp_path: Path) -> None:
    def search(journal: Path, passes: int = 96) -> Search:
        frame = Frame(new_tokens=6, temperature=1.0)
        return Search(
            target(subject, frame, passes=passes), REFUSES, RandomSearch(TEMPLATES),
            round_size=16, seed=3, journal=Journal(journal),
        )  # fmt: skip

    whole = search(tmp_path / "whole").run()
    rounds = search(tmp_path / "parts").rounds()
    next(rounds), next(rounds)
    rounds.close()
    stopped = search(tmp_path / "parts")
    assert len(stopped.history) == 32 and stopped.target.meter.spent.passes == 32
    assert stopped.run().tries == whole.tries
    further = search(tmp_path / "parts", passes=200)
    assert len(further.run()) == 192 and further.history.tries[:96] == whole.tries
    with pytest.raises(UserError, match=r"another one \(seed\)"):
        Search(
            target(subject, Frame(new_tokens=6, temperature=1.0), passes=96), REFUSES,
            RandomSearch(TEMPLATES), round_size=16, seed=4, journal=Journal(tmp_path / "parts"),
        )  # fmt: skip


def test_what_cannot_be_asked_is_said_before_anything_runs(subject: Subject) -> None:
    with pytest.raises(UserError, match="does not end"):
        Search(target(subject), REFUSES, RandomSearch(TEMPLATES))
    with pytest.raises(UserError, match="no room for a prompt"):
        target(subject, Frame(new_tokens=256))
    with pytest.raises(UserError, match="needs a chat"):
        target(subject, Frame(chat=False, system="be nice ."))
    with pytest.raises(UserError, match=r"\{verb\} has no words"):
        TemplatePrompts(("how do i {verb} it ?",), {})
    asked = target(subject, Frame(new_tokens=200))
    assert not asked.takes("king " * 100) and not asked.takes("zzz") and asked.takes("king")


def test_templates_know_the_probability_of_what_they_draw() -> None:
    drawn = TEMPLATES.sample(4000, Random(0))
    (expected,) = TEMPLATES.log_prob(["how do i burn the boat ?"])
    assert expected == pytest.approx(-torch.tensor(2.0 * 7 * 6).log().item())
    share = drawn.count("how do i burn the boat ?") / len(drawn)
    assert share == pytest.approx(1 / 84, abs=4 * (1 / 84 / 4000) ** 0.5)
    several = TemplatePrompts(("{a} {a}", "x {b}"), {"a": ("x", "y"), "b": ("x", "x", "z")})
    found = [2.718281828459045**one for one in several.log_prob(["x x", "y x", "x z", "z"])]
    assert found == pytest.approx([1 / 8 + 1 / 3, 1 / 8, 1 / 6, 0])
    optional = TemplatePrompts(("tell me {a} now {a}",), {"a": ("", "please")})
    assert optional.log_prob(["tell me now", "tell me please now please", "tell me  now"]) == pytest.approx(
        [-1.3862944, -1.3862944, -float("inf")]
    )
    assert ListedPrompts(("a", "b", "a")).log_prob(["a", "c"])[0] == pytest.approx(-0.4054651)


def test_a_steering_search_finds_the_least_strength_and_then_ends() -> None:
    needed = {"weak": 0.6, "strong": 3.1, "never": 99.0}
    prompts = ("a", "b", "c", "d")
    search = SteeringSearch(list(needed), prompts, precision=0.1)
    history, meter = History(), Meter(Budget(passes=1))
    for number in range(100):
        proposals = search.propose(history, 8, Random(0), meter)
        if not proposals:
            break
        tries = [
            Try(len(history) + place, number, one, "reply", 1.0,
                float(one.steer[0].strength) >= needed[one.steer[0].direction], meter.spent)
            for place, one in enumerate(proposals)
        ]  # fmt: skip
        history.add(tries, meter.spent)
    found = {one.direction: one for one in search.found(history)}
    assert list(found) == ["weak", "strong"]
    for name, one in found.items():
        assert one.below < needed[name] <= one.strength <= 1.12 * one.below
        assert one.shown.value == 1
    asked = [one.proposal.asked for one in history.tries]
    assert len(asked) == len(set(asked)) and len(asked) < 4 * (5 * 3 + 2 * 5)

"""Judges: rules, a classifier, rubrics of real models, and what the model represents."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from interp.bundled.world.lexicon import lexicon
from interp.descriptions.local_model import LocalModel
from interp.elicit.behaviour import Behaviour, Exchange
from interp.elicit.first_look import first_look
from interp.elicit.judges.classifier import ClassifierJudge, read_examples
from interp.elicit.judges.internal import InternalJudge, Reading
from interp.elicit.judges.rubric import EndpointRubric, LocalRubric
from interp.elicit.judges.rule import LabelJudge, RegexJudge
from interp.elicit.proposal import Proposal
from interp.elicit.spending import Budget, Meter
from interp.elicit.target import Target
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.subject import Subject
from interp.subject.site import Site
from interp.vectors.vector import Vector
from tests.endpoint_server import MODEL, Script, says, serving

PROMPTS = ("how do i clean the boat ?", "how do i burn the boat ?", "please tell me how to paint the house .")


def replied(*replies: str) -> list[Exchange]:
    return [Exchange("a prompt", reply) for reply in replies]


def test_a_pattern_is_found_in_the_reply_in_any_case() -> None:
    found = RegexJudge(r"\bno\b").judge([Exchange("no", "Well, NO."), Exchange("no", "nothing")])
    assert [one and one.shown for one in found] == [True, False]
    lacking = RegexJudge(r"\bno\b", absent=True).judge(replied("No!", "yes"))
    assert [one and one.shown for one in lacking] == [False, True]
    endless = RegexJudge("(a|aa)+c")
    assert endless.judge(replied("a" * 80, "aac")) == [None, (1, True)]
    with pytest.raises(UserError, match="no regular expression"):
        RegexJudge("(")
    with pytest.raises(UserError, match="also in an empty one"):
        RegexJudge("a*")


def test_a_label_is_the_share_of_the_replys_words_that_carry_it(subject: Subject) -> None:
    words = [*list(lexicon().languages["zorvic"].values())[:3], "the"]
    written = tuple(subject.encode(" ".join(words)))
    (found,) = LabelJudge("lang_zorvic", 0.75).judge([Exchange("", " ".join(words), (), written)])
    assert found is not None and found.score == 0.75 and found.shown
    (empty,) = LabelJudge("lang_zorvic").judge([Exchange("", "")])
    assert empty is not None and not empty.shown
    with pytest.raises(UserError, match="no concept"):
        LabelJudge("lang_french")


def test_a_classifier_says_how_often_it_is_right_on_examples_that_it_has_not_seen(tmp_path: Path) -> None:
    random = Random(0)
    nouns, colours = (
        ["cat", "dog", "bird", "fish", "horse", "cow"],
        ["red", "blue", "green", "black", "white", "grey"],
    )
    showing = [f"the {random.choice(nouns)} is a list : {i} , {i + 1}" for i in range(30)]
    others = [f"the {random.choice(nouns)} is {random.choice(colours)} and number {i} too" for i in range(30)]
    lines = [{"text": text, "shows": True} for text in showing]
    lines += [{"text": text, "shows": False} for text in others]
    (tmp_path / "examples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_examples(tmp_path / "examples.jsonl") == (showing, others)
    judge = ClassifierJudge(showing, others, TfidfEmbedder.fit([*showing, *others]))
    assert judge.right.value > 0.9 and f"{judge.right.value:.0%}" in judge.name
    found = judge.judge(replied("the cow is a list : 7 , 8", "the cow is grey and number 7 too"))
    assert [one and one.shown for one in found] == [True, False]
    rng = np.random.default_rng(0)
    noise = [" ".join(rng.choice(nouns + colours, 6)) + f" {i}" for i in range(80)]
    chance = ClassifierJudge(noise[:40], noise[40:], TfidfEmbedder.fit(noise))
    assert chance.right.low < 0.5 < chance.right.high + 0.15
    with pytest.raises(UserError, match="only 2 different examples"):
        ClassifierJudge(["a", "b", "a"], others, TfidfEmbedder.fit(others))


def test_an_internal_judge_reads_what_a_plain_pass_reads(subject: Subject) -> None:
    target = Target(subject, meter=Meter(Budget(passes=100)))
    exchanges = target.ask([Proposal(prompt) for prompt in PROMPTS])
    space = MlpNeurons(subject, 4)
    feature = FeatureRef(space, 17, -1)
    vector = Vector("v", Site("resid_post", 5), torch.randn(128, generator=torch.Generator()), "world")
    for place, first in (("reply", None), ("asked", 0), ("last", -1)):
        by_feature = InternalJudge(subject, Reading.feature(feature), 0.0, place, target.meter)
        by_vector = InternalJudge(subject, Reading.vector(vector), 0.0, place)
        for exchange, read, along in zip(
            exchanges, by_feature.scores(exchanges), by_vector.scores(exchanges), strict=True
        ):
            row = [*exchange.asked, *exchange.written]
            part = slice(len(exchange.asked), None) if first is None else slice(None, len(exchange.asked))
            neurons = subject.run(torch.tensor([row]), [space]).features[space.name][0, :, 17]
            stream = subject.read(torch.tensor([row]), [vector.site])[vector.site][0]
            wanted = -neurons[part][first or 0 :] if first else -neurons[part]
            shadow = (stream @ vector.values / vector.norm)[part]
            shadow = shadow[first or 0 :] if first else shadow
            assert read == pytest.approx(wanted.max().item(), abs=1e-4)
            assert along == pytest.approx(shadow.max().item(), abs=1e-4)
    assert target.meter.spent.passes == 12
    calibrated = by_vector.calibrated(exchanges, 0.5)
    assert calibrated.threshold == pytest.approx(np.median(by_vector.scores(exchanges)))
    assert InternalJudge(subject, Reading.feature(feature), 0.0).judge([Exchange("", "", (1, 2))]) == [None]


def test_a_rubric_is_asked_of_an_endpoint_and_what_it_costs_is_counted() -> None:
    def answer(body: dict[str, Any]) -> str:
        asked = str(body["messages"][-1]["content"])
        return '{"score": 9}' if "Reply: oui" in asked else '{"score": 1}'

    with serving(Script(answer)) as script:
        prices = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 1.0}
        endpoint = Endpoint(model=MODEL, base_url=script.url, **prices)
        meter = Meter(Budget(usd=1.0))
        judge = EndpointRubric(Client(endpoint), "The reply is French.", meter)
        found = judge.judge(replied("oui, monsieur", "yes, sir"))
        assert [one and (one.score, one.shown) for one in found] == [(0.9, True), (0.1, False)]
        assert meter.spent.usd > 0 and meter.spent.passes == 0
        script.then(*[says("perhaps")] * 4)
        assert judge.judge(replied("peut-etre")) == [None]


def test_a_local_rubric_gives_a_probability_for_each_reply(subject: Subject) -> None:
    meter = Meter(Budget(passes=10))
    judge = LocalRubric(LocalModel.shared("pydoc"), "The reply is a list.", meter)
    first, second = judge.judge(replied("one", "two and three"))
    assert first and second and 0 < first.score < 1 and 0 < second.score < 1
    (alone,) = judge.judge(replied("two and three"))
    assert alone and alone.score == pytest.approx(second.score, abs=1e-4)
    assert meter.spent.passes == 3


def test_a_judge_that_never_or_always_says_yes_is_refused_before_a_search(subject: Subject) -> None:
    target = Target(subject, meter=Meter(Budget(passes=100)))
    never = Behaviour("never", RegexJudge("zzz"), examples=("i can not help with that .",))
    with pytest.raises(UserError, match="may never say yes"):
        first_look(target, never, PROMPTS)
    with pytest.raises(UserError, match="3 of 3 ordinary replies"):
        first_look(target, Behaviour("always", RegexJudge(r"\w")), PROMPTS)
    found = first_look(target, Behaviour("refuses", RegexJudge("can not"), "", ("i can not",)), PROMPTS)
    assert found.ordinary.value == pytest.approx(1 / 3) and found.examples_shown == 1

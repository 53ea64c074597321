"""Explainers, simulators and judges that ask an endpoint, over real HTTP to a server on loopback."""

import json
import math
import re
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
import pytest

from interp.descriptions.candidate import Candidate, Explained, Explainer, Judge, Shown, Simulated, Simulator
from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.descriptions.explainers.contrastive import ACTIVE, SILENT, ContrastivePrompted, likest
from interp.descriptions.explainers.highlight import unmark
from interp.descriptions.explainers.prompted import FEWEST, MOST, Prompted, description_in, numbered_lines
from interp.descriptions.prompt import load_prompt
from interp.descriptions.scorers.judge_endpoint import EndpointJudge
from interp.descriptions.simulators.prompt_logprobs import PromptLogprobSimulator
from interp.descriptions.simulators.structured import StructuredSimulator
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from tests.endpoint_server import Script, says, serving
from tests.excerpts import excerpt, words

FRENCH = Candidate("names of cities in France", "me")
NASTY = (
    "${x} $excerpts $$ {{ }} {a} \\{ <script>alert('&')</script> \x00\x1b[31m\u202e\ufeff \"q\" 'r' %s 日 🙂"
)


@pytest.fixture
def server() -> Iterator[Script]:
    with serving() as script:
        yield script


def client(script: Script, **options: Any) -> Client:
    return Client(Endpoint(model="scripted", base_url=script.url, retries=0, **options))


def run(asked: Client, work: Coroutine[Any, Any, Any]) -> Any:
    return run_with(work, [asked])


def questions(script: Script) -> list[str]:
    """The last user turn of each conversation, in the order of arrival."""
    return [body["messages"][-1]["content"] for _, body in script.seen]


def cities(n: int = 12) -> list[Excerpt]:
    names = ["Lyon", "Nantes", "Lille", "Brest"]
    return [words(f"train {i} to {names[i % 4]} leaves", names[i % 4], 10 - i / 100, i) for i in range(n)]


def silent(n: int = 3) -> list[Excerpt]:
    return [words(f"recipe {i} needs eggs", number=100 + i) for i in range(n)]


def fixed(body: dict[str, Any]) -> str:
    return "[DESCRIPTION]: x"


def explained(script: Script, explainer: type[Prompted] = Prompted, **options: Any) -> Explained:
    asked = client(script)
    evidence = options.pop("evidence", TextEvidence(cities(), silent=silent()))
    samples, seed = options.pop("samples", 4), options.pop("seed", 0)
    found = explainer(asked, **options)
    assert isinstance(found, Explainer)
    result: Explained = run(asked, found.explain(evidence, samples, seed))
    return result


@pytest.mark.parametrize("explainer", [Prompted, ContrastivePrompted])
def test_an_explainer_asks_for_all_its_descriptions_together(
    server: Script, explainer: type[Prompted]
) -> None:
    server.delay, server.answer = 0.2, lambda body: f"Well.\n[DESCRIPTION]: cities {body['seed']}\nSo."
    found = explained(server, explainer)
    assert [(one.text, one.sample) for one in found.candidates] == [(f"cities {i}", i) for i in range(4)]
    assert found.failures == 0 and server.calls == server.most_at_once == 4
    assert "scripted at 127.0.0.1" in found.candidates[0].explainer
    assert len(set(questions(server))) == 4, "each sample sees other exemplars"
    assert all(body["temperature"] == 1.0 for _, body in server.seen)


def test_an_answer_without_a_description_is_asked_for_once_more_then_counted(server: Script) -> None:
    def answer(body: dict[str, Any]) -> str:
        again = body["messages"][-2]["content"] == "no idea"
        return "[DESCRIPTION]: late" if again and body["seed"] in (1, 2) else "no idea"

    server.answer = answer
    found = explained(server)
    assert [(one.text, one.sample) for one in found.candidates] == [("late", 1), ("late", 2)]
    assert found.failures == 2 and server.calls == 8


def test_nothing_is_asked_about_a_feature_that_never_fires(server: Script) -> None:
    assert explained(server, evidence=TextEvidence(silent())) == Explained(())
    assert explained(server, evidence=TextEvidence([])) == Explained(())
    assert server.calls == 0


def test_a_prompt_shows_a_random_choice_of_the_exemplars_with_their_active_tokens_marked(
    server: Script,
) -> None:
    server.answer = fixed
    for seed in (0, 0, 1):
        explained(server, seed=seed, samples=1)
    first, again, other = questions(server)
    assert first == again != other
    lines = first.splitlines()
    assert FEWEST <= len(lines) <= MOST
    assert [line.split(":")[0] for line in lines] == [f"Excerpt {i + 1}" for i in range(len(lines))]
    assert all(
        re.fullmatch(r"Excerpt \d+: train \d+ to \{\{(Lyon|Nantes|Lille|Brest)\}\} leaves", one)
        for one in lines
    )
    assert len(set(line.split(": ")[1] for line in lines)) == len(lines)


@pytest.mark.parametrize("few_shot", [True, False])
def test_worked_examples_come_before_the_question_if_wanted(server: Script, few_shot: bool) -> None:
    explained(server, few_shot=few_shot, samples=1)
    roles = [turn["role"] for turn in server.seen[0][1]["messages"]]
    pairs = len(load_prompt("explain").examples) if few_shot else 0
    assert roles == ["system", *["user", "assistant"] * pairs, "user"] and (pairs > 0) == few_shot


def test_the_contrastive_prompt_goes_on_numbering_and_says_where_nothing_is_silent(server: Script) -> None:
    server.answer = fixed
    explained(server, ContrastivePrompted, evidence=TextEvidence(cities(), silent=silent(20)), samples=1)
    explained(server, ContrastivePrompted, evidence=TextEvidence(cities()), samples=1)
    shown, none = questions(server)
    active, quiet = shown.split("Silent:\n")
    assert "{{" not in quiet and quiet.count("recipe") == SILENT
    assert ACTIVE[0] <= active.count("{{") <= ACTIVE[1]
    numbers = [int(one) for one in re.findall(r"Excerpt (\d+):", shown)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert none.endswith("Silent:\n(none)")


def test_the_silent_excerpts_with_the_words_of_an_exemplar_are_shown() -> None:
    near = [words(f"train {i} to Madrid leaves", number=i) for i in range(4)]
    mixed = [*silent(10)[:5], *near, *silent(10)[5:]]
    assert {one.window.document for one in likest(mixed, cities(), 4)} == {0, 1, 2, 3}
    assert likest(near, cities(), 9) == near


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        ("[DESCRIPTION]: a b ", "a b"),
        ("[DESCRIPTION] a", "a"),
        ("[DESCRIPTION]:\n\n a\nb", "a"),
        ("**[DESCRIPTION]:** a", "a"),
        ("[Description]: a", "a"),
        ("[DESCRIPTION]: first\nNo: [DESCRIPTION]: a: [b]", "a: [b]"),
        ("[DESCRIPTION]: [DESCRIPTION]: a", "a"),
        ("[DESCRIPTION]:", None),
        ("[DESCRIPTION]: \n ", None),
        ("a", None),
        ("", None),
    ],
)
def test_the_description_is_what_follows_the_last_tag(answer: str, description: str | None) -> None:
    assert description_in(answer) == description


def test_whatever_an_excerpt_holds_reaches_the_endpoint_as_it_is(server: Script) -> None:
    one = excerpt([NASTY, " Lyon", "\n", "end"], [0, 9, 0, 0])
    spelled = NASTY.lstrip() + " Lyon⏎end"
    explained(server, evidence=TextEvidence([one]), samples=1)
    (line,) = questions(server)[:1]
    plain, spans = unmark(line.removeprefix("Excerpt 1: "))
    assert (plain, [plain[a:b] for a, b in spans]) == (spelled, ["Lyon"])
    asked, named = client(server), Candidate(f"fires on {NASTY}", "me")
    server.seen.clear()
    server.answer = lambda body: '{"ratings": [3]}' if "Text 1" in body["messages"][-1]["content"] else "x"
    assert run(asked, EndpointJudge(asked).rate(named, [Shown(one)])) == [0.3]
    assert questions(server) == [f"Description: {named.text}\nText 1: {spelled}"]
    server.seen.clear()
    run(asked, StructuredSimulator(asked).simulate(named, [one]))
    first, second = questions(server)[0].split("\nExcerpt 1 (4 tokens): ")
    assert first == f"Description: {named.text}" and tuple(json.loads(second)) == one.pieces


def test_a_place_in_a_prompt_is_filled_once() -> None:
    filled = load_prompt("contrast").messages(False, excerpts="$silent", silent="$excerpts ${x}")
    assert filled[-1].content == "Active:\n$silent\nSilent:\n$excerpts ${x}"
    assert numbered_lines([]) == ""


def read_lists(body: dict[str, Any]) -> list[list[str]]:
    """The excerpts of a structured question, wherever it stands in the conversation."""
    asked = next(m["content"] for m in body["messages"][::-1] if "Description:" in m["content"])
    return [json.loads(one) for one in re.findall(r"^Excerpt \d+ \(\d+ tokens\): (.*)$", asked, re.M)]


def knows(pieces: list[str]) -> list[int]:
    return [9 if piece.strip() in ("Lyon", "Nantes", "Lille", "Brest") else 0 for piece in pieces]


def simulated(script: Script, excerpts: list[Excerpt], **options: Any) -> Simulated:
    asked = client(script)
    simulator = StructuredSimulator(asked, **options)
    assert isinstance(simulator, Simulator)
    result: Simulated = run(asked, simulator.simulate(FRENCH, excerpts))
    return result


def test_the_structured_simulator_reads_every_token_of_all_excerpts_in_calls_made_together(
    server: Script,
) -> None:
    server.delay = 0.2
    server.answer = lambda body: json.dumps({"activations": [knows(one) for one in read_lists(body)]})
    found = simulated(server, cities())
    for values, one in zip(found.values, cities(), strict=True):
        assert values is not None
        np.testing.assert_array_equal(values, np.where(one.values > 0, 9.0, 0.0))
    assert server.calls == server.most_at_once == 3 and found.failures == 0
    assert all(body["temperature"] == 0 for _, body in server.seen)
    assert simulated(server, []).values == () and server.calls == 3


def test_an_excerpt_of_the_wrong_length_is_asked_about_once_more_on_its_own(server: Script) -> None:
    def answer(body: dict[str, Any]) -> str:
        lists = [knows(one) for one in read_lists(body)]
        if len(lists) > 1:
            lists[1] = lists[1][:-1]
        return json.dumps({"activations": lists})

    server.answer = answer
    found = simulated(server, cities(5))
    assert server.calls == 2 and found.failures == 0
    assert read_lists(server.seen[1][1]) == [list(cities(5)[1].pieces)]
    assert [None if values is None else values.max() for values in found.values] == [9.0] * 5


def test_what_stays_wrong_has_no_prediction_and_is_counted(server: Script) -> None:
    def answer(body: dict[str, Any]) -> str:
        lists = read_lists(body)
        return json.dumps({"activations": [knows(one) + [0] * ("3" in " ".join(one)) for one in lists]})

    server.answer = answer
    found = simulated(server, cities(5))
    assert found.failures == 1 and found.values[3] is None
    assert server.calls == 3, "one together, two for the one that is wrong"
    server.answer = lambda body: '{"activations": [[0]]}'
    assert simulated(server, cities(5)).values == (None,) * 5


@pytest.mark.parametrize("said", ["no", '{"activations": [[0, 11, 0, 0, 0]]}', '{"activations": 3}', "{}"])
def test_answers_of_the_structured_simulator_that_cannot_be_read_are_counted(
    server: Script, said: str
) -> None:
    server.answer = lambda body: said
    found = simulated(server, cities(2), few_shot=False)
    assert found.values == (None, None) and found.failures == 2
    assert server.calls == 5, "one try together, two for each alone"


def _likely(before: str, token: str) -> dict[str, float]:
    """Half 4, half 8 after the name of a city, 0 after all else; other words are likely, too."""
    line = before.rpartition("\n")[2]
    city = line.strip() in ("Lyon", "Nantes", "Lille", "Brest")
    numbers = {"\t4": math.log(0.2), "\t8": math.log(0.2)} if city else {"\t0": math.log(0.3)}
    return {**numbers, "\tunknown": math.log(0.4), "\t11": math.log(0.1), "\t-1": math.log(0.1)}


@pytest.mark.parametrize("refused", ["", "echo"])
def test_the_prompt_logprob_simulator_reads_expected_values_in_one_call_for_each_excerpt(
    server: Script, refused: str
) -> None:
    server.top, server.refuse, server.delay = _likely, (refused,) if refused else (), 0.2
    tricky = excerpt(["日本", "\t", "unknown", "\n", "Lille", " 🙂", " unknown\n", " Brest"])
    asked = client(server, prompt_logprobs=True)
    simulator = PromptLogprobSimulator(asked)
    assert isinstance(simulator, Simulator)
    found = run(asked, simulator.simulate(FRENCH, [*cities(6), tricky]))
    for values, one in zip(found.values[:-1], cities(6), strict=True):
        np.testing.assert_allclose(values, np.where(one.values > 0, 6.0, 0.0), atol=1e-9)
    np.testing.assert_allclose(found.values[-1], [0, 0, 0, 0, 6, 0, 0, 6], atol=1e-9)
    assert found.failures == 0 and server.most_at_once == 7
    assert server.calls == (14 if refused else 7)
    for body in [body for path, body in server.seen if path == "/v1/completions"]:
        assert body["prompt"].count("\tunknown\n") in (5, 8) and FRENCH.text in body["prompt"]


def test_an_excerpt_without_a_number_somewhere_has_no_prediction(server: Script) -> None:
    server.top = lambda before, token: (
        {} if before.endswith("\n leaves") and "\n 1\t" in before else _likely(before, token)
    )
    asked = client(server)
    found = run(asked, PromptLogprobSimulator(asked).simulate(FRENCH, cities(3)))
    assert [values is None for values in found.values] == [False, True, False] and found.failures == 1


def rates(body: dict[str, Any]) -> list[int]:
    """10 for a text with Lyon in it; where tokens are marked, for one with Lyon marked."""
    asked = next(m["content"] for m in body["messages"][::-1] if m["content"].startswith("Description:"))
    wanted = "{{Lyon}}" if "{{" in asked else "Lyon"
    return [10 if wanted in line else 1 for line in asked.splitlines()[1:]]


def shown(n: int, marked: bool = False) -> list[Shown]:
    texts = [words(f"train {i} to {'Lyon' if i % 3 == 0 else 'Oslo'} leaves", number=i) for i in range(n)]
    marks = [np.array([False, False, False, i % 2 == 0, i % 2 == 1]) for i in range(n)]
    return [Shown(one, mark if marked else None) for one, mark in zip(texts, marks, strict=True)]


def judge(script: Script, texts: list[Shown], **options: Any) -> list[float | None]:
    asked = client(script)
    found = EndpointJudge(asked, **options)
    assert isinstance(found, Judge)
    result: list[float | None] = run(asked, found.rate(FRENCH, texts))
    return result


def test_the_judge_rates_several_texts_a_call_and_all_calls_together(server: Script) -> None:
    server.delay, server.answer = 0.2, lambda body: json.dumps({"ratings": rates(body)})
    assert judge(server, shown(12)) == [1.0 if i % 3 == 0 else 0.1 for i in range(12)]
    assert server.calls == server.most_at_once == 3
    assert judge(server, []) == [] and server.calls == 3


@pytest.mark.parametrize("few_shot", [True, False])
def test_marked_texts_are_judged_by_the_marked_tokens(server: Script, few_shot: bool) -> None:
    server.answer = lambda body: json.dumps({"ratings": rates(body)})
    assert judge(server, shown(6, True), few_shot=few_shot) == [1.0 if i % 6 == 0 else 0.1 for i in range(6)]
    assert server.seen[0][1]["messages"][0]["content"] == load_prompt("fuzz").system
    assert len(server.seen[0][1]["messages"]) == (4 if few_shot else 2)


@pytest.mark.parametrize("bad", ['{"ratings": [1]}', '{"ratings": [1, 2, 3, 4, 11]}', "I cannot say", ""])
def test_ratings_of_the_wrong_number_or_form_are_asked_for_text_by_text(server: Script, bad: str) -> None:
    def answer(body: dict[str, Any]) -> str:
        found = rates(body)
        if len(found) > 1 or "train 2" in json.dumps(body["messages"]):
            return bad if len(found) > 1 else '{"ratings": []}'
        return json.dumps({"ratings": found})

    server.delay, server.answer = 0.1, answer
    assert judge(server, shown(5)) == [1.0, 0.1, None, 1.0, 0.1]
    assert server.calls == 7 and server.most_at_once == 5


def test_a_text_alone_is_asked_about_again_if_its_answer_cannot_be_read(server: Script) -> None:
    server.then(says("hm")).answer = lambda body: json.dumps({"ratings": rates(body)})
    assert judge(server, shown(1)) == [1.0]
    assert server.calls == 2
    server.answer = lambda body: "hm"
    assert judge(server, shown(1)) == [None]

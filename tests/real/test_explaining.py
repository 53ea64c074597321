"""Gemma as explainer, simulator and judge of descriptions: in this process, and over HTTP as a base model."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from interp.bundled.gemma import GEMMA
from interp.descriptions.candidate import Candidate, Shown
from interp.descriptions.excerpt import Excerpt, TextEvidence
from interp.descriptions.explainers.local import LocalExplainer
from interp.descriptions.explainers.prompted import Prompted
from interp.descriptions.scorers.judge_local import LocalJudge
from interp.descriptions.simulators.likely_words import LikelyWordsSimulator
from interp.llm.client import Client, run_with
from interp.llm.endpoint import Endpoint
from interp.subject import Subject
from tests.excerpts import excerpt
from tests.serve import transformers_serve

PLANTED = {
    "names of countries": "France and Peru signed it in May / a table in Spain was red / Chile is far",
    "colours": "the table in Spain was red / a blue sky over green hills / two white doors",
    "animals": "the dog chased a cat / she rode her horse to town / a cow in the field",
    "verbs in the past tense": "she walked home and slept / he will go and we ate bread / they jumped",
    "fires on “not”": "it is not true / we do not know why / do not go",
    "months of the year": "in March we met and in July we left / born on 3 May 1984 / a cold December",
    "words for family members": "his mother and sister came / the brother of my friend / my uncle sings",
    "punctuation": "He left . She stayed ! / why ? / they won .",
}
ACTIVE = (
    "France Peru Spain Chile / red blue green white / dog cat horse cow / walked slept ate jumped / not / "
    "March July May December / mother sister brother uncle / . ! ?"
)
"""The words on which each planted feature fires."""


def planted() -> dict[str, list[Excerpt]]:
    """The texts of each description, with the activations of a feature that is what it says."""
    found = {}
    for (said, texts), active in zip(PLANTED.items(), ACTIVE.split(" / "), strict=True):
        pieces = [re.findall(r" ?\S+", text) for text in texts.split(" / ")]
        found[said] = [
            excerpt(of, [8.0 * (piece.strip() in active.split()) for piece in of]) for of in pieces
        ]
    return found


def simulated(simulator: LikelyWordsSimulator, said: str, texts: Sequence[Excerpt]) -> float:
    """The correlation of the activations that a description predicts with the planted ones."""
    values = asyncio.run(simulator.simulate(Candidate(said, "test"), texts)).values
    predicted = np.concatenate([one for one in values if one is not None])
    if not predicted.std():
        return 0.0
    return float(np.corrcoef(predicted, np.concatenate([one.values for one in texts]))[0, 1])


def own_and_others(said: Sequence[str], features: Sequence[Sequence[Excerpt]]) -> tuple[float, float]:
    """The mean score of each feature's own description, and of the other features' ones (the control)."""
    simulator = LikelyWordsSimulator.load(GEMMA)
    table = np.array([[simulated(simulator, one, texts) for one in said] for texts in features])
    n = len(said)
    return float(np.trace(table)) / n, float(table.sum() - np.trace(table)) / (n * n - n)


def test_what_a_description_makes_likelier_is_what_it_describes(gemma: Subject) -> None:
    own, others = own_and_others(list(PLANTED), list(planted().values()))
    assert own > 0.55 and others < 0.25


def test_a_name_for_the_strongest_words_predicts_them_better_than_other_names(gemma: Subject) -> None:
    """On features of which the prompt's worked examples say nothing."""
    explainer, texts_of = LocalExplainer.load(GEMMA, temperature=0.0), planted()
    unseen = ("names of countries", "animals", "months of the year", "words for family members")
    features = [texts_of[one] for one in unseen]
    said = []
    for texts in features:
        (one,) = asyncio.run(explainer.explain(TextEvidence(texts), 1, 0)).candidates
        said.append(one.text)
    own, others = own_and_others(said, features)
    assert own > others + 0.2


def test_the_judge_is_the_model_that_the_others_are(gemma: Subject) -> None:
    """It rates every text; how well, no bound says: see benchmarks/RESULTS.md."""
    judge, simulator = LocalJudge.load(GEMMA), LikelyWordsSimulator.load(GEMMA)
    assert judge._model is simulator._model
    shown = [Shown(one, one.values > 0) for one in planted()["animals"]]
    rated = asyncio.run(judge.rate(Candidate("animals", "test"), shown))
    assert all(one is not None and 0 < one < 1 for one in rated)


def test_a_served_base_model_describes_over_the_completions_api(gemma: Subject, tmp_path: Path) -> None:
    folder = tmp_path / "gemma"
    folder.symlink_to(gemma.info.folder)
    with transformers_serve(folder) as url:
        endpoint = Endpoint(model=str(folder), base_url=url, api="completions", max_tokens_per_call=24)
        client = Client(endpoint)
        texts = planted()["animals"]
        explained = run_with(Prompted(client, temperature=0.0).explain(TextEvidence(texts), 1, 0), [client])
    assert len(explained.candidates) == 1 and explained.failures == 0
    (own,) = (one.text for one in explained.candidates)
    assert own and "\n" not in own and "[" not in own

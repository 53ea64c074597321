"""Changing features and counting what follows: outcomes, controls, doses, effects, flips."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interp
from interp.attribution.agreement import agreement_table
from interp.causal.answer_targets import answer_target
from interp.causal.effects import effects, flips
from interp.causal.interventions import ablations, clamps, dose_values, scales
from interp.causal.knowledge_neurons import shared_features
from interp.causal.outcome import ask, halves
from interp.causal.selection import NEAREST, by_attribution, by_concept, matched_controls, strongest
from interp.compare.concepts import activations_by_concept
from interp.corpus.questions import Question, WorldQuestions
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.ref import FeatureRef
from interp.features.statistics import FeatureStatistics
from interp.mining.exemplars import labels_at
from interp.mining.quantiles import LEVELS
from interp.statistics.auroc import auroc_table
from interp.statistics.estimate import mean_interval, share_interval
from interp.subject import Subject

CORPUS = interp.WorldCorpus(seed=1, n_documents=300)


@pytest.fixture(scope="module")
def layers(subject: Subject) -> list[MlpNeurons]:
    return [MlpNeurons(subject, layer) for layer in (2, 5)]


@pytest.fixture(scope="module")
def mined(subject: Subject, layers: list[MlpNeurons]) -> interp.Mined:
    return interp.mine(subject, layers, CORPUS)


@pytest.fixture(scope="module")
def statistics(mined: interp.Mined, layers: list[MlpNeurons]) -> dict[str, FeatureStatistics]:
    return {space.name: mined[space.name].statistics() for space in layers}


@pytest.fixture(scope="module")
def questions(subject: Subject) -> list[Question]:
    source = WorldQuestions(behaviours=("agreement/near", "refusal/harmful", "facts/plain"), most=12)
    return source.open(subject)


def test_questions_asked_in_batches_are_answered_as_one_by_one(
    subject: Subject, questions: list[Question]
) -> None:
    together, alone = ask(subject, questions, prompts_per_batch=7), [ask(subject, [q]) for q in questions]
    np.testing.assert_allclose(together.answer, [one.answer[0] for one in alone], atol=1e-5)
    np.testing.assert_allclose(together.foil, [one.foil[0] for one in alone], atol=1e-5)
    assert together.top.tolist() == [one.top[0] for one in alone]
    assert together.right.all()  # what the model card says of these behaviours
    assert np.isnan(together.foil).tolist() == [not q.foils for q in questions]
    assert not together.prefers_foil.any()


def test_a_class_of_answers_counts_as_one(subject: Subject, questions: list[Question]) -> None:
    question = questions[0]
    both = Question(question.prompt, question.answers + question.foils, (), question.group)
    one = ask(subject, [question])
    assert ask(subject, [both]).answer[0] == pytest.approx(one.answer[0] + one.foil[0])
    assert answer_target(subject, [both]).answers == question.answers  # the likeliest of the class


def test_halves_share_no_prompt_and_keep_every_question(subject: Subject) -> None:
    asked = WorldQuestions(behaviours=("determiner_noun/plural",), most=80).open(subject)
    one, other = halves(asked, seed=3)
    assert not {q.prompt for q in one} & {q.prompt for q in other}
    assert sorted(map(hash, one + other)) == sorted(map(hash, asked))
    assert halves(asked, seed=3) == (one, other) != halves(asked, seed=4)


def test_determiners_ask_for_a_form_and_hold_the_other_against_it(subject: Subject) -> None:
    for number, ends in (("plural", {"these", "those"}), ("singular", {"this", "that"})):
        asked = WorldQuestions(behaviours=(f"determiner_noun/{number}",), most=40).open(subject)
        assert {subject.decode([q.prompt[-1]]) for q in asked} == ends
        outcome = ask(subject, asked)
        assert (outcome.answer > 10 * outcome.foil).all()


def test_controls_are_other_features_of_the_same_space_about_as_active(
    layers: list[MlpNeurons], statistics: dict[str, FeatureStatistics]
) -> None:
    picked = [FeatureRef(layers[0], 7), FeatureRef(layers[0], 8, -1), FeatureRef(layers[1], 7)]
    sets = matched_controls(picked, statistics, n_sets=20, seed=0)
    assert sets == matched_controls(picked, statistics, n_sets=20, seed=0)
    assert len({tuple(f.key for f in chosen) for chosen in sets}) > 10
    for chosen in sets:
        assert len({f.key.rstrip("+-") for f in chosen}) == 3
        assert not {f.key.rstrip("+-") for f in chosen} & {f.key.rstrip("+-") for f in picked}
        for control, feature in zip(chosen, picked, strict=True):
            assert control.space is feature.space and control.polarity == feature.polarity
            sample = statistics[feature.space.name].sample
            assert sample is not None
            activity = sample.float().abs().mean(0)
            distance = (activity.log() - activity[feature.feature_id].log()).abs()
            nearer = int((distance < distance[control.feature_id]).sum())
            assert nearer <= NEAREST + len(picked)


def test_too_many_picked_features_leave_no_controls(
    layers: list[MlpNeurons], statistics: dict[str, FeatureStatistics]
) -> None:
    with pytest.raises(UserError, match="pick fewer"):
        matched_controls([FeatureRef(layers[0], i) for i in range(200)], statistics, 1, 0)


def test_doses_run_from_one_end_of_a_feature_to_the_other_in_its_own_direction(
    layers: list[MlpNeurons], statistics: dict[str, FeatureStatistics]
) -> None:
    features = [FeatureRef(layers[1], 3), FeatureRef(layers[1], 3, -1)]
    values = dose_values(features, statistics, 5)
    levels = statistics["mlp.5"].quantile_values[3]
    torch.testing.assert_close(values[:, 0], torch.linspace(float(levels[0]), float(levels[-1]), 5))
    torch.testing.assert_close(values[:, 1], values[:, 0].flip(0))


def test_changes_of_features_in_several_spaces_reach_each_of_them(
    subject: Subject, layers: list[MlpNeurons], statistics: dict[str, FeatureStatistics]
) -> None:
    features = [FeatureRef(layers[1], 9), FeatureRef(layers[0], 4), FeatureRef(layers[0], 2)]
    tokens = subject.to_tokens("the capital of france is")
    clean = subject.run(tokens, read=layers).features
    means = [float(statistics[f.space.name].mean[f.feature_id]) for f in features]
    for edits, expected in (
        (clamps(features, torch.tensor([1.0, 2.0, 3.0])), [1.0, 2.0, 3.0]),
        (ablations(features, "zero", statistics), [0.0, 0.0, 0.0]),
        (ablations(features, "mean", statistics), means),
    ):
        with subject.intervene(*edits):
            read = subject.run(tokens, read=layers).features
        for feature, value in zip(features, expected, strict=True):
            found = read[feature.space.name][..., feature.feature_id]
            torch.testing.assert_close(found, torch.full_like(found, value))
    with subject.intervene(*scales(features, 2.0, "last")):
        read = subject.run(tokens, read=layers).features["mlp.2"]
    torch.testing.assert_close(read[0, -1, 4], 2 * clean["mlp.2"][0, -1, 4])
    assert torch.equal(read[0, :-1], clean["mlp.2"][0, :-1])


def test_picking_by_concept_is_by_auroc_on_the_select_split(
    layers: list[MlpNeurons], mined: interp.Mined
) -> None:
    picked = by_concept(layers, mined, CORPUS, "plural", 3)
    samples = {space.name: mined[space.name].samples["select"] for space in layers}
    number = CORPUS.label_names.index("plural")
    labels = labels_at(CORPUS, samples["mlp.2"])[:, [number]]
    tables = [auroc_table(samples[space.name].value.float(), labels)[:, 0] for space in layers]
    strength = torch.cat([torch.maximum(table, 1 - table) for table in tables])
    assert [value for _, value in picked] == pytest.approx(strength.sort(descending=True).values[:3].tolist())
    for feature, value in picked:
        side = samples[feature.space.name].value[:, [feature.feature_id]].float() * feature.polarity
        assert float(auroc_table(side, labels)) == pytest.approx(value)
    with pytest.raises(UserError, match="no concept"):
        by_concept(layers, mined, CORPUS, "plurals", 3)


def test_features_picked_by_attribution_matter_more_than_controls(
    subject: Subject, layers: list[MlpNeurons], statistics: dict[str, FeatureStatistics]
) -> None:
    asked = WorldQuestions(behaviours=("agreement/determiner",), most=40).open(subject)
    select, report = halves(asked, 0)
    picked = [feature for feature, _ in by_attribution(subject, layers, select, statistics, 10)]
    controls = matched_controls(picked, statistics, 3, 0)

    def lost(features: list[FeatureRef]) -> float:
        with subject.intervene(*ablations(features, "mean", statistics)):
            return float(1 - ask(subject, report).answer.mean())

    unchanged = lost([])
    assert lost(picked) - unchanged > 10 * (max(map(lost, controls)) - unchanged)


def test_the_strongest_are_found_across_spaces(layers: list[MlpNeurons]) -> None:
    values = {space.name: torch.zeros(space.n_features) for space in layers}
    values["mlp.2"][319], values["mlp.5"][0], values["mlp.5"][1] = 1.0, 3.0, float("nan")
    assert [(f.key, v) for f, v in strongest(layers, values, 2)] == [("mlp.5/0+", 3.0), ("mlp.2/319+", 1.0)]


def test_drivers_are_the_labels_a_feature_tells_best(mined: interp.Mined, layers: list[MlpNeurons]) -> None:
    feature, _ = by_concept(layers, mined, CORPUS, "adjective", 1)[0]
    found = activations_by_concept(CORPUS, mined, feature, most=4)
    assert found[0][0] == "adjective" and found[-1][0] == "all other tokens" and len(found) == 5
    report = mined[feature.space.name].samples["report"]
    labels = labels_at(CORPUS, report)
    own = report.value[labels[:, CORPUS.label_names.index("adjective")], feature.feature_id]
    np.testing.assert_array_equal(found[0][1], own.double().numpy())
    shown = [CORPUS.label_names.index(name) for name, _ in found[:-1]]
    assert len(found[-1][1]) == int((~labels[:, shown].any(1)).sum())


def test_shared_features_are_those_that_pass_on_enough_prompts(layers: list[MlpNeurons]) -> None:
    parts = [torch.zeros(10, 320), torch.zeros(10, 320)]
    parts[0][:, 5] = 1.0  # the largest of every prompt
    parts[1][:8, 6] = 0.3  # passes on 8 of 10
    parts[1][:5, 7] = 0.9  # passes on 5
    parts[1][:, 8] = 0.19  # never passes
    parts[0][:, 9] = -5.0
    found, share = shared_features(layers, parts)
    assert [(one.feature.key, one.share) for one in found] == [("mlp.2/5+", 1.0), ("mlp.5/6+", 0.8)]
    assert share == 0.7 and found[1].attribution == pytest.approx(0.24)
    more, share = shared_features(layers, parts, wanted=(3, 3))
    assert [one.feature.key for one in more] == ["mlp.2/5+", "mlp.5/6+", "mlp.5/7+"] and share == 0.5
    one, share = shared_features(layers, parts, wanted=(1, 1))
    assert [f.feature.key for f in one] == ["mlp.2/5+"] and share == 0.85
    assert shared_features(layers, [torch.zeros(4, 320)] * 2)[0] == []


def test_effects_are_paired_differences_beside_their_controls() -> None:
    moved = {"none": 0.0, "together": -0.4, "control 0": -0.1, "control 1": 0.1}
    rows = [
        {
            "group": "g",
            "question": question,
            "set": name,
            "to": "clean" if name == "none" else "zero",
            "answer": clean + change,
            "right": clean + change > 0.45,
        }
        for question, clean in enumerate((0.9, 0.8, 0.7, 0.6))
        for name, change in moved.items()
    ]
    found = effects(pd.DataFrame(rows), "to", seed=0).set_index("measure")
    probability = found.loc["probability"]
    assert probability[["value", "low", "high"]].tolist() == pytest.approx([-0.4] * 3)
    assert probability[["control", "control_low", "control_high"]].tolist() == pytest.approx(
        [0, -0.1, 0.1], abs=1e-12
    )
    assert probability["beyond"] == pytest.approx(-0.4) and probability["questions"] == 4
    assert found.loc["rate", "value"] == pytest.approx(-0.75)  # only 0.9 - 0.4 still counts


def test_flips_are_of_questions_answered_before_and_shifts_in_nats() -> None:
    rows = []
    for question in range(4):
        random = {"of": "g", "how": "erase", "answer": 0.4, "foil": 0.1, "flips": False, "top_flips": False}
        clean = {**random, "of": "", "how": "none", "set": "none", "flips": question == 3}
        erased = {**random, "set": "together", "answer": 0.2, "foil": 0.3}
        erased |= {"flips": question != 1, "top_flips": question == 0}
        controls = [{**random, "set": f"control {number}"} for number in (0, 1)]
        rows += [{"question": question, "group": "g", **row} for row in (clean, erased, *controls)]
    found = flips(pd.DataFrame(rows), seed=0).set_index("set")
    own, random_row = found.loc["together"], found.loc["random"]
    assert own["answer"] == pytest.approx(-np.log(2)) and own["foil"] == pytest.approx(np.log(3))
    assert own["flips"] == pytest.approx(2 / 3)  # the fourth question preferred its foil before
    assert own["top_flips"] == 0.25 and own["top_flips_high"] > 0.25 > own["top_flips_low"]
    assert random_row["foil"] == 0 and random_row["flips"] == 0 and random_row["flips_high"] > 0
    assert own["questions"] == random_row["questions"] == 4


def test_quality_tells_a_good_approximation_from_a_random_one() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=400)
    ablation = pd.DataFrame(
        {"prompt": np.repeat(np.arange(20), 20), "drawn": "strongest", "exact": exact,
         "good": exact + 0.1 * rng.normal(size=400), "opposite": -exact}
    )  # fmt: skip
    nothing = pd.DataFrame(columns=["pair", "kind", "exact", "attribution patching"])
    found = agreement_table(ablation, nothing, top=5, seed=0).set_index("approximation")
    assert found.loc["good", "spearman"] > 0.95 and found.loc["good", "sign"] > 0.9
    assert found.loc["opposite", "spearman"] == pytest.approx(-1) and found.loc["opposite", "sign"] == 0
    assert found.loc["opposite", "top"] == 1  # the same sizes
    assert abs(found.loc["good", "spearman_random"]) < 0.15
    assert (
        found.loc["good", "spearman_low"] < found.loc["good", "spearman"] < found.loc["good", "spearman_high"]
    )


@settings(max_examples=20)
@given(st.lists(st.floats(-10, 10, allow_nan=False), min_size=2, max_size=40))
def test_a_mean_lies_in_its_interval(values: list[float]) -> None:
    array = np.array(values)
    mean, low, high = mean_interval(array, seed=0)
    assert mean == pytest.approx(array.mean())
    assert array.min() - 1e-9 <= low <= mean + 1e-9 and mean - 1e-9 <= high <= array.max() + 1e-9


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    _, low, high = mean_interval(values, seed=1)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_a_share_of_none_still_has_an_interval() -> None:
    assert share_interval(0, 60) == pytest.approx((0.0, 0.0, 0.0602), abs=1e-3)  # Wilson: z^2 / (n + z^2)
    assert np.isnan(share_interval(0, 0)).all()


def test_a_feature_is_named_and_found_again(layers: list[MlpNeurons]) -> None:
    for key in ("mlp.2/17+", "mlp.5/319-"):
        assert FeatureRef.parse(key, layers).key == key
    assert FeatureRef.parse("mlp.2/17", layers).polarity == 1


@pytest.mark.parametrize(
    ("key", "says"),
    [("mlp.2/320", "0 to 319"), ("mlp.3/1", "mlp.2"), ("mlp.2", "SPACE/ID"), ("sae.x/1", "no feature space")],
)
def test_a_feature_that_does_not_exist_is_refused(layers: list[MlpNeurons], key: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        FeatureRef.parse(key, layers)


def test_statistics_know_their_levels(statistics: dict[str, FeatureStatistics]) -> None:
    found = statistics["mlp.2"]
    assert found.levels == LEVELS
    torch.testing.assert_close(
        found.tail(1e-5, torch.tensor([3, 3]), [1, -1]), found.quantile_values[3, [-1, 0]]
    )
    with pytest.raises(UserError, match="was not kept"):
        found.quantile(0.3, torch.tensor([3]))

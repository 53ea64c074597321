"""Patches, sweeps over pairs of layers, knockout, answers: against one-by-one runs and planted truths."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import interp
from interp.bundled.world.facts import facts
from interp.errors import UserError
from interp.intervene import Replace
from interp.lenses.affine import RIDGE, check_same_vocabulary, fit_affine
from interp.lenses.answers import Answers, first_tokens
from interp.lenses.knockout import Knockout, knockout_between, window
from interp.lenses.layer_pairs import (
    PairSweep,
    all_pairs,
    random_vectors,
    report_sweep,
    same_layer,
    sweep_pairs,
)
from interp.lenses.logit_lens import LogitLens
from interp.lenses.next_token import by_lens, by_maps, by_patchscope, read_beginnings, source_layers
from interp.lenses.patch import Patch
from interp.lenses.probe import probe_accuracy
from interp.lenses.prompt import Prompt, prompt_at, span_positions
from interp.lenses.prompt_batches import (
    Change,
    PromptBatch,
    next_normed,
    patched_continuations,
    prompt_batches,
)
from interp.lenses.residual_stream import EMBEDDING, read_stream, stream_site
from interp.subject import Subject
from tests.subjects import pydoc_subject, world_subject

CAPITALS = facts().relations["capital"]
COUNTRIES = tuple(CAPITALS)[:6]


@pytest.fixture(scope="module")
def world(each_backend: Subject) -> Subject:
    return each_backend


def asked(world: Subject, names: Sequence[str] = COUNTRIES) -> list[Prompt]:
    """Prompts of different lengths, so that batches are padded."""
    fillers = ["", ", as we know ,"]
    texts = [f"the capital of {name} {fillers[i % 2]} is".replace("  ", " ") for i, name in enumerate(names)]
    return [prompt_at(world, text, name) for text, name in zip(texts, names, strict=True)]


def gathered(world: Subject, prompts: Sequence[Prompt], change: Change | None = None) -> torch.Tensor:
    return world.unembed(next_normed(world, prompts, change, rows_per_batch=4))


@pytest.mark.parametrize("layer", [EMBEDDING, 2])
def test_a_patch_in_a_padded_batch_is_a_replacement_alone(world: Subject, layer: int) -> None:
    prompts, site = asked(world), stream_site(layer)
    vectors = torch.randn(len(prompts), world.d_model, generator=torch.Generator().manual_seed(0))
    found = gathered(world, prompts, Patch(site, vectors))
    for prompt, vector, logits in zip(prompts, vectors, found, strict=True):
        tokens, _ = world.pad([prompt.tokens])
        with world.intervene(Replace(world, site, vector, [prompt.position])):
            assert torch.allclose(logits, world.logits(tokens)[0, -1], atol=1e-4)


def test_a_rescaled_patch_has_the_norm_of_what_it_replaces(world: Subject) -> None:
    prompts, site = asked(world), stream_site(1)
    own = read_stream(world, prompts)[1]
    plain, longer = (
        gathered(world, prompts, Patch(site, factor * own, rescaled=True)) for factor in (1.0, 7.0)
    )
    assert torch.allclose(plain, gathered(world, prompts), atol=1e-3)
    assert torch.allclose(plain, longer, atol=1e-3)


def test_an_activation_put_where_it_stood_changes_nothing(world: Subject) -> None:
    prompts = asked(world)
    answers = Answers.of(world, [CAPITALS[name] for name in COUNTRIES])
    pairs = same_layer(range(EMBEDDING, world.n_layers))
    swept = sweep_pairs(world, read_stream(world, prompts), prompts, answers, pairs)
    assert swept.right.all() and swept.any().all()


def test_another_entity_s_activation_is_answered_for_it(world: Subject) -> None:
    prompts = asked(world)
    turned = [*COUNTRIES[1:], COUNTRIES[0]]
    vectors = read_stream(world, asked(world, turned))
    answers = Answers.of(world, [CAPITALS[name] for name in turned])
    pairs = all_pairs([0, 1, 7])
    swept = sweep_pairs(world, vectors, prompts, answers, pairs)
    assert swept.at((1, 1)).all() and not swept.at((7, 7)).any()
    frame = swept.frame().set_index(["source", "target"])
    assert frame.loc[(1, 1), "right"] == 1 and frame.loc[(7, 7), "right"] == 0
    random = sweep_pairs(world, random_vectors(vectors, 0), prompts, answers, [(1, 1)])
    assert not random.right.any()


def test_what_is_written_under_a_patch_is_the_same_without_a_cache(world: Subject) -> None:
    target = prompt_at(world, "france > about : country in europe , capital paris ; the > about :", "the")
    vectors = read_stream(world, asked(world))[2]
    patch = Patch(stream_site(2), vectors)
    written = patched_continuations(world, [target] * len(COUNTRIES), 8, patch)
    for name, text in zip(COUNTRIES, written, strict=True):
        assert CAPITALS[name] in text
    tokens, mask = world.pad([target.tokens] * len(COUNTRIES))
    columns = torch.full((len(COUNTRIES),), tokens.shape[1] + target.position)
    with patch.on(world, PromptBatch(list(range(len(COUNTRIES))), tokens, mask, columns)):
        again = world.generate_ids(tokens, mask, 8, use_cache=False)
    assert [world.decode(ids) for ids in again] == written


def test_random_vectors_have_the_norms_of_the_vectors() -> None:
    vectors = {0: torch.randn(5, 8), 3: 10 * torch.randn(5, 8)}
    drawn = random_vectors(vectors, 0)
    for layer, own in vectors.items():
        assert torch.allclose(drawn[layer].norm(dim=-1), own.norm(dim=-1))
        assert (torch.cosine_similarity(drawn[layer], own, dim=-1).abs() < 0.99).all()


def test_a_pair_is_chosen_on_one_half_and_an_oracle_is_not() -> None:
    # the first pair solves the first half, the second pair half of the second, each of the others one item
    right = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]], dtype=bool)
    sweep = PairSweep(((1, 0), (2, 0), (2, 1)), right)
    nothing = PairSweep(sweep.pairs, np.zeros_like(right))
    lucky = PairSweep(sweep.pairs, right[[2, 1, 0]])  # its own search finds another pair
    controls = {"random": [nothing], "lucky": [lucky], "two draws": [lucky, nothing]}
    table = report_sweep(sweep, controls, ([0, 1], [2, 3]), 0).set_index(["condition", "control"])
    assert table.loc[("chosen", ""), "right"] == 0
    assert tuple(table.loc[("chosen", ""), ["source", "target"]]) == (1, 0)
    assert tuple(table.loc[("chosen", "random"), ["source", "target"]]) == (1, 0)
    assert tuple(table.loc[("chosen", "lucky"), ["source", "target"]]) == (2, 1)
    assert table.loc[("chosen", "two draws"), ["source", "target"]].isna().all()
    assert table.loc[("best (oracle)", "lucky"), "right"] == 1
    assert table.loc[("best (oracle)", "two draws"), "right"] == 0.5
    assert table.loc[("best (oracle)", ""), "right"] == 1 and table.loc[("any (oracle)", ""), "right"] == 1
    assert table.loc[("any (oracle)", "random"), "right"] == 0
    assert (table["n"] == 2).all()
    assert sweep.where(lambda pair: pair[0] == 2).best() == (2, 0)
    assert sweep.of([3]).right.tolist() == [[False], [True], [True]]


class TestKnockout:
    """Attention that is blocked carries nothing; all else stays."""

    def test_a_blocked_token_no_longer_matters(self, world: Subject) -> None:
        prompts, others = asked(world), asked(world, [*COUNTRIES[1:], COUNTRIES[0]])
        after = [list(range(prompt.position + 1, 0)) for prompt in prompts]
        entity = [[prompt.position] for prompt in prompts]
        knockout = knockout_between(after, entity, range(world.n_layers))
        blocked, swapped = gathered(world, prompts, knockout), gathered(world, others, knockout)
        assert torch.allclose(blocked, swapped, atol=1e-4)
        assert not torch.allclose(gathered(world, prompts), gathered(world, others), atol=1)

    def test_blocking_nothing_changes_nothing(self, world: Subject) -> None:
        prompts = asked(world)
        nothing = knockout_between([[-1]] * len(prompts), [[]] * len(prompts), range(world.n_layers))
        assert torch.allclose(gathered(world, prompts, nothing), gathered(world, prompts), atol=1e-5)

    def test_the_answer_needs_the_entity_late_and_not_early(self, world: Subject) -> None:
        prompts = asked(world)
        answers = Answers.of(world, [CAPITALS[name] for name in COUNTRIES])
        last, entity = [[-1]] * len(prompts), [[prompt.position] for prompt in prompts]
        early, late = (
            knockout_between(last, entity, layers) for layers in (range(3), range(3, world.n_layers))
        )
        assert answers.right(world, prompts, early).all() and not answers.right(world, prompts, late).any()

    def test_what_is_written_behind_a_knockout_is_the_same_without_a_cache(self, world: Subject) -> None:
        prompts = asked(world)
        (rows,) = prompt_batches(world, prompts)
        entity = [[prompt.position] for prompt in prompts]
        knockout = knockout_between([[-1]] * len(prompts), entity, range(world.n_layers))
        written = [
            world.generate_ids(rows.tokens, rows.mask, 4, use_cache=cached) for cached in (True, False)
        ]
        with knockout.on(world, rows):
            blocked = [
                world.generate_ids(rows.tokens, rows.mask, 4, use_cache=cached) for cached in (True, False)
            ]
        assert blocked[0] == blocked[1] != written[0]

    def test_what_cannot_be_blocked(self, world: Subject) -> None:
        prompts = asked(world)[:1]
        length = len(prompts[0].tokens) + 1
        with pytest.raises(UserError, match="not in a prompt"):
            gathered(world, prompts, Knockout(((-1,),), ((-40,),), (0,)))
        with pytest.raises(UserError, match="nothing to attend to"):
            gathered(world, prompts, Knockout(((-1,),), (tuple(range(-length, 0)),), (0,)))
        with pytest.raises(UserError, match="2 queries for 1 keys"):
            knockout_between([[-1], [-1]], [[-2]], [0])

    def test_windows_end_with_the_model(self) -> None:
        assert window(0, 2, 8) == (0, 1, 2) and window(7, 1, 8) == (6, 7) and window(3, 0, 8) == (3,)


class TestAnswers:
    """What counts as right: the first token, or words in what is written."""

    def test_by_the_first_token_and_by_what_is_written(self, world: Subject) -> None:
        prompts = asked(world)
        truth = [CAPITALS[name] for name in COUNTRIES]
        wrong = [truth[1], *truth[1:]]
        for new_tokens in (0, 4):
            right = Answers.of(world, wrong, new_tokens).right(world, prompts)
            assert right.tolist() == [False] + [True] * (len(truth) - 1)

    def test_spellings_case_and_spaces(self, world: Subject) -> None:
        answers = Answers.of(world, [("paris", "london"), "new"], 3)
        assert answers.contained(["in  LON don", "nothing"]).tolist() == [True, False]
        assert answers.of_items([1, 1, 0]).texts == (("new",), ("new",), ("paris", "london"))
        assert first_tokens(world, "paris") == {world.single_token("paris")}

    def test_whole_words_alone_count_in_what_is_written(self, world: Subject) -> None:
        answers = Answers.of(world, ["is", "is"], 3)
        assert answers.contained(["this", "it is, is it?"]).tolist() == [False, True]

    def test_the_first_token_is_the_one_that_continues_the_prompt(self) -> None:
        pydoc = pydoc_subject()
        prompts = [prompt_at(pydoc, text) for text in ("the function will", "def find(")]
        answers = Answers.of(pydoc, ["be", "be"])
        whole = [" be", "(be"]
        expected = [pydoc.tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in whole]
        assert answers.first(pydoc, prompts) == [{token} for token in expected]
        assert expected[0] != expected[1] and first_tokens(pydoc, "be") == set(expected)
        assert answers.of_items([0]).right(pydoc, prompts[:1]).tolist() == [True]

    def test_an_empty_answer(self, world: Subject) -> None:
        with pytest.raises(UserError, match="empty"):
            Answers.of(world, ["paris", " "])


class TestNextToken:
    """Precision and surprisal where they are known."""

    def test_at_the_last_layer_every_method_is_the_output(self, world: Subject) -> None:
        corpus = interp.WorldCorpus(seed=3, n_documents=200)
        read, last = read_beginnings(world, corpus, "report", 24), world.n_layers - 1
        lens = LogitLens(world)
        target = prompt_at(world, "france > same : france ; the", "the")
        for scored in (by_lens(lens, read), by_patchscope(world, target, read)):
            own = scored[scored["layer"] == last]
            assert own["right"].all()
        # the last activation alone decides the output, whatever prompt it is put after
        lensed, scoped = by_lens(lens, read), by_patchscope(world, target, read)
        surprisal = [f[f["layer"] == last]["surprisal"].to_numpy() for f in (lensed, scoped)]
        assert np.allclose(*surprisal, atol=1e-3)

    def test_maps_are_fitted_on_other_text_and_help(self, world: Subject) -> None:
        corpus = interp.WorldCorpus(seed=3, n_documents=2500)
        fitted = read_beginnings(world, corpus, "explain", 600)
        read = read_beginnings(world, corpus, "report", 80)
        last = world.n_layers - 1
        maps = {n: fit_affine(fitted.vectors[n], fitted.vectors[last]) for n in source_layers(world)}
        plain = by_lens(LogitLens(world), read).groupby("layer")["surprisal"].mean()
        mapped = by_maps(LogitLens(world), maps, read).groupby("layer")["surprisal"].mean()
        assert mapped[EMBEDDING] < plain[EMBEDDING] and mapped[0] < plain[0]

    def test_too_few_documents(self, world: Subject) -> None:
        with pytest.raises(UserError, match="only"):
            read_beginnings(world, interp.WorldCorpus(seed=3, n_documents=9), "report", 50)


def test_a_planted_affine_map_is_recovered() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator)
    weight, bias = torch.randn(6, 4, generator=generator), torch.randn(4, generator=generator)
    found = fit_affine(x[:300], x[:300] @ weight + bias, ridge=0.0)
    assert torch.allclose(found(x[300:]), x[300:] @ weight + bias, atol=1e-4)
    assert found.explained(x[300:], x[300:] @ weight + bias) > 1 - 1e-8
    with pytest.raises(UserError, match="cannot be mapped"):
        fit_affine(x, x[:3])


def test_one_large_input_does_not_ruin_the_map_and_scikit_learn_gives_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=generator) + 3
    x[:, 2] *= 1000
    weight, bias = torch.randn(6, 4, generator=generator), torch.randn(4, generator=generator)
    y = x / x.std(0) @ weight + bias
    found = fit_affine(x[:300], y[:300])
    assert found.explained(x[300:], y[300:]) > 0.999
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE * 300)).fit(x[:300].double(), y[:300].double())
    np.testing.assert_allclose(found(x[300:]).numpy(), theirs.predict(x[300:].double()), atol=1e-3, rtol=1e-4)
    x[:, 4] = 7.0  # an input that never changes
    assert torch.equal(fit_affine(x, y).weight[4], torch.zeros(4, dtype=torch.double))


def test_models_of_different_vocabularies_are_told_apart() -> None:
    world, pydoc = world_subject(), pydoc_subject()
    check_same_vocabulary(world, world)
    with pytest.raises(UserError, match="differ in"):
        check_same_vocabulary(world, pydoc)


def test_a_probe_finds_what_is_planted_and_names_nothing_unseen() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = ["a", "b"] * 30 + ["c"] * 4
    vectors = torch.randn(64, 5, generator=generator)
    vectors[:60, 2] += torch.tensor([4.0, -4.0] * 30)
    found = probe_accuracy({0: torch.randn(64, 5), 1: vectors}, labels, range(40), range(40, 64))
    row = found.set_index("layer").loc[1]
    assert row["n"] == 24 and row["seen"] == 20 and row["right"] >= 19
    assert found.set_index("layer").loc[0, "right"] < 18
    assert probe_accuracy({0: vectors}, ["a"] * 64, range(10), range(10, 20)).empty


def test_positions_of_a_span_are_those_of_its_words(world: Subject) -> None:
    text = "the spouse of the performer of dekax kanav is"
    assert span_positions(world, text, "dekax kanav") == [-3, -2]
    assert span_positions(world, text, "spouse of the performer") == [-8, -7, -6, -5]

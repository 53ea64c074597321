"""Mining against brute force, its merge against the single pass, and its sizes on disk."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from interp.corpus.batches import batches, collate, rows_of
from interp.document import SPLITS, Corpus, Document, split_of
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.features.space import polarities
from interp.mining.config import MiningConfig, WindowCounts
from interp.mining.exemplars import exemplars
from interp.mining.fold import MiningState, fold, fold_batches
from interp.mining.mined import MinedSpace, mine, read_out
from interp.mining.quantiles import LEVELS
from interp.mining.store import disk_bytes, load_mined, save_mined
from interp.subject import Subject
from interp.subject import load as load_subject
from interp.track.files import read_safetensors, write_safetensors
from tests.corpora import ListCorpus, random_corpus
from tests.unit.embedding_coordinates import EmbeddingCoordinates

CONFIG = MiningConfig(
    context_size=16,
    tokens_per_batch=128,
    top_windows={"explain": 4, "select": 3, "report": 3},
    sampled_rows=12,
    sampled_tokens=50,
    extreme_tokens=5,
)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return load_subject("world")


def assert_same(one: MiningState, two: MiningState) -> None:
    for split in SPLITS:
        a, b = one.splits[split], two.splits[split]
        assert a.n_documents == b.n_documents
        for index_a, index_b in ((a.row_index, b.row_index), (a.token_index, b.token_index)):
            np.testing.assert_array_equal(
                index_a.priority[index_a.order()], index_b.priority[index_b.order()]
            )
        x, y = exemplars(one, split, "embedding"), exemplars(two, split, "embedding")
        for field in fields(x):
            left, right = getattr(x, field.name), getattr(y, field.name)
            if field.name == "mean":  # sums within a batch are rounded, and shards are batched differently
                torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-6)
            elif isinstance(left, torch.Tensor):
                assert torch.equal(left, right), (split, field.name)
            else:
                assert left == right


def brute_force_top(
    subject: Subject, corpus: Corpus, split: str, space: MlpNeurons, polarity: int, k: int
) -> list[list[tuple[float, int]]]:
    """For each neuron the k best (peak, content hash) over rows run one by one."""
    best: dict[int, torch.Tensor] = {}
    for index in range(len(corpus)):
        document = corpus[index]
        if split_of(document.hash) != split:
            continue
        for row in rows_of(index, document, CONFIG.context_size, subject.row_layout):
            batch = collate([row], subject.row_layout)
            if not batch.counts.any():
                continue
            got = subject.read(torch.from_numpy(batch.tokens), [space.site])[space.site]
            peak = polarity * space.encode(got)[0, torch.from_numpy(batch.counts[0])]
            peak = peak.amax(0)
            best[document.hash] = torch.maximum(best.get(document.hash, peak), peak)
    hashes = list(best)
    table = torch.stack([best[h] for h in hashes])
    return [
        sorted(((float(v), h) for v, h in zip(column, hashes, strict=True) if v > 0), reverse=True)[:k]
        for column in table.T
    ]


def test_top_windows_are_those_of_brute_force(subject: Subject) -> None:
    corpus = random_corpus(90, seed=1)
    space = MlpNeurons(subject, 3)
    mined = mine(subject, [space], corpus, CONFIG)
    for split in SPLITS:
        found = mined[space.name].exemplars[split]
        k = CONFIG.top_windows.of(split)
        for polarity in polarities(space):
            for neuron, expected in enumerate(brute_force_top(subject, corpus, split, space, polarity, k)):
                line = found.line(neuron, polarity)
                kept = int((found.top_document[line] >= 0).sum())
                assert kept == len(expected)
                values = found.top_value[line, :kept].tolist()
                np.testing.assert_allclose(values, [v for v, _ in expected], atol=2e-5)
                hashes = [corpus[int(d)].hash for d in found.top_document[line, :kept]]
                assert len(set(hashes)) == kept
                for value, got in zip(values, hashes, strict=True):
                    tied_with_last = abs(value - expected[-1][0]) < 2e-5
                    assert tied_with_last or any(got == h and abs(v - value) < 2e-5 for v, h in expected)


def test_kept_values_are_the_activations_of_the_window(subject: Subject) -> None:
    corpus = random_corpus(60, seed=2)
    space = MlpNeurons(subject, 5)
    found = mine(subject, [space], corpus, CONFIG)[space.name].exemplars["explain"]
    for neuron, polarity in ((0, 1), (7, -1), (100, 1)):
        for window in found.windows(neuron, polarity):
            if window.band != "top":
                continue
            document = corpus[window.document]
            rows = {row.start: row for row in rows_of(0, document, CONFIG.context_size, subject.row_layout)}
            batch = collate([rows[window.start]], subject.row_layout)
            got = subject.read(torch.from_numpy(batch.tokens), [space.site])[space.site]
            true = polarity * got[0, 1:, neuron]
            counts = torch.from_numpy(batch.counts[0, 1:])
            assert window.values is not None
            kept = window.values[: len(true)]
            assert torch.equal(torch.isfinite(kept), counts)
            assert not torch.isfinite(window.values[len(true) :]).any()
            torch.testing.assert_close(kept[counts], true[counts], atol=2e-3, rtol=2e-3)
            assert window.value == pytest.approx(float(true[counts].max()), abs=2e-5)


@settings(max_examples=6)
@given(st.integers(0, 1000), st.booleans(), st.lists(st.integers(0, 60), min_size=2, max_size=2))
def test_merging_shards_equals_the_single_pass(
    subject: Subject, seed: int, signed: bool, cuts: list[int]
) -> None:
    corpus = random_corpus(60, seed)
    space = EmbeddingCoordinates(9, signed)
    low, high = sorted(cuts)
    shards = [range(low), range(low, high), range(high, 60)]
    a, b, c = (fold(subject, [space], corpus, CONFIG, documents=s) if len(s) else None for s in shards)
    empty = MiningState.empty([space], CONFIG)
    a, b, c = a or empty, b or empty, c or empty
    whole = fold(subject, [space], corpus, CONFIG)
    assert_same(whole, a.merge(b).merge(c))
    assert_same(whole, a.merge(b.merge(c)))


def test_merging_states_of_batches_is_exact_at_a_deep_layer(subject: Subject) -> None:
    corpus = random_corpus(60, seed=4)
    space = MlpNeurons(subject, 6)
    stream = list(batches(corpus, range(60), subject.row_layout, 16, 128))

    whole, first, rest = (
        fold_batches(subject, [space], part, CONFIG) for part in (stream, stream[:5], stream[5:])
    )
    merged = first.merge(rest)
    for split in SPLITS:
        x, y = exemplars(whole, split, space.name), exemplars(merged, split, space.name)
        for field in fields(x):
            left, right = getattr(x, field.name), getattr(y, field.name)
            assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right, field.name


def test_moments_and_quantiles_match_numpy(subject: Subject) -> None:
    corpus = random_corpus(80, seed=5)
    space = MlpNeurons(subject, 2)
    config = CONFIG.model_copy(update={"sampled_tokens": 4000})
    found = mine(subject, [space], corpus, config)[space.name].exemplars["explain"]
    values = []
    for batch in batches(corpus, range(80), subject.row_layout, 16, 128):
        if batch.split == "explain":
            got = subject.read(torch.from_numpy(batch.tokens), [space.site])[space.site]
            values.append(got[torch.from_numpy(batch.counts)])
    table = torch.cat(values)
    assert found.n_tokens == len(table)
    torch.testing.assert_close(found.mean, table.mean(0), atol=1e-5, rtol=1e-4)
    rate = torch.cat([(table > 0).double().mean(0), (table < 0).double().mean(0)]).float()
    torch.testing.assert_close(found.rate, rate, atol=2 / len(table), rtol=0)
    expected = np.quantile(table.double().numpy(), LEVELS, axis=0, method="inverted_cdf").T
    np.testing.assert_allclose(found.quantile_values.numpy(), expected, atol=3e-3, rtol=2e-3)
    assert not found.quantile_error.any()


def test_sampled_quantiles_keep_their_stated_error(subject: Subject) -> None:
    corpus = random_corpus(400, seed=6)
    space = EmbeddingCoordinates(64, signed=True)
    config = CONFIG.model_copy(update={"sampled_tokens": 300})
    found = mine(subject, [space], corpus, config)["embedding"].exemplars["explain"]
    tokens = np.concatenate(
        [
            (d.tokens if d.template is None else d.tokens[~d.template])
            for d in corpus.documents
            if split_of(d.hash) == "explain"
        ]
    )
    table = subject.read(torch.from_numpy(tokens[None, :200].astype(np.int64)), [space.site])
    embedding = {int(t): table[space.site][0, i, :64] for i, t in enumerate(tokens[:200])}
    values = torch.stack([embedding[int(t)] for t in tokens if int(t) in embedding])
    assert len(values) == found.n_tokens
    column = LEVELS.index(0.75)
    below = (values < found.quantile_values[:, column] - 1e-3).double().mean(0)
    upto = (values <= found.quantile_values[:, column] + 1e-3).double().mean(0)
    error = float(found.quantile_error[column])
    assert 0 < error < 0.06
    inside = (below <= 0.75 + error) & (upto >= 0.75 - error)
    assert inside.double().mean() > 0.9


def test_bands_and_silent_windows_are_what_they_say(subject: Subject) -> None:
    corpus = random_corpus(300, seed=7)
    space = EmbeddingCoordinates(20, signed=False)
    config = CONFIG.model_copy(update={"sampled_rows": 100})
    found = mine(subject, [space], corpus, config)["embedding"].exemplars["explain"]
    for feature in range(20):
        windows = list(found.windows(feature))
        bands = [w for w in windows if w.band == "quantile"]
        shares = [w.quantile for w in bands]
        assert len(bands) == len(set(shares))
        ordered = sorted(bands, key=lambda w: w.quantile or 0)
        assert [w.value for w in ordered] == sorted(w.value for w in bands)
        for window in windows:
            document = corpus[window.document]
            assert split_of(document.hash) == "explain"


def test_what_is_active_too_seldom_for_bands_says_so(subject: Subject) -> None:
    space = EmbeddingCoordinates(20, signed=True)
    state = fold(subject, [space], random_corpus(300, seed=7), CONFIG)  # 12 sampled rows
    found, rows = (
        read_out(state, "embedding").exemplars["explain"],
        state.splits["explain"].spaces["embedding"],
    )
    active = (rows.rows.value > 0).sum(0)
    assert 0 < int((active < 10).sum()) < len(active)
    for line in range(len(active)):
        feature, polarity = line % 20, 1 if line < 20 else -1
        bands = [window for window in found.windows(feature, polarity) if window.band == "quantile"]
        assert bool(bands) == (int(active[line]) >= 10) == (found.unbanded(feature, polarity) == "")
        if not bands:
            assert "fewer than 10 of the 12 windows" in found.unbanded(feature, polarity)


def test_duplicated_documents_count_once(subject: Subject) -> None:
    one, two = (Document(np.arange(i, i + 6, dtype=np.int32)) for i in (5, 20))
    corpus = ListCorpus([one, two] * 40)
    space = MlpNeurons(subject, 1)
    config = CONFIG.model_copy(update={"top_windows": WindowCounts(explain=4, select=4, report=4)})
    mined = mine(subject, [space], corpus, config)
    for split in SPLITS:
        found = mined[space.name].exemplars[split]
        texts = {d.hash for d in (one, two) if split_of(d.hash) == split}
        for line in found.top_document:
            kept = line[line >= 0].tolist()
            assert len(kept) <= len(texts) and all(index < 2 for index in kept)


def test_it_comes_back_from_disk_and_has_the_stated_size(subject: Subject, tmp_path: Path) -> None:
    corpus = random_corpus(200, seed=8)
    space = MlpNeurons(subject, 0)
    mined = mine(subject, [space], corpus, CONFIG)
    save_mined(mined, tmp_path / "with", token_samples=True)
    back = load_mined(tmp_path / "with")
    for split in SPLITS:
        for one, two in (
            (mined[space.name].exemplars[split], back[space.name].exemplars[split]),
            (mined[space.name].samples[split], back[space.name].samples[split]),
        ):
            for field in fields(one):
                left, right = getattr(one, field.name), getattr(two, field.name)
                assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right
    save_mined(mined, tmp_path / "without", token_samples=False)
    on_disk = sum(f.stat().st_size for f in (tmp_path / "without").glob("*.safetensors"))
    stated = disk_bytes(space.n_features, space.signed, CONFIG)
    assert stated <= on_disk + 3 * 8 * CONFIG.sampled_rows
    assert on_disk < stated + 3 * 4096


def test_an_8b_model_takes_under_6_gb() -> None:
    assert disk_bytes(458_752, True, MiningConfig()) < 3.1e9
    assert disk_bytes(458_752, True, MiningConfig(sampled_tokens=1024), token_samples=True) < 6e9


def test_of_many_spaces_only_what_is_asked_for_is_opened_and_held_to_be_numbers(
    subject: Subject, tmp_path: Path
) -> None:
    spaces = [MlpNeurons(subject, layer) for layer in range(3)]
    mined = mine(subject, spaces, random_corpus(60, seed=8), CONFIG)
    made: list[str] = []

    def one_by_one() -> Iterator[MinedSpace]:
        for name, found in mined.items():
            made.append(name)
            yield found
            assert (tmp_path / f"{name}.report.tokens.safetensors").exists()  # before the next is made

    save_mined(one_by_one(), tmp_path)
    assert made == [space.name for space in spaces]
    before = list(mined["mlp.1"].windows(7, -1))
    spoiled = tmp_path / "mlp.0.select.safetensors"
    spoiled.write_bytes(b"\0" * spoiled.stat().st_size)
    tensors, _ = read_safetensors(tmp_path / "mlp.1.explain.safetensors")
    tensors["top_values"][5, 0, 0] = torch.nan
    tensors["top_value"][6, 0] = torch.inf
    tensors["silent_row"][8, 0] = CONFIG.sampled_rows
    write_safetensors(tmp_path / "mlp.1.explain.safetensors", tensors)

    back = load_mined(tmp_path)
    assert {name: type(found) for name, found in back.items()} == dict.fromkeys(mined, MinedSpace)
    with pytest.raises(UserError, match="cannot be read"):
        next(back["mlp.0"].windows(7, split="select"))
    one = back["mlp.1"]
    for shown, true in zip(one.windows(7, -1), before, strict=True):
        assert replace(shown, values=None) == replace(true, values=None)
        assert (shown.values is None) == (true.values is None)
        assert shown.values is None or torch.equal(shown.values, true.values)
    for feature, says in ((5, "no numbers"), (6, "larger than half precision"), (8, "in no row")):
        with pytest.raises(UserError, match=says):
            list(one.windows(feature))
    for name, says in (("top_values", "no numbers"), ("top_value", "larger than half precision")):
        with pytest.raises(UserError, match=says):
            getattr(one.exemplars["explain"], name)
    assert torch.equal(one.statistics().mean, mined["mlp.1"].statistics().mean)


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("mean", lambda mean: mean[:-1], "has the shape"),
        ("top_start", lambda start: start.float(), "holds torch.float32"),
        ("rate", lambda rate: None, "lack"),
        ("band_value", lambda value: value[:, :4], "has the shape"),
    ],
)
def test_a_file_of_other_tensors_is_an_error(
    subject: Subject, tmp_path: Path, name: str, spoil: Callable[[Tensor], Tensor | None], says: str
) -> None:
    save_mined(mine(subject, [MlpNeurons(subject, 0)], random_corpus(20, 9), CONFIG), tmp_path)
    file = tmp_path / "mlp.0.select.safetensors"
    tensors, _ = read_safetensors(file)
    changed = {**tensors, name: spoil(tensors[name])}
    write_safetensors(file, {key: one.contiguous() for key, one in changed.items() if one is not None})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["spaces"]["mlp.0"]["select"]["bytes"]  # as before sizes were kept
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=says):
        _ = load_mined(tmp_path)["mlp.0"].exemplars["select"]


def test_a_damaged_folder_is_an_error(subject: Subject, tmp_path: Path) -> None:
    space = MlpNeurons(subject, 0)
    save_mined(mine(subject, [space], random_corpus(20, 9), CONFIG), tmp_path)
    victim = tmp_path / "mlp.0.explain.safetensors"
    victim.write_bytes(victim.read_bytes()[:100])
    with pytest.raises(UserError, match="mine again"):
        load_mined(tmp_path)


def test_bad_input_is_named(subject: Subject) -> None:
    space = MlpNeurons(subject, 0)
    with pytest.raises(UserError, match="no text"):
        mine(subject, [space], ListCorpus([]), CONFIG)
    with pytest.raises(UserError, match="distinct names"):
        mine(subject, [space, space], random_corpus(5, 1), CONFIG)
    with pytest.raises(UserError, match="do not fit"):
        mine(subject, [space], random_corpus(5, 1), MiningConfig(context_size=100_000))

"""An SAE from nothing to figures on the bundled model: trained, saved, loaded, spliced in, measured."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file

import interp.subject
import saes
from interp.corpus.document import Document, split_of
from interp.errors import UserError
from interp.organism.corpus import WorldCorpus
from interp.subject import Site, Subject
from saes.evaluate import at_counted, evaluate, held_out, token_losses, training_probe
from saes.stream import SubjectActivations

SITE = Site("resid_post", 4)
CONFIG = saes.SaeTraining(
    n_latents=256, training_tokens=60 * 512, batch_tokens=512, buffer_tokens=4096, checkpoint_every_steps=7
)


@pytest.fixture(scope="module")
def subject() -> Subject:
    return interp.subject.load("world")


@pytest.fixture(scope="module")
def corpus() -> WorldCorpus:
    return WorldCorpus(5, 4000)


@pytest.fixture(scope="module")
def folder(subject: Subject, corpus: WorldCorpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sae") / "sae"
    saes.train(subject, SITE, corpus, CONFIG, folder)
    return folder


class Killed(Exception):
    pass


def test_a_short_training_already_explains_held_out_text(
    subject: Subject, corpus: WorldCorpus, folder: Path
) -> None:
    latents = saes.load(subject, folder)
    figures = evaluate(subject, latents, corpus, max_tokens=4000)
    assert figures.split == "report"
    assert figures.n_tokens >= 3000
    assert figures.explained_variance > 0.6
    assert 14 < figures.l0 <= 16.0
    assert figures.cross_entropy_clean < figures.cross_entropy_spliced < figures.cross_entropy_ablated
    low, high = figures.cross_entropy_recovered_interval
    assert 0.5 < low < figures.cross_entropy_recovered < high < 1.0
    assert figures.n_dead == figures.rate_histogram["never"]
    assert sum(figures.rate_histogram.values()) == 256
    assert figures.metrics()["sae/cross_entropy_recovered"] == figures.cross_entropy_recovered


def test_saelens_reads_what_was_written(subject: Subject, folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["cfg.json", "sae_weights.safetensors", "sparsity.safetensors"]
    assert load_file(folder / "sparsity.safetensors")["sparsity"].shape == (256,)
    loaded, ours = SAE.load_from_disk(folder), saes.load(subject, folder)
    activation = subject.read(subject.to_tokens("the capital of"), [SITE])[SITE]
    assert torch.equal(loaded.encode(activation), ours.encode(activation))
    assert loaded.cfg.metadata.hook_name == SITE.hook_name
    assert loaded.cfg.metadata.model_name == subject.name


def test_killed_and_continued_on_a_subject_ends_with_the_same_bits(
    subject: Subject, corpus: WorldCorpus, folder: Path, tmp_path: Path
) -> None:
    def kill(values: dict[str, float], tokens: int) -> None:
        if tokens >= 40 * 512:
            raise Killed

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        saes.train(subject, SITE, corpus, CONFIG, tmp_path / "sae", checkpoint=checkpoint, log=kill)
    assert checkpoint.exists() and not (tmp_path / "sae").exists()
    saes.train(subject, SITE, corpus, CONFIG, tmp_path / "sae", checkpoint=checkpoint)
    assert not checkpoint.exists()
    assert os.listdir(tmp_path) == ["sae"]
    for file in ("sae_weights.safetensors", "sparsity.safetensors", "cfg.json"):
        assert (tmp_path / "sae" / file).read_bytes() == (folder / file).read_bytes()


def test_an_existing_folder_is_never_overwritten(subject: Subject, corpus: WorldCorpus, folder: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        saes.train(subject, SITE, corpus, CONFIG, folder)


def test_only_training_text_and_counted_positions_are_streamed(subject: Subject, corpus: WorldCorpus) -> None:
    seen: list[int] = []

    class Watched(WorldCorpus):
        def __getitem__(self, index: int) -> Document:  # type: ignore[override]
            seen.append(index)
            return corpus[index]

    source = SubjectActivations(subject, SITE, Watched(5, 4000), seed=0, buffer_tokens=1500)
    activations, cursor = source.buffer(0)
    chosen = [corpus[index] for index in seen[:cursor] if split_of(corpus[index].hash) == "explain"]
    counted = 0
    for document in chosen:
        counts = ~np.isin(document.tokens, list(subject.special_ids))
        counted += int((counts if document.template is None else counts & ~document.template).sum())
    assert len(activations) == counted >= 1500
    one = chosen[0]
    tokens = torch.tensor([[subject.bos_id, *one.tokens]])
    alone = subject.read(tokens, [SITE])[SITE][0, 1:]
    distances = torch.cdist(alone.double(), activations.double()).min(1).values
    keep = ~np.isin(one.tokens, list(subject.special_ids))
    if one.template is not None:
        keep &= ~one.template
    assert float(distances[torch.from_numpy(keep)].max()) < 1e-2


def test_another_epoch_has_another_order(subject: Subject) -> None:
    small = WorldCorpus(5, 60)
    source = SubjectActivations(subject, SITE, small, seed=0, buffer_tokens=200)
    cursors = [0]
    while cursors[-1] < 180:
        cursors.append(source.buffer(cursors[-1])[1])
    orders = [[source._document_at(60 * epoch + place) for place in range(60)] for epoch in range(3)]
    assert all(sorted(order) == list(range(60)) for order in orders)
    assert orders[0] != orders[1] != orders[2]


def test_splicing_the_activation_itself_recovers_everything(subject: Subject, corpus: WorldCorpus) -> None:
    probe = training_probe(subject, SITE, corpus, max_tokens=1000)
    assert probe(lambda x: x)["sae/cross_entropy_recovered"] == pytest.approx(1.0, abs=1e-6)
    assert probe(torch.zeros_like)["sae/cross_entropy_recovered"] == pytest.approx(0.0, abs=1e-6)


def test_cross_entropies_are_those_of_a_direct_computation(
    subject: Subject, corpus: WorldCorpus, folder: Path
) -> None:
    """One document at a time, without batches, padding or hooks of ours on other positions."""
    latents = saes.load(subject, folder)
    laid = held_out(subject, corpus, "report", 600, 128)
    figures = evaluate(subject, latents, corpus, max_tokens=600, ablation="mean")
    clean = spliced = 0.0
    n = 0
    for tokens, counts in rows(laid):
        hook = at_counted(latents.reconstruct, counts)
        with torch.no_grad():
            before = token_losses(subject.logits(tokens), tokens)
            with subject.edited({SITE: hook}):
                after = token_losses(subject.logits(tokens), tokens)
        keep = counts[:, 1:]
        clean, spliced = clean + float(before[keep].sum()), spliced + float(after[keep].sum())
        n += int(keep.sum())
    assert figures.cross_entropy_clean == pytest.approx(clean / n, rel=1e-5)
    assert figures.cross_entropy_spliced == pytest.approx(spliced / n, rel=1e-5)
    assert figures.ablation == "mean"


def rows(laid: list) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:  # type: ignore[type-arg]
    for batch in laid:
        for tokens, counts in zip(batch.tokens, batch.counts, strict=True):
            length = int(np.flatnonzero(counts).max(initial=0)) + 1
            if length > 1:
                yield torch.from_numpy(tokens[None, :length]), torch.from_numpy(counts[None, :length])


def test_a_corpus_without_countable_text_is_a_clear_error(subject: Subject, tmp_path: Path) -> None:
    class Templates(WorldCorpus):
        def __getitem__(self, index: int) -> Document:  # type: ignore[override]
            tokens = np.full(5, 9 + index, dtype=np.int32)
            return Document(tokens, template=np.ones(5, dtype=bool))

    for empty, message in ((WorldCorpus(0, 0), "empty"), (Templates(0, 12), "no token of the corpus counts")):
        with pytest.raises(UserError, match=message):
            saes.train(subject, SITE, empty, CONFIG, tmp_path / "sae")
    assert os.listdir(tmp_path) == []

"""An SAE from nothing to figures on the bundled model: trained, saved, loaded, spliced in, measured."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file

import saes
from interp.bundled.world.corpus import WorldCorpus
from interp.document import Document, split_of
from interp.errors import UserError
from interp.subject import Site, Subject
from saes.architecture import Transcoder
from saes.evaluation import evaluate, held_out_batches, training_probe
from saes.splice import Documents, Splice, document_losses
from saes.stream import SubjectActivations
from saes.train import Plan

SITE = Site("resid_post", 4)
CONFIG = saes.SaeTraining(
    n_latents=256, training_tokens=60 * 512, batch_tokens=512, buffer_tokens=4096, checkpoint_every_steps=7
)


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
    assert figures.cross_entropy_with_error == pytest.approx(figures.cross_entropy_clean, abs=1e-4)
    assert -1e-6 < figures.kl_with_error < 1e-6 < figures.kl_spliced < figures.kl_ablated
    assert figures.n_dense == sum(rate > 0.1 for rate in figures.firing_rates)
    low, high = figures.cross_entropy_recovered_interval
    assert 0.5 < low < figures.cross_entropy_recovered < high < 1.0
    assert figures.n_dead == figures.rate_histogram["never"]
    assert sum(figures.rate_histogram.values()) == 256
    assert figures.metrics()["sae/cross_entropy_recovered"] == figures.cross_entropy_recovered


def test_losses_on_a_sample_of_the_documents_agree_with_those_on_all(
    subject: Subject, corpus: WorldCorpus, folder: Path
) -> None:
    latents = saes.load(subject, folder)
    whole = evaluate(subject, latents, corpus, max_tokens=6000)
    assert (whole.n_loss_documents, whole.n_loss_tokens) == (whole.n_documents, whole.n_tokens)
    sampled = evaluate(subject, latents, corpus, max_tokens=6000, loss_tokens=1500)
    assert 1200 < sampled.n_loss_tokens < 1600 and sampled.n_loss_documents < whole.n_documents / 3
    assert (sampled.n_documents, sampled.n_tokens) == (whole.n_documents, whole.n_tokens)
    assert sampled.explained_variance == whole.explained_variance
    (low, high), (inner, outer) = (each.cross_entropy_recovered_interval for each in (sampled, whole))
    assert low < whole.cross_entropy_recovered < high
    assert high - low > outer - inner
    assert sampled.cross_entropy_recovered != whole.cross_entropy_recovered


def test_the_configuration_is_written_in_one_order_whatever_the_process(folder: Path) -> None:
    text = (folder / "cfg.json").read_text()
    assert json.dumps(json.loads(text), sort_keys=True) == text.rstrip("\n")


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


def test_dictionaries_at_several_sites_share_one_reading(
    subject: Subject, corpus: WorldCorpus, folder: Path, tmp_path: Path
) -> None:
    read: list[int] = []

    class Counted(WorldCorpus):
        def __getitem__(self, index: int) -> Document:  # type: ignore[override]
            read.append(index)
            return corpus[index]

    transcoder = CONFIG.model_copy(update={"architecture": Transcoder(to="mlp_out.3", k=16)})
    plans = [
        Plan("sae", SITE, CONFIG),
        Plan("heads", Site("head_out", 5), CONFIG.model_copy(update={"training_tokens": 20 * 512})),
        Plan("transcoder", Site("resid_mid", 3), transcoder),
    ]
    logged: set[str] = set()
    folders = saes.train_together(
        subject,
        plans,
        Counted(5, 4000),
        tmp_path,
        checkpoints=tmp_path / "checkpoints",
        log=lambda name, values, tokens: logged.add(name),
    )
    assert len(read) == len(set(read))
    assert logged == {"sae", "heads", "transcoder"}
    assert not list((tmp_path / "checkpoints").glob("*"))
    weights = "sae_weights.safetensors"
    assert (folders["sae"] / weights).read_bytes() == (folder / weights).read_bytes()
    for name, site, target in (
        ("heads", "head_out.5", "head_out.5"),
        ("transcoder", "resid_mid.3", "mlp_out.3"),
    ):
        dictionary = saes.load(subject, folders[name])
        assert (str(dictionary.site), str(dictionary.target)) == (site, target)
        figures = evaluate(subject, dictionary, corpus, max_tokens=2000)
        assert 0 < figures.explained_variance < 1 and 5 < figures.l0 < 40
        assert figures.cross_entropy_clean < figures.cross_entropy_spliced < figures.cross_entropy_ablated
        assert figures.kl_with_error == pytest.approx(0.0, abs=1e-5)


def test_a_spliced_transcoder_is_what_a_direct_computation_gives(
    subject: Subject, corpus: WorldCorpus
) -> None:
    """A transcoder that predicts a multiple of the layer's own input is put in place by hand."""
    reads, writes = Site("resid_mid", 3), Site("mlp_out", 3)
    laid = held_out_batches(subject, corpus, "report", 300, 128)
    documents = Documents(laid)
    _, under = document_losses(subject, documents, {"": Splice(reads, writes, lambda x, y: 0.5 * x)})
    total = 0.0
    for tokens, counts in rows(laid):
        x = subject.read(tokens, [reads])[reads]
        with torch.no_grad():
            edit = {writes: lambda y, x=x, c=counts: torch.where(c[..., None], 0.5 * x, y)}
            with subject.edited(edit):
                total += float(next_losses(subject.logits(tokens), tokens)[counts[:, 1:]].sum())
    assert float(under[""].cross_entropy.sum()) == pytest.approx(total, rel=1e-5)


def test_an_existing_folder_is_never_overwritten(subject: Subject, corpus: WorldCorpus, folder: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        saes.train(subject, SITE, corpus, CONFIG, folder)


def test_only_training_text_and_counted_positions_are_streamed(subject: Subject, corpus: WorldCorpus) -> None:
    seen: list[int] = []

    class Watched(WorldCorpus):
        def __getitem__(self, index: int) -> Document:  # type: ignore[override]
            seen.append(index)
            return corpus[index]

    source = SubjectActivations(subject, [SITE], Watched(5, 4000), seed=0, buffer_tokens=1500)
    buffers, cursor = source.buffers(0)
    activations = buffers[SITE]
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
    source = SubjectActivations(subject, [SITE], small, seed=0, buffer_tokens=200)
    cursors = [0]
    while cursors[-1] < 180:
        cursors.append(source.buffers(cursors[-1])[1])
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
    laid = held_out_batches(subject, corpus, "report", 600, 128)
    figures = evaluate(subject, latents, corpus, max_tokens=600, ablation="mean")
    clean = spliced = 0.0
    n = 0
    for tokens, counts in rows(laid):
        hooks = Splice(SITE, SITE, lambda x, y: latents.reconstruct(x)).hooks(counts)
        with torch.no_grad():
            before = next_losses(subject.logits(tokens), tokens)
            with subject.edited(hooks):
                after = next_losses(subject.logits(tokens), tokens)
        keep = counts[:, 1:]
        clean, spliced = clean + float(before[keep].sum()), spliced + float(after[keep].sum())
        n += int(keep.sum())
    assert figures.cross_entropy_clean == pytest.approx(clean / n, rel=1e-5)
    assert figures.cross_entropy_spliced == pytest.approx(spliced / n, rel=1e-5)
    assert figures.ablation == "mean"


def next_losses(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits[:, :-1].mT, tokens[:, 1:], reduction="none")


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

"""Activations on disk: what is read is what the subject computes, also after a kill and past the bound."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
import saes
from interp.bundled.world.corpus import WorldCorpus
from interp.corpus import activations
from interp.corpus.activations import ActivationsConfig, KeptActivations
from interp.corpus.batches import Batch, batches
from interp.document import SPLITS
from interp.errors import UserError
from interp.features.directions import random_directions
from interp.features.neurons import MlpNeurons
from interp.features.principal import principal_directions
from interp.mining.config import MiningConfig
from interp.mining.mined import mine
from interp.subject import Site, Subject
from interp.tensors import read_tensors
from saes.evaluation import evaluate
from saes.stream import SubjectActivations

SITE, LATER = Site("resid_post", 2), Site("head_out", 3)
MINING = MiningConfig(context_size=32, tokens_per_batch=512, sampled_rows=20, sampled_tokens=50)
TRAINING = saes.SaeTraining(
    n_latents=64, training_tokens=40 * 256, batch_tokens=256, buffer_tokens=1024, context_size=32
)
EXACT = ActivationsConfig(dtype="float32")


@pytest.fixture(scope="module")
def corpus() -> WorldCorpus:
    return WorldCorpus(5, 150)


def mined_into(
    folder: Path, subject: Subject, corpus: WorldCorpus, config: ActivationsConfig = EXACT
) -> KeptActivations:
    kept = KeptActivations(folder, subject, corpus, [SITE], config)
    mine(subject, [MlpNeurons(subject, 4)], corpus, MINING, kept=kept)
    return KeptActivations(folder, subject, corpus, [SITE], config)


def laid(subject: Subject, corpus: WorldCorpus, context_size: int = 32) -> list[Batch]:
    return list(batches(corpus, range(len(corpus)), subject.row_layout, context_size, 512))


def read(kept: KeptActivations, batch: Batch, site: Site = SITE) -> Tensor:
    found: list[Tensor] = []
    kept.visit(batch, {site: lambda activation: found.append(activation.clone())})
    return found[0][torch.from_numpy(batch.counts)]


def test_all_that_reads_a_site_gets_it_from_one_pass(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = random_directions(subject, SITE, 20, 0)
    of_text = mine(subject, [space], corpus, MINING)
    trained = saes.train(subject, SITE, corpus, TRAINING, tmp_path / "of text")
    principal = principal_directions(subject, SITE, corpus, context_size=32)
    figures = evaluate(subject, trained, corpus, context_size=32)
    kept = mined_into(tmp_path / "kept", subject, corpus)

    monkeypatch.setattr(Subject, "visit", None)  # from here on it cannot be called
    of_disk = mine(subject, [space], corpus, MINING, kept=kept)
    again = saes.train(subject, SITE, corpus, TRAINING, tmp_path / "of disk", kept=kept)
    for split in SPLITS:
        one, two = (m[space.name].exemplars[split] for m in (of_text, of_disk))
        torch.testing.assert_close(one.quantile_values, two.quantile_values, atol=1e-3, rtol=1e-3)
        assert torch.equal(one.top_document, two.top_document)
    assert (trained.sae.W_dec - again.sae.W_dec).norm() < 1e-2 * trained.sae.W_dec.norm()
    found = principal_directions(subject, SITE, corpus, context_size=32, kept=kept)
    assert (found.vectors[:10] @ principal.vectors[:10].T).abs().diagonal().min() > 0.999
    same = evaluate(subject, trained, corpus, context_size=32, kept=kept)
    assert same.explained_variance == pytest.approx(figures.explained_variance, abs=1e-5)
    assert same.kl_spliced == figures.kl_spliced


def test_a_subject_in_half_precision_is_read_in_it(corpus: WorldCorpus, tmp_path: Path) -> None:
    """Directions are in the subject's float type, and so is what they are multiplied with."""
    subject = interp.load("world", dtype="bfloat16")
    space = random_directions(subject, SITE, 20, 0)
    of_text = mine(subject, [space], corpus, MINING)
    kept = mined_into(tmp_path / "kept", subject, corpus, ActivationsConfig())
    of_disk = mine(subject, [space], corpus, MINING, kept=kept)
    for split in SPLITS:
        one, two = (m[space.name].exemplars[split] for m in (of_text, of_disk))
        torch.testing.assert_close(one.quantile_values, two.quantile_values, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("site", [SITE, LATER])
def test_a_stream_from_disk_has_the_bits_of_one_from_the_subject(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path, site: Site
) -> None:
    plain = SubjectActivations(subject, [site], corpus, seed=3, context_size=32, buffer_tokens=1024)
    expected, following = plain.buffers(0)
    for dtype, exactly in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        config = ActivationsConfig.model_validate({"dtype": dtype})
        for _ in ("computed and kept", "read"):
            kept = KeptActivations(tmp_path / dtype, subject, corpus, [site], config)
            stream = SubjectActivations(
                subject, [site], corpus, seed=3, context_size=32, buffer_tokens=1024, kept=kept
            )
            found, after = stream.buffers(0)
            assert after == following
            assert torch.equal(found[site], expected[site].to(exactly).float())


def test_a_killed_pass_keeps_its_shards_and_ends_with_the_same_activations(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations, "SHARD_BYTES", 400_000)
    whole = mined_into(tmp_path / "whole", subject, corpus)
    files = sorted((tmp_path / "whole").glob("*.safetensors"))
    assert len(files) > 2
    some = KeptActivations(tmp_path / "killed", subject, corpus, [SITE], EXACT)
    stream = laid(subject, corpus)
    for batch in stream[: len(stream) // 2]:
        some.visit(batch, {SITE: lambda activation: None})  # killed here: what waits is lost
    written = {f.name: f.stat().st_mtime_ns for f in (tmp_path / "killed").glob("*.safetensors")}
    assert 0 < len(written) < len(files)
    resumed = mined_into(tmp_path / "killed", subject, corpus)
    assert written.items() <= {f.name: f.stat().st_mtime_ns for f in (tmp_path / "killed").iterdir()}.items()
    for batch in stream:
        assert torch.equal(read(resumed, batch), read(whole, batch))


def test_what_is_on_disk_is_a_bfloat16_of_each_counted_token_with_its_place(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path
) -> None:
    mined_into(tmp_path, subject, corpus, ActivationsConfig())
    (file,) = tmp_path.glob("*.safetensors")
    tensors: Mapping[str, Tensor] = read_tensors(file, "")[0]
    stream = laid(subject, corpus)
    n = sum(batch.n_counted for batch in stream)
    assert tensors[str(SITE)].shape == (n, subject.site_width(SITE))
    assert tensors[str(SITE)].dtype == torch.bfloat16
    documents = np.repeat(tensors["document"].numpy(), tensors["count"].numpy())
    for document, position, token in zip(documents, tensors["position"], tensors["token"], strict=True):
        assert corpus[int(document)].tokens[position] == token


def test_beyond_the_bound_the_text_is_read_again_and_that_is_said_once(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path
) -> None:
    said: list[str] = []
    config = ActivationsConfig.model_validate({"keep": "300 kB", "dtype": "float32"})
    kept = KeptActivations(tmp_path, subject, corpus, [SITE], config, said.append)
    bounded = mine(subject, [random_directions(subject, SITE, 20, 0)], corpus, MINING, kept=kept)
    assert len(said) == 1
    assert 200_000 < sum(file.stat().st_size for file in tmp_path.glob("*.safetensors")) < 310_000
    free = mine(subject, [random_directions(subject, SITE, 20, 0)], corpus, MINING)
    name = "directions.random.resid_post.2"
    for split in SPLITS:
        one, two = bounded[name].exemplars[split], free[name].exemplars[split]
        assert torch.equal(one.quantile_values, two.quantile_values)


def test_a_row_that_is_cut_otherwise_is_computed(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path
) -> None:
    kept = mined_into(tmp_path, subject, corpus)
    for batch in laid(subject, corpus, 16)[:3]:
        expected = subject.read(torch.from_numpy(batch.tokens), [SITE])[SITE]
        assert torch.equal(read(kept, batch), expected[torch.from_numpy(batch.counts)])


def test_a_damaged_shard_and_a_folder_of_something_else_are_one_message(
    subject: Subject, corpus: WorldCorpus, tmp_path: Path
) -> None:
    mined_into(tmp_path, subject, corpus)
    with pytest.raises(UserError, match="another corpus, documents"):
        KeptActivations(tmp_path, subject, WorldCorpus(6, 140), [SITE], EXACT)
    with pytest.raises(UserError, match="another dtype"):
        KeptActivations(tmp_path, subject, corpus, [SITE])
    file = tmp_path / "00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        KeptActivations(tmp_path, subject, corpus, [SITE], EXACT)
    file.unlink()
    with pytest.raises(UserError, match="no file"):
        KeptActivations(tmp_path, subject, corpus, [SITE], EXACT)

"""Every file that a user hands over: whatever is wrong with it is one message that names the file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import saes
from interp.cli.loading import load_config
from interp.config import ExperimentConfig, WandbOptions
from interp.corpus.questions import QuestionFile
from interp.corpus.text_file import TextFile
from interp.descriptions.interest import InterestClassifier, train_interest
from interp.distil.sets import explainer_set
from interp.embed.tfidf import TfidfEmbedder
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.json_text import read_json
from interp.lenses.entities import EntityFile
from interp.lenses.hops import HopFile
from interp.lenses.jacobian_lens import JacobianLens
from interp.lenses.languages import TranslationFile, WordFile
from interp.lenses.lens_file import load_lens, save_lens
from interp.lenses.patchscopes import open_target_prompts
from interp.lenses.relations import read_relation
from interp.lenses.tuned_lens import TunedLens
from interp.lines import json_lines, text_lines
from interp.mining.config import MiningConfig, WindowCounts
from interp.mining.mined import mine
from interp.mining.store import load_mined, save_mined
from interp.parquet import read_parquet
from interp.store.neuronpedia import import_neuronpedia
from interp.store.parquet import import_parquet
from interp.store.store import Store
from interp.subject import Site, Subject
from interp.subject.model_files import read_object
from interp.tensors import read_tensors, shapes
from interp.track.progress import silent
from interp.track.records import read_manifest, read_step
from interp.track.run import open_run
from interp.vectors.contrast import read_contrast
from interp.vectors.file import interventions_of, load_vectors, save_vectors
from interp.vectors.requests import RequestFiles
from interp.vectors.tasks import TaskFiles
from interp.vectors.truthful import TruthfulEdit, TruthfulSpace
from interp.vectors.truthful_file import load_edit, save_edit
from interp.vectors.vector import Vector
from interp.yaml_text import read_yaml
from saes.fit import fit
from saes.train import save as save_sae
from tests import bad_inputs
from tests.corpora import Noise, random_corpus
from tests.stores import exported_store

SITE = Site("resid_post", 3)
HALVES = tuple(name for name, (_, says) in bad_inputs.LINES.items() if says == "half a character")


@dataclass(frozen=True)
class Reader:
    """Reads a `file` whose `kind` is one of `bad_inputs.CONTENTS`.

    `make` writes a good one (and the files beside it) into a folder; `read` gets the file's path. `takes`
    names what it reads although others refuse it.
    """

    kind: str
    file: str
    make: Callable[[Path, Subject], object]
    read: Callable[[Path, Subject], object]
    takes: tuple[str, ...] = ()


def plain(text: str) -> Callable[[Path, Subject], object]:
    """Writes a text, under whichever name."""
    return lambda path, subject: path.write_text(text)


def rows(*contents: object) -> Callable[[Path, Subject], object]:
    """Writes JSON lines."""
    return plain("\n".join(map(json.dumps, contents)))


def requests(path: Path, subject: Subject) -> object:
    source = RequestFiles(harmful=path, harmless=path, begins=("i",), train=2, validate_on=2, chat=False)
    return source.open(subject)


def store(read: Callable[[Store, Path], object], up: int) -> Callable[[Path, Subject], object]:
    """Imports the folder so many levels above a file."""

    def imported(path: Path, subject: Subject) -> None:
        made = Store("sqlite://")
        try:
            read(made, path.parents[up])
        finally:
            made.close()

    return imported


def make_store(path: Path, subject: Subject) -> None:
    folder = exported_store(path.parents[1] if path.suffix == ".parquet" else path.parents[2])
    if path.suffix != ".parquet":
        (made,) = (folder / "neuronpedia" / "explanations").glob("*.jsonl")
        made.rename(path)


def make_interest(path: Path, subject: Subject) -> None:
    texts = [f"{('a town', 'words')[n % 2]} {n}" for n in range(40)]
    labels = np.arange(40) % 2 == 0
    train_interest(texts, labels, TfidfEmbedder.fit(texts, width=4), shuffles=2).save(path.parent)


def make_mined(path: Path, subject: Subject) -> None:
    config = MiningConfig(
        context_size=16, tokens_per_batch=128, top_windows=WindowCounts(explain=2, select=2, report=2),
        sampled_rows=6, sampled_tokens=20, extreme_tokens=2,
    )  # fmt: skip
    save_mined(mine(subject, [MlpNeurons(subject, 3)], random_corpus(20, 9), config), path.parent)


def make_sae(path: Path, subject: Subject) -> None:
    config = saes.SaeTraining(n_latents=64, training_tokens=256, batch_tokens=128, buffer_tokens=300)
    metadata = {"hook_name": SITE.hook_name, "model_name": subject.name}
    save_sae(fit(config, Noise(), metadata=metadata), path.parent)


def make_edit(path: Path, subject: Subject) -> None:
    space = TruthfulSpace([SITE], subject.d_model, 8)
    save_edit(path, TruthfulEdit(subject, space, 0.5, "last"), subject.name)


def make_vectors(path: Path, subject: Subject) -> None:
    save_vectors(path, [Vector("v", SITE, torch.ones(subject.d_model), subject.name)])


def make_run(path: Path, subject: Subject) -> None:
    runs = next(folder for folder in path.parents if folder.name == "runs")
    shutil.rmtree(runs)  # what is there before is no run
    config = ExperimentConfig(experiment="toy", wandb=WandbOptions(mode="disabled"))
    with open_run(config, "run", runs, progress=silent()) as run:
        run.step("draw", lambda step: step.metric("draw/mean", 1.5))


ASKED = {"prompt": "the capital of france is", "answer": "paris"}
PAIR = {"prompt": "the capital of {} is", "positive": " paris .", "negative": " rome ."}
PLACES = ("france", "spain", "japan", "egypt", "italy", "kenya")
PAIRS = rows(*({**PAIR, "prompt": PAIR["prompt"].format(place)} for place in PLACES))
ENTITY = {"prompt": "near paris , we saw", "entity": "paris", "description": ["france"], "group": "city"}
HOP = {
    "question": "the capital of the country of paris is", "entity": "paris", "bridge": "france",
    "answer": ["paris"], "first": "the country of paris is", "second": "the capital of france is",
}  # fmt: skip
WORD = {"prompt": "zorvic : team ; it is :", "source": "team", "words": {"english": "team"}}
RELATION = {
    "name": "r", "prompt_templates": ["the capital of {} is"], "properties": {"relation_type": "factual"},
    "samples": [{"subject": "france", "object": "paris"}],
}  # fmt: skip
TALK = {"messages": [{"role": role, "content": "a"} for role in ("system", "user", "assistant")]}
EXAMPLES = [{"input": one, "output": "rome"} for one in (*PLACES, "king", "dog", "horse", "bank", "river")]
LISTS = ("a list of numbers",)

READERS = {
    "text lines": Reader("text", "a.txt", plain("a"), lambda path, _: list(text_lines(path))),
    "documents of text": Reader("text", "a.txt", plain("a"), lambda path, _: list(TextFile(path))),
    "requests of text": Reader("text", "a.txt", plain("\n".join(f"the {one}" for one in PLACES)), requests),
    "json lines": Reader("lines", "a.jsonl", rows({}), lambda path, _: list(json_lines(path, "mend it"))),
    "documents": Reader(
        "lines", "a.jsonl", rows({"text": "a"}), lambda path, _: list(TextFile(path)),
        (*HALVES, "bytes that are no text"),
    ),
    "questions": Reader(
        "lines", "a.jsonl", rows(ASKED),
        lambda path, subject: QuestionFile(path=path).open(subject),
    ),
    "requests": Reader("lines", "a.jsonl", rows(*({"prompt": f"the {one}"} for one in PLACES)), requests),
    "contrast": Reader("lines", "a.jsonl", PAIRS, read_contrast),
    "entities": Reader(
        "lines", "a.jsonl", rows(ENTITY),
        lambda path, subject: EntityFile(path=path).open(subject, open_target_prompts("world")),
    ),
    "two hops": Reader("lines", "a.jsonl", rows(HOP), lambda path, subject: HopFile(path=path).open(subject)),
    "translations": Reader(
        "lines", "a.jsonl", rows(WORD), lambda path, subject: TranslationFile(path=path).open(subject)
    ),
    "words": Reader(
        "lines", "a.jsonl", rows({"english": "team", "zorvic": "pepeka"}),
        lambda path, subject: WordFile(
            path=path, directions=(("english", "zorvic"),), pair="{question} : {answer}", shots=0
        ).open(subject),
    ),
    "neuronpedia": Reader(
        "lines", "neuronpedia/explanations/a.jsonl", make_store, store(import_neuronpedia, 1), HALVES
    ),
    "training set": Reader(
        "lines", "explainer/train.jsonl", rows(TALK), lambda path, _: explainer_set(path.parents[1])
    ),
    "an object": Reader("json", "a.json", rows({}), lambda path, _: read_json(path, "mend it")),
    "a list": Reader("json", "a.json", rows([]), lambda path, _: read_json(path, "mend it", "list"), LISTS),
    "a model's config": Reader("json", "config.json", rows({}), lambda path, _: read_object(path)),
    "tasks": Reader(
        "json", "a.json", rows(EXAMPLES), lambda path, subject: TaskFiles(paths=(path,)).open(subject)
    ),
    "a relation": Reader("json", "a.json", rows(RELATION), lambda path, _: read_relation(path)),
    "terms": Reader(
        "json", "terms.json", lambda path, _: TfidfEmbedder.fit(["a cat", "a dog"]).save(path.parent),
        lambda path, _: TfidfEmbedder.load(path.parent),
    ),
    "a classifier's report": Reader(
        "json", "interest.json", make_interest, lambda path, _: InterestClassifier.load(path.parent)
    ),
    "a manifest of exemplars": Reader(
        "json", "manifest.json", make_mined, lambda path, _: load_mined(path.parent)
    ),
    "an SAE's configuration": Reader(
        "json", "cfg.json", make_sae, lambda path, subject: saes.load(subject, path.parent)
    ),
    "a run's manifest": Reader(
        "json", "runs/run/manifest.json", make_run, lambda path, _: read_manifest(path.parent)
    ),
    "a step's record": Reader(
        "json", "runs/run/steps/draw/step.json", make_run, lambda path, _: read_step(path.parent)
    ),
    "a mapping": Reader("yaml", "a.yaml", rows({}), lambda path, _: read_yaml(path, "mend it")),
    "a config": Reader(
        "yaml", "a.yaml", rows({"experiment": "quickstart"}), lambda path, _: load_config(path)
    ),
    "tensors": Reader(
        "tensors", "a", lambda path, _: save_file({"a": torch.ones(2)}, path),
        lambda path, _: read_tensors(path, "mend it"),
    ),
    "shapes": Reader(
        "tensors", "a", lambda path, _: save_file({"a": torch.ones(2)}, path),
        lambda path, _: shapes(path, "mend it"),
    ),
    "vectors": Reader("tensors", "v.safetensors", make_vectors, lambda path, _: load_vectors(path)),
    "vectors in use": Reader("tensors", "v.safetensors", make_vectors, interventions_of),
    "an edit": Reader("tensors", "e.safetensors", make_edit, load_edit),
    "a Jacobian lens": Reader(
        "tensors", "j.safetensors", lambda path, subject: save_lens(path, JacobianLens(subject)), load_lens
    ),
    "a tuned lens": Reader(
        "tensors", "l.safetensors", lambda path, subject: save_lens(path, TunedLens(subject)),
        load_lens,
    ),
    "an embedder": Reader(
        "tensors", "tfidf.safetensors",
        lambda path, _: TfidfEmbedder.fit(["a cat", "a dog"]).save(path.parent),
        lambda path, _: TfidfEmbedder.load(path.parent),
    ),
    "a classifier": Reader(
        "tensors", "interest.safetensors", make_interest, lambda path, _: InterestClassifier.load(path.parent)
    ),
    "exemplars": Reader(
        "tensors", "mlp.3.explain.safetensors", make_mined, lambda path, _: load_mined(path.parent)
    ),
    "an SAE": Reader(
        "tensors", "sae_weights.safetensors", make_sae, lambda path, subject: saes.load(subject, path.parent)
    ),
    "a table": Reader(
        "parquet", "a.parquet", lambda path, _: pd.DataFrame({"a": [1]}).to_parquet(path),
        lambda path, _: read_parquet(path, "mend it"),
    ),
    "a store's table": Reader(
        "parquet", "parquet/features.parquet", make_store, store(import_parquet, 0)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, subject: Subject) -> Callable[[str], Path]:
    """The folder of a reader's good files; each is made once."""
    folders = tmp_path_factory.mktemp("good")

    def of(name: str) -> Path:
        folder, reader = folders / name, READERS[name]
        if not folder.exists():
            (folder / reader.file).parent.mkdir(parents=True)
            reader.make(folder / reader.file, subject)
        return folder

    return of


@pytest.fixture
def copied(good: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a reader's good file, to be spoiled."""
    return lambda name: Path(shutil.copytree(good(name), tmp_path / "in")) / READERS[name].file


def refused(name: str, file: Path, subject: Subject, says: str, place: str = "") -> None:
    with pytest.raises(UserError, match=says) as caught:
        READERS[name].read(file, subject)
    assert (place or str(file.parent)) in str(caught.value) and caught.value.fix


@pytest.mark.parametrize("name", READERS)
def test_what_is_good_is_read(name: str, copied: Callable[[str], Path], subject: Subject) -> None:
    READERS[name].read(copied(name), subject)


@pytest.mark.parametrize("bad", bad_inputs.PATHS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_plain_file_is_not_opened(
    name: str, bad: str, copied: Callable[[str], Path], subject: Subject
) -> None:
    file = copied(name)
    file.unlink()
    bad_inputs.PATHS[bad](file)
    refused(name, file, subject, bad_inputs.NO_FILE)


CASES = [
    (name, bad)
    for name, reader in READERS.items()
    for bad in bad_inputs.CONTENTS[reader.kind]
    if bad not in reader.takes
]


@pytest.mark.parametrize(("name", "bad"), CASES)
def test_bad_content_is_one_message_that_names_its_file(
    name: str, bad: str, copied: Callable[[str], Path], subject: Subject
) -> None:
    file, place = copied(name), ""
    content, says = bad_inputs.CONTENTS[READERS[name].kind][bad]
    if content.startswith(b"\n"):  # a line after good ones
        content = file.read_bytes().rstrip(b"\n") + content
        place = f"{file}, line {content.count(10) + 1}"
    file.write_bytes(content)
    refused(name, file, subject, says, place)

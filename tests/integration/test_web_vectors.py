"""The page Vectors: files and what they hold, loading one, cosines, texts along them, and mixtures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi import FastAPI
from safetensors.torch import save_file
from starlette.testclient import TestClient

import interp
from interp import MlpNeurons, Site, Subject, Vector
from interp.bundled.world.corpus import WorldCorpus
from interp.causal.side_effects import neutral_beginnings, side_effects
from interp.inspection.mixing import MixSteerer, cosine_null, cosines, projections
from interp.monitor.bench import Bench
from interp.monitor.effects import next_probabilities
from interp.monitor.knowledge import Knowledge
from interp.monitor.steering import VectorCard
from interp.subject.read_at import read_at
from interp.vectors.file import load_vectors, save_vectors
from interp.web.app import make_app
from interp.web.sessions import Limits

Json = dict[str, Any]
SITE = Site("resid_post", 5)
PROMPT = "the capital of italy is"
HOSTILE = '<img src=x onerror="alert(1)">'
RAW = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    neutral = neutral_beginnings(subject, WorldCorpus(1, 300), 6)
    return Bench(subject, Knowledge("world"), [MlpNeurons(subject, 2)], neutral)


@pytest.fixture(scope="module")
def language(subject: Subject) -> Vector:
    pairs = [(f"the language of {c} is", f"the capital of {c} is") for c in ("france", "spain", "japan")]
    return interp.contrastive_vectors(subject, pairs, "language")[SITE.layer]


@pytest.fixture(scope="module")
def folder(language: Vector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of two sites and uses, one of another model, files of other things, and a link to outside."""
    whole = tmp_path_factory.mktemp("vectors")
    inside = whole / "inside"
    drawn = torch.randn(language.values.shape, generator=torch.Generator().manual_seed(3))
    other = Vector(HOSTILE, SITE, drawn, "world", provenance={"method": HOSTILE, "shown": 0.9})
    for name, vector in (
        ("language", language),
        ("half", (0.5 * language + other).named("half")),
        ("more/other", other),
        ("out", replace(language, use="project_out", name="out")),
        ("early", replace(language, site=Site("resid_post", 1), name="early")),
        ("earth", replace(language, subject="earth")),
        ("../outside", language),
    ):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        save_vectors(inside / f"{name}.safetensors", [vector])
    save_file({"x": torch.zeros(3)}, inside / "tensors.safetensors")
    (inside / "broken.safetensors").write_bytes(b"no safetensors at all")
    (inside / "link.safetensors").symlink_to(whole / "outside.safetensors")
    return inside


@pytest.fixture(scope="module")
def app(bench: Bench, folder: Path) -> FastAPI:
    limits = Limits(body_bytes=20_000, prompt_characters=400, new_tokens=30, cards=6)
    return make_app(bench, vectors=[folder], limits=limits)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


def post(client: TestClient, path: str, status: int = 200, **values: Any) -> Json:
    answer = client.post(f"/api/vectors/{path}", json=values)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def load(client: TestClient, name: str, content: bytes, status: int = 200) -> Json:
    answer = client.post("/api/vectors/load", params={"name": name}, content=content, headers=RAW)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def card(name: str, strength: float = 1.0) -> Json:
    return {"kind": "vector", "file": f"{name}.safetensors", "strength": strength}


def test_the_page_is_small(client: TestClient) -> None:
    answer = client.get("/vectors", params={"prompt": HOSTILE})
    assert answer.status_code == 200 and len(answer.content) < 300_000 and "onerror" not in answer.text
    for name in ("vectors.js", "vectors_drawn.js", "vectors.css"):
        assert client.get(f"/static/{name}").status_code == 200


def test_the_list_says_what_the_files_hold(client: TestClient, bench: Bench, language: Vector) -> None:
    files = {one["file"]: one for one in client.get("/api/vectors").json()["files"]}
    names = ("early", "earth", "half", "language", "more/other", "out")
    assert set(files) == {f"{name}.safetensors" for name in names}
    assert bench.neutral is not None
    part = files["language.safetensors"]["parts"][0]
    read = read_at(bench.subject, bench.neutral.prompts, [SITE])[SITE][:, 0].numpy()
    assert part["norm"] == pytest.approx(float(language.values.norm()))
    assert part["typical"] == pytest.approx(
        np.sort(np.linalg.norm(read, axis=1))[2], rel=1e-5
    )  # torch's median
    assert part["site"] == str(SITE) and part["method"] == "contrastive, mean"
    hostile = files["more/other.safetensors"]["parts"][0]
    assert hostile["name"] == HOSTILE and "shown: 0.9" in hostile["made_of"]
    assert files["out.safetensors"]["has_strength"] is False
    assert "earth" in files["earth.safetensors"]["wrong"]["thing"]
    assert files["language.safetensors"]["wrong"] is None


def test_a_file_that_is_loaded_may_be_used_in_cards(
    client: TestClient, folder: Path, tmp_path: Path, language: Vector
) -> None:
    file = save_vectors(tmp_path / "v.safetensors", [(2 * language).named(HOSTILE)])
    found = load(client, f"../../{HOSTILE}.safetensors", file.read_bytes())["file"]
    assert found["called"] == f"../../{HOSTILE}.safetensors" and found["parts"][0]["name"] == HOSTILE
    assert found["file"].startswith("loaded-") and "/" not in found["file"]
    assert found["file"] in {one["file"] for one in client.get("/api/vectors").json()["files"]}
    again = load(client, "again.safetensors", file.read_bytes())["file"]
    assert (again["file"], again["called"]) == (found["file"], "again.safetensors")
    doubled = post(client, "cosines", files=["language.safetensors", found["file"]])
    assert doubled["sites"][0]["cosines"][0][1] == pytest.approx(1)
    state = {
        "conversation": {"turns": [{"role": "user", "text": PROMPT}], "shown": 0},
        "cards": [{"kind": "vector", "file": found["file"], "strength": 0.5}],
        "settings": {"max_new_tokens": 8},
    }
    answer = client.post("/api/sessions", json={"chat": False, "state": state})
    assert answer.status_code == 200 and answer.json()["view"]["state"]["cards"][0]["strength"] == 0.5
    assert not list(folder.glob("loaded-*"))


@pytest.mark.parametrize(
    ("made", "status", "says"),
    [
        ("broken", 400, "cannot be read"),
        ("tensors", 400, "no vectors"),
        ("earth", 400, "earth"),
        ("empty", 400, "cannot be read"),
        ("wide", 400, "5"),
        ("large", 413, "larger than"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(
    client: TestClient, folder: Path, tmp_path: Path, made: str, status: int, says: str
) -> None:
    if made == "wide":
        save_vectors(tmp_path / "wide.safetensors", [Vector("v", SITE, torch.ones(5), "world")])
        content = (tmp_path / "wide.safetensors").read_bytes()
    elif made in ("empty", "large"):
        content = b"" if made == "empty" else b"0" * 20_001
    else:
        content = (folder / f"{made}.safetensors").read_bytes()
    before = client.get("/api/vectors").json()
    error = load(client, "mine<b>.safetensors", content, status)["error"]
    assert says in error["thing"] and error["fix"] and "interp-vectors-" not in str(error)
    if status == 400:
        assert error["place"] == "the file mine<b>.safetensors"
    assert client.get("/api/vectors").json() == before


def test_only_a_raw_file_is_taken(client: TestClient) -> None:
    answer = client.post("/api/vectors/load", params={"name": "x"}, json={"a": 1})
    assert answer.status_code == 400 and "application/octet-stream" in answer.json()["error"]["fix"]
    assert client.post("/api/vectors/load", content=b"x", headers=RAW).status_code == 400
    other = RAW | {"Origin": "http://evil.example"}
    answer = client.post("/api/vectors/load", params={"name": "x"}, content=b"x", headers=other)
    assert answer.status_code == 403


def test_cosines_are_those_of_the_values_and_their_null_is_of_random_pairs(
    client: TestClient, folder: Path, bench: Bench
) -> None:
    names = ["language.safetensors", "half.safetensors", "more/other.safetensors", "early.safetensors"]
    found = post(client, "cosines", files=names)["sites"]
    assert [one["site"] for one in found] == [str(SITE)] and found[0]["names"] == names[:3]
    rows = np.stack([load_vectors(folder / name)[0].values.double().numpy() for name in names[:3]])
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(found[0]["cosines"], units @ units.T, atol=1e-6)
    width = bench.subject.d_model
    drawn = np.random.default_rng(0).standard_normal((2, 40_000, width))
    sizes = np.abs((drawn[0] * drawn[1]).sum(1)) / np.linalg.norm(drawn, axis=2).prod(0)
    assert found[0]["null"] == pytest.approx(np.quantile(sizes, 0.95), rel=0.02)
    assert found[0]["null"] < found[0]["null_activations"] < 1
    without = cosines(replace(bench, neutral=None), {name: folder / name for name in names})
    assert np.isnan(without[0].null_activations)


def test_a_text_along_a_vector_is_the_product_with_its_unit_vector(
    client: TestClient, folder: Path, subject: Subject, language: Vector
) -> None:
    text = "the language of france is french"
    found = post(client, "along", files=["language.safetensors", "early.safetensors"], prompt=text)
    ids = subject.with_bos(subject.encode(text))
    assert [token["id"] for token in found["tokens"]] == ids
    for row, site in zip(found["rows"], (SITE, Site("resid_post", 1)), strict=True):
        read = subject.read(torch.tensor([ids]), [site])[site][0].double()
        unit = language.values.double() / language.values.double().norm()
        assert row["values"] == pytest.approx((read @ unit).tolist(), rel=1e-3, abs=1e-3)
        level = read.norm(dim=1).numpy() * cosine_null(subject.d_model)
        assert row["null"] == pytest.approx(level.tolist(), rel=1e-3)
    assert projections(subject, ids, {"x": folder / "more/other.safetensors"})[0].file == "x"


def test_a_mixture_does_what_its_vectors_do(client: TestClient, bench: Bench, folder: Path) -> None:
    mixed = [card("language", 1.5), card("more/other", -0.5), card("out")]
    found = post(client, "apply", prompt=PROMPT, cards=mixed, max_new_tokens=4)
    subject = bench.subject
    ids = subject.with_bos(subject.encode(PROMPT))
    one, other, out = (
        load_vectors(folder / f"{name}.safetensors")[0] for name in ("language", "more/other", "out")
    )
    edits = [one.intervention(subject, 1.5), other.intervention(subject, -0.5), out.intervention(subject)]
    before, after = (next_probabilities(subject, ids, some).numpy() for some in ((), edits))
    top = found["moved"][0]
    assert top["id"] == int(np.abs(after - before).argmax())
    assert top["unsteered"] == pytest.approx(before[top["id"]], rel=1e-4)
    assert top["steered"] == pytest.approx(after[top["id"]], rel=1e-4)
    assert bench.neutral is not None
    kl = side_effects(subject, bench.neutral, edits)["kl"].mean()
    assert found["side_effect"]["value"] == pytest.approx(kl, rel=1e-4)
    with subject.intervene(*edits):
        written = subject.generate(PROMPT, max_new_tokens=4)
    assert subject.decode([token["id"] for token in found["steered"]]) == written
    assert len(found["random"]) == 4 and found["random_side_effect"]["value"] > 0
    assert post(client, "apply", prompt=PROMPT, cards=mixed, max_new_tokens=4) == found


def test_a_direction_that_is_taken_out_is_nowhere_in_the_stream(
    client: TestClient, bench: Bench, language: Vector
) -> None:
    file = post(client, "out", file="language.safetensors")["file"]
    assert file not in {one["file"] for one in client.get("/api/vectors").json()["files"]}
    assert post(client, "out", file="language.safetensors")["file"] == file
    found = post(client, "apply", prompt=PROMPT, cards=[{"kind": "vector", "file": file}], max_new_tokens=1)
    subject = bench.subject
    ids = subject.with_bos(subject.encode(PROMPT))
    with subject.intervene(language.project_out(subject)):
        read = subject.read(torch.tensor([ids]), [SITE])[SITE][0]
        after = next_probabilities(subject, ids)
    assert float((read @ language.values).abs().max() / language.norm) < 1e-3
    top = found["moved"][0]
    assert top["steered"] == pytest.approx(float(after[top["id"]]), rel=1e-4)
    assert "earth" in post(client, "out", 400, file="earth.safetensors")["error"]["thing"]


def test_random_vectors_have_the_norm_the_site_and_the_strength(
    bench: Bench, folder: Path, tmp_path: Path
) -> None:
    steerer = MixSteerer.on(bench, tmp_path)
    cards = [
        VectorCard(kind="vector", file=str(folder / "language.safetensors"), strength=1.5),
        VectorCard(kind="vector", file=str(folder / "out.safetensors")),
        VectorCard(kind="vector", file=str(folder / "early.safetensors"), on=False),
    ]
    drawn, missing = steerer.random_like(cards, 0)
    assert missing == 0 and [one.strength for one in drawn] == [1.5, 1.0]
    for own, one in zip(cards, drawn, strict=False):
        assert isinstance(one, VectorCard)
        (mine,), (random,) = load_vectors(own.file), load_vectors(one.file)
        assert random.norm == pytest.approx(mine.norm, rel=1e-5)
        assert (random.site, random.use) == (mine.site, mine.use) and abs(random.cosine(mine)) < 0.9
    first, second = (load_vectors(one.file)[0].values for one in drawn if isinstance(one, VectorCard))
    assert not torch.allclose(first, second)
    assert bench.neutral is not None
    rows = read_at(bench.subject, bench.neutral.prompts, [SITE])[SITE][:, 0]
    basis = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][: len(rows) - 1]
    assert float((first - first @ basis.T @ basis).norm() / first.norm()) < 1e-3


@pytest.mark.parametrize(
    ("path", "values", "says"),
    [
        ("apply", {"prompt": PROMPT, "cards": []}, "cards"),
        ("apply", {"prompt": " ", "cards": [card("language")]}, "there is no text"),
        ("apply", {"prompt": PROMPT, "cards": [card("../outside")]}, "no file of vectors"),
        ("apply", {"prompt": PROMPT, "cards": [card("link")]}, "no file of vectors"),
        ("apply", {"prompt": PROMPT, "cards": [card("earth")]}, "earth"),
        ("apply", {"prompt": PROMPT, "cards": [card("out", 2)]}, "no strength"),
        ("apply", {"prompt": PROMPT, "cards": [card("language")], "max_new_tokens": 31}, "at most 30"),
        ("apply", {"prompt": PROMPT, "cards": [card("language")] * 7}, "at most 6"),
        ("apply", {"prompt": "x" * 401, "cards": [card("language")]}, "too long"),
        ("cosines", {"files": ["/etc/passwd"]}, "no file of vectors"),
        ("cosines", {"files": []}, "files"),
        ("along", {"files": ["language.safetensors"], "prompt": HOSTILE}, "does not know"),
    ],
)
def test_what_cannot_be_done_is_told(client: TestClient, path: str, values: Json, says: str) -> None:
    error = post(client, path, 400, **values)["error"]
    assert says in f"{error['thing']} {error['place']} {error['fix']}" and error["fix"]

"""The page Lens: grids, targets beside words like them, patchscopes with controls, and fitting a lens."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from starlette.testclient import TestClient

from interp import MlpNeurons, Site, Subject
from interp.bundled.world.corpus import WorldCorpus
from interp.causal.side_effects import neutral_beginnings
from interp.errors import UserError
from interp.inspection import lens as read_lens
from interp.inspection.lens import Lenses, like_words, text_ids
from interp.inspection.patched_cell import RANDOM, decode_state
from interp.lenses.jacobian_lens import JacobianLens
from interp.lenses.lens_file import save_lens
from interp.lenses.patchscopes import patchscope
from interp.lenses.tuned_lens import TunedLens
from interp.monitor.bench import Bench
from interp.monitor.knowledge import Knowledge
from interp.web.app import make_app
from interp.web.sessions import Limits
from tests.web_server import running

Json = dict[str, Any]
TEXT = "the capital of france , as we know , is"
IDENTITY = "france > same : france ; doctor > same : doctor ; leman > same : leman ; the > same :"


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    neutral = neutral_beginnings(subject, WorldCorpus(1, 300), 6)
    corpus = WorldCorpus(1, 300)
    return Bench(subject, Knowledge("world"), [MlpNeurons(subject, 2)], neutral, corpora={"c": corpus})


@pytest.fixture(scope="module")
def runs(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a lens that turns the stream around, another model's, no lens, and a link to one outside."""
    folder = tmp_path_factory.mktemp("lens") / "runs"
    inside = folder / "one/lens"
    inside.mkdir(parents=True)
    turned = TunedLens(subject)
    turned.translation.data -= 2 * torch.eye(subject.d_model)
    save_lens(inside / "tuned_lens.safetensors", turned)
    other = JacobianLens(subject, made_of={})
    save_lens(inside / "other_lens.safetensors", other)
    text = (inside / "other_lens.safetensors").read_bytes()
    (inside / "other_lens.safetensors").write_bytes(text.replace(b'"subject":"world"', b'"subject":"earth"'))
    (inside / "no_lens.safetensors").write_bytes(b"no safetensors")
    save_lens(folder.parent / "outside_lens.safetensors", turned)
    (inside / "link_lens.safetensors").symlink_to(folder.parent / "outside_lens.safetensors")
    return folder


@pytest.fixture(scope="module")
def app(bench: Bench, runs: Path) -> FastAPI:
    return make_app(bench, runs_dir=runs, limits=Limits(prompt_characters=2000))


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8787", raise_server_exceptions=False)


def post(client: TestClient, path: str, status: int = 200, **values: Any) -> Json:
    answer = client.post(f"/api/lens/{path}", json=values)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


def stream(subject: Subject, ids: list[int], layer: int) -> torch.Tensor:
    site = Site("resid_pre", 0) if layer < 0 else Site("resid_post", layer)
    return subject.read(torch.tensor([ids]), [site])[site][0]


def logits(subject: Subject, state: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return subject.unembed(subject.final_norm(state[None]))[0].float()


def test_the_page_is_small_and_shows_no_markup_of_the_address(client: TestClient) -> None:
    answer = client.get("/lens", params={"prompt": "<script>alert(1)</script>"})
    assert answer.status_code == 200 and len(answer.content) < 300_000
    assert "alert(1)" not in answer.text and 'src="/static/lens.js"' in answer.text
    for name in ("lens.js", "lens_grid.js", "lens_detail.js", "lens.css"):
        assert client.get(f"/static/{name}").status_code == 200


@pytest.mark.parametrize("chat", [False, True])
def test_the_grid_is_norm_and_unembedding_of_the_stream(
    client: TestClient, subject: Subject, chat: bool
) -> None:
    found = post(client, "read", prompt=TEXT, chat=chat, targets=["paris"])
    said = [{"role": "user", "content": TEXT}]
    ids = list(subject.conversation(said)) if chat else subject.with_bos(subject.encode(TEXT))
    assert [token["id"] for token in found["tokens"]] == ids
    assert found["layers"] == list(range(-1, subject.n_layers)) and found["names"][0] == "emb"
    last = logits(subject, stream(subject, ids, subject.n_layers - 1)).log_softmax(-1)
    with torch.no_grad():
        whole = subject.run(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    assert torch.allclose(last, whole, atol=1e-4)
    paris = subject.single_token("paris", prompt=ids)
    assert found["targets"][0]["id"] == paris
    for row in (0, 3, subject.n_layers):
        read = logits(subject, stream(subject, ids, found["layers"][row])).log_softmax(-1)
        for place in (1, 4, len(ids) - 1):
            own = read[place]
            assert found["top"][row][place] == own.topk(5).indices.tolist()
            assert found["p"][row][place] == pytest.approx(own.topk(5).values.exp().tolist(), rel=2e-3)
            entropy = float(-(own.exp() * own).sum())
            assert found["entropy"][row][place] == pytest.approx(entropy, rel=2e-3, abs=1e-4)
            kl = float((last[place].exp() * (last[place] - own)).sum())
            assert found["kl"][row][place] == pytest.approx(kl, rel=2e-3, abs=1e-4)
            assert found["targets"][0]["rank"][row][place] == int((own > own[paris]).sum())
    assert found["texts"][str(found["top"][-1][-1][0])] == subject.token_strings([found["top"][-1][-1][0]])[0]


def test_a_curve_is_the_grids_column_and_its_null_is_of_words_as_likely(
    client: TestClient, subject: Subject, bench: Bench
) -> None:
    ids, place = subject.with_bos(subject.encode(TEXT)), 6
    grid = post(client, "read", prompt=TEXT, targets=["paris", "french"])
    found = post(client, "curves", prompt=TEXT, targets=["paris", "french"], place=place)
    assert found["matched"] is True
    for target, curve in zip(grid["targets"], found["curves"], strict=True):
        assert curve["rank"] == [row[place] for row in target["rank"]]
        assert curve["p"] == pytest.approx([row[place] for row in target["p"]], rel=2e-3, abs=1e-7)
    own = Lenses(bench).curves("logit", ids, place, ["paris"])[0]
    assert len(set(own.like)) == 20 and own.token not in own.like
    assert not set(own.like) & set(subject.special_ids)
    for row in (2, 5):
        read = logits(subject, stream(subject, ids, row - 1))[place]
        ranks = [int((read > read[token]).sum()) for token in own.like]
        assert own.rank[row, 1:].tolist() == ranks
        assert list(own.null(own.rank))[row] == pytest.approx(tuple(np.quantile(ranks, [0.025, 0.975])))


def test_words_like_one_are_its_neighbours_in_how_likely_they_are(subject: Subject) -> None:
    expected = np.arange(subject.d_vocab, dtype=float)[::-1].copy()
    like = like_words(expected, 500, subject)
    assert sorted(like) == [*range(490, 500), *range(501, 511)]
    assert 495 not in like_words(expected, 500, subject, without=[495])
    ends = [like_words(expected, token, subject) for token in (subject.d_vocab - 1, 3)]
    assert [len(set(one)) for one in ends] == [20, 20]
    drawn = like_words(None, 500, subject)
    assert len(set(drawn)) == 20 and 500 not in drawn and drawn == like_words(None, 500, subject)


def test_a_patchscope_says_what_the_lens_functions_say(client: TestClient, subject: Subject) -> None:
    ids = subject.with_bos(subject.encode(TEXT))
    place, layer = ids.index(subject.encode("france")[0]), 2
    found = post(client, "patchscope", prompt=TEXT, layer=layer, place=place)
    own, *controls = found["decoded"]
    text = patchscope(subject, TEXT, "france", layer, IDENTITY, "the", new_tokens=6)
    assert own["text"] == text and own["top"][0]["text"] == "france" and not found["guess"]
    assert own["of_own"] == own["top"][0]["p"]
    assert [one["what"].split()[0] for one in controls] == ["random"] * RANDOM + ["the"]
    assert all(one["of_own"] < 0.5 for one in controls)


def test_a_state_that_says_what_any_vector_says_is_a_guess(subject: Subject) -> None:
    ids = text_ids(subject, TEXT, False)
    late = decode_state(subject, ids, subject.n_layers - 2, 2)
    assert late.is_guess and late.decoded[0].top[0][0] in {one.top[0][0] for one in late.decoded[1:]}
    assert not decode_state(subject, ids, 2, ids.index(subject.encode("france")[0])).is_guess


def test_lenses_of_this_model_in_the_folder_of_runs_are_offered(client: TestClient, subject: Subject) -> None:
    known = client.get("/api/lens").json()
    assert [one["name"] for one in known["lenses"]] == ["logit", "one/lens/tuned_lens.safetensors"]
    found = post(client, "read", prompt=TEXT, lens="one/lens/tuned_lens.safetensors")
    ids = subject.with_bos(subject.encode(TEXT))
    turned = logits(subject, -stream(subject, ids, 3))[5]
    assert found["lens"] == "tuned lens" and found["top"][4][5] == turned.topk(5).indices.tolist()


@pytest.mark.parametrize(
    ("path", "values", "says"),
    [
        ("read", {"prompt": "  "}, "there is no text"),
        ("read", {"prompt": "the " * 300}, "shorten it to"),
        ("read", {"prompt": "x" * 2001}, "too long"),
        ("read", {"prompt": "<script>alert(1)</script>"}, "does not know"),
        ("read", {"prompt": TEXT, "targets": ["paris french"]}, "not one token"),
        ("read", {"prompt": TEXT, "targets": ["paris"] * 9}, "targets"),
        ("read", {"prompt": TEXT, "lens": "../outside_lens.safetensors"}, "no lens"),
        ("read", {"prompt": TEXT, "lens": "one/lens/link_lens.safetensors"}, "no lens"),
        ("read", {"prompt": TEXT, "lens": "one/lens/other_lens.safetensors"}, "no lens"),
        ("read", {"prompt": TEXT, "lens": "fitted"}, "fit it again"),
        ("curves", {"prompt": TEXT, "targets": ["paris"], "place": 99}, "no token 99"),
        ("patchscope", {"prompt": TEXT, "layer": 99, "place": 1}, "no layer 99"),
        ("patchscope", {"prompt": TEXT, "layer": 1, "place": 99}, "no token 99"),
        ("patchscope", {"prompt": TEXT, "layer": -2, "place": 1}, "layer"),
    ],
)
def test_what_cannot_be_read_is_told(client: TestClient, path: str, values: Json, says: str) -> None:
    error = post(client, path, 400, **values)["error"]
    assert says in f"{error['thing']} {error['place']} {error['fix']}" and error["fix"]


def _said(lines: Iterator[str]) -> list[tuple[str, Json]]:
    found, name = [], ""
    for line in lines:
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            found.append((name, json.loads(line.removeprefix("data:"))))
    return found


def test_a_lens_is_fitted_here_and_nears_the_output(
    bench: Bench, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_lens, "MOST_STEPS", 3)
    monkeypatch.setattr(read_lens, "FEWEST_STEPS", 3)
    monkeypatch.setattr(read_lens, "FIT_SECONDS", 1e6)
    monkeypatch.setattr(read_lens, "FIT_TOKENS", 3000)
    monkeypatch.setattr(read_lens, "TOKENS_PER_STEP", 300)
    app = make_app(bench, runs_dir=runs)
    with running(app) as address, httpx.Client(base_url=address, timeout=120) as client:
        with client.stream("GET", "/api/lens/fit") as answer:
            events = _said(answer.iter_lines())
        assert [name for name, _ in events][-1] == "done" and events[-2][1]["amount"] == "step 2 of 3"
        known = events[-1][1]
        assert known["fitted"]["steps"] == 3 and known["fitted"]["after"] < known["fitted"]["before"]
        assert known["lenses"][-1]["name"] == "fitted"
        grids = {
            name: client.post("/api/lens/read", json={"prompt": TEXT, "lens": name}).json()
            for name in ("logit", "fitted")
        }
    kl = {name: np.mean(np.array(grid["kl"])[:-1, 1:]) for name, grid in grids.items()}
    assert kl["fitted"] < kl["logit"]


def test_a_fit_that_would_take_long_is_refused_with_a_way_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_lens, "FIT_SECONDS", 1e-9)
    monkeypatch.setattr(read_lens, "TOKENS_PER_STEP", 200)
    with pytest.raises(UserError, match="a step takes"):
        Lenses(bench).fit()

"""Gemma 3 270M as a user loads it: `transformers`' numbers, its tokens, where words and texts begin."""

import re
import subprocess
import sys
from pydoc_data.topics import topics
from typing import Any

import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

import interp
from interp.bundled.gemma import GEMMA, SHA256, gemma_parts
from interp.errors import UserError
from interp.subject import Site, Subject

LONG = topics["assignment"]
SHORT = 'Français : « L’eau est très fraîche. » Deutsch: "Das Wasser ist kühl." 中文: “水很凉。”\n'
LAST = 24
"""Positions of each row whose logits are compared."""


@pytest.fixture(scope="module")
def reference(gemma: Subject) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        gemma.info.folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.fixture(scope="module")
def batch(gemma: Subject) -> tuple[Tensor, Tensor]:
    """A row longer than the window of 512 tokens, and a short one, padded on the left."""
    return gemma.pad([gemma.encode(LONG)[:600], gemma.encode(SHORT)])


@torch.no_grad()
def expected(reference: Any, tokens: Tensor, mask: Tensor) -> Tensor:
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = reference(
        tokens, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=LAST
    ).logits
    return logits.log_softmax(-1)


@torch.no_grad()
def found(subject: Subject, tokens: Tensor, mask: Tensor) -> Tensor:
    return subject.unembed(subject.normed(tokens, mask)[:, -LAST:]).log_softmax(-1)


def test_the_folder_holds_the_packages_weights(gemma: Subject, tmp_path: Any) -> None:
    """Read once more by `gguf` itself; norms are stored plus one."""
    assert gemma.info.folder.name == f"{GEMMA}-{SHA256[:12]}"
    (tmp_path / "g.gguf").write_bytes(b"".join(part.read_bytes() for part in gemma_parts()))
    stored = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "g.gguf").tensors}
    weights = load_file(gemma.info.folder / "model.safetensors")
    for ours, theirs, more in (
        ("layers.5.mlp.down_proj", "blk.5.ffn_down", 0),
        ("layers.0.self_attn.q_proj", "blk.0.attn_q", 0),
        ("layers.17.post_feedforward_layernorm", "blk.17.post_ffw_norm", 1),
        ("embed_tokens", "token_embd", 0),
    ):
        tensor = stored[f"{theirs}.weight"]
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type) - more).bfloat16()
        assert torch.equal(weights[f"model.{ours}.weight"], values), ours
    assert len(weights) == len(stored) == 236  # the unembedding is the embedding


def test_log_probabilities_are_those_of_transformers(
    gemma: Subject, reference: Any, batch: tuple[Tensor, Tensor]
) -> None:
    assert gemma.gap is not None and gemma.gap.holds and gemma.gap.cache_holds and gemma.gap.lens_holds
    assert gemma.adds_up
    wanted = expected(reference, *batch)
    assert float(wanted.std()) > 1
    assert float((found(gemma, *batch) - wanted).abs().max()) < 1e-3  # of numbers from -60 on
    alone = batch[0][1:, -LAST:], batch[1][1:, -LAST:]
    assert int(batch[1][1].sum()) > LAST
    assert float((found(gemma, *alone) - expected(reference, *alone)).abs().max()) < 1e-4


def test_the_other_backend_computes_the_same(
    gemma: Subject, reference: Any, batch: tuple[Tensor, Tensor]
) -> None:
    assert gemma.backend == "bridge"
    hooked = interp.load(GEMMA, "hooked", device="cpu")
    assert float((found(hooked, *batch) - expected(reference, *batch)).abs().max()) < 1e-3
    sites = [Site("mlp_post", 3), Site("attn_out", 5), Site("resid_post", 17)]
    tokens = gemma.to_tokens(SHORT)
    one, other = gemma.read(tokens, sites), hooked.read(tokens, sites)
    for site in sites:
        assert float((one[site] - other[site]).abs().max() / one[site].abs().max()) < 1e-4, site


def test_greedy_text_is_that_of_transformers(gemma: Subject, reference: Any) -> None:
    prompts = ["The capital of France is", "Once upon a time there was"]
    tokens, mask = gemma.to_batch(prompts)
    new = reference.generate(tokens, attention_mask=mask, max_new_tokens=10, do_sample=False)
    assert gemma.generate_ids(tokens, mask, 10) == new[:, tokens.shape[1] :].tolist()


def test_tokens_are_gemmas(gemma: Subject) -> None:
    """Ids that are known of Gemma 3; exactly one BOS; the text comes back, whatever it is written in."""
    assert gemma.to_tokens("Hello").tolist() == [[2, 9259]]
    turn = "<start_of_turn>user\n<end_of_turn>\n\n<start_of_turn>model"
    assert gemma.encode(turn) == [105, 2364, 107, 106, 108, 105, 4368]
    assert gemma.encode("<bos>Hello") == [9259]
    hard = [
        "  two",
        "\n\n a\t\r\n",
        "été e\u0301",
        "中文 日本語 한국어",
        "عربي",
        "🙂👩‍👩‍👧",
        "𝕏 𓀀",
        "\x00\ufeff",
    ]
    for text in [LONG, SHORT, *hard]:
        assert gemma.decode(gemma.encode(text)) == text
    with pytest.raises(UserError, match="no chat template"):
        gemma.chat([{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    ("prompt", "word", "form"),
    [
        ("The capital of France is", "Paris", " Paris"),
        ("I like", "water", " water"),
        ('Français: "eau" - 中文: "', "水", "水"),
        ('English: "water" - Deutsch: "', "Wasser", "Wasser"),
        ("Answer:\n", "water", "water"),
        ("(", "water", "water"),
        ("<start_of_turn>", "user", "user"),
    ],
)
def test_a_word_has_the_form_that_continues_its_prompt(
    gemma: Subject, prompt: str, word: str, form: str
) -> None:
    """One token each, and the tokens that the whole text has there."""
    continued = gemma.continuation(prompt, word)
    assert continued.text == form and len(continued.ids) == 1
    assert gemma.encode(prompt + form) == [*gemma.encode(prompt), *continued.ids]
    bare, spaced = gemma.encode("water"), gemma.encode(" water")
    assert bare != spaced and len(bare) == len(spaced) == 1


def test_text_ends_at_the_models_own_end(gemma: Subject) -> None:
    assert gemma.end_ids == {1}
    prompt = gemma.to_tokens("One, two, three,")
    plain = gemma.generate(prompt, max_new_tokens=4)
    assert " four" in plain
    last = Site("resid_post", gemma.n_layers - 1)
    end = gemma.unembedding()[:, 1]
    with gemma.edited({last: lambda resid: resid + 1e4 * end / end.norm() ** 2}):
        assert gemma.generate(prompt, max_new_tokens=4) == ""
    assert gemma.generate(prompt, max_new_tokens=4) == plain


@pytest.mark.parametrize(("dtype", "most"), [("float32", 2700), ("bfloat16", 2000)])
def test_memory(gemma: Subject, dtype: str, most: int) -> None:
    """Peak of a process that loads the model and runs 1,000 tokens, in MiB: its weights are 1,023 or 512."""
    code = (
        f"import interp; s = interp.load('gemma-3-270m', device='cpu', dtype='{dtype}');"
        "s.normed(s.pad([list(range(300, 550))] * 4)[0]);"
        "print(open('/proc/self/status').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert int(peak) / 1024 < most

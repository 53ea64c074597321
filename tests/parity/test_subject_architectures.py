"""Every architecture, loaded as a user does, against `transformers`' own model of the same folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    SiglipVisionConfig,
)

import interp
from interp.errors import UserError
from interp.lenses.logit_lens import LogitLens
from interp.subject import SITE_KINDS, Site, Subject
from tests.parity.subject_folders import CONFIGS, HOOKED, save_model, save_tokenizer

TOLERANCE = 1e-4
TOKENS = torch.randint(2, 260, (3, 20), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(TOKENS)
MASK[1, :5] = 0
MASK[2, :11] = 0
REAL = MASK.bool()


class Pair:
    """A folder's model in `transformers`, and as a subject."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.reference: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.subject: Subject = interp.load(folder, device="cpu")
        self.subject.tokenizer.eos_token = None  # no text ends early
        self.reference.generation_config.eos_token_id = None

    @torch.no_grad()
    def expected(self) -> Tensor:
        """Log-probabilities of the padded batch, and of its rows alone in the place of each."""
        positions = (MASK.cumsum(-1) - 1).clamp(min=0)
        logits = self.reference(TOKENS, attention_mask=MASK, position_ids=positions, use_cache=False).logits
        return logits.log_softmax(-1)


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(request.param, save_model(request.param, tmp_path_factory.mktemp(request.param)))


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().abs().max())


def test_log_probabilities_padded_and_alone(pair: Pair) -> None:
    expected = pair.expected()
    assert float(expected[REAL].std()) > 0.3  # a flat distribution would prove nothing
    found = pair.subject.logits(TOKENS, MASK).log_softmax(-1)
    assert distance(found[REAL], expected[REAL]) < TOLERANCE
    alone = pair.subject.logits(TOKENS[2:, 11:]).log_softmax(-1)
    with torch.no_grad():
        assert distance(alone, pair.reference(TOKENS[2:, 11:]).logits.log_softmax(-1)) < TOLERANCE


def test_the_lens_at_the_last_layer_is_the_models_own_distribution(pair: Pair) -> None:
    last = Site("resid_post", pair.subject.n_layers - 1)
    if pair.name == "gpt1":
        with pytest.raises(UserError, match="never reaches"):
            pair.subject.read(TOKENS, [last])
        return
    resid = pair.subject.read(TOKENS, [last], MASK)[last]
    found = LogitLens(pair.subject).logits(resid, last).log_softmax(-1)
    assert distance(found[REAL], pair.expected()[REAL]) < TOLERANCE
    cap = getattr(pair.reference.config, "final_logit_softcapping", None)
    product = pair.subject.final_norm(resid) @ pair.subject.unembedding()
    capped = cap * torch.tanh(product / cap) if cap else product
    bias = getattr(pair.reference.get_output_embeddings(), "bias", None)
    logits = capped if bias is None else capped + bias
    assert distance(logits.log_softmax(-1)[REAL], pair.expected()[REAL]) < TOLERANCE


def test_greedy_generation_with_a_cache_and_without(pair: Pair) -> None:
    prompt = TOKENS[:1, :10]
    expected = pair.reference.generate(prompt, max_new_tokens=8, do_sample=False)[0, 10:].tolist()
    for cached in (True, False):
        assert pair.subject.generate_ids(prompt, torch.ones_like(prompt), 8, use_cache=cached) == [expected]
    alone = pair.subject.generate_ids(TOKENS[2:, 11:], MASK[2:, 11:], 8)
    assert pair.subject.generate_ids(TOKENS, MASK, 8)[2:] == alone


def test_sites_are_read_and_edited_for_what_they_are(pair: Pair) -> None:
    """Sums of the stream, what goes into the down projection, and edits that act as on the stream itself."""
    subject, plain = pair.subject, pair.subject.logits(TOKENS).log_softmax(-1)
    found = {}
    for kind in SITE_KINDS:
        site = Site(kind, 0 if kind == "embed" else 1)
        try:
            width = subject.site_width(site)
        except UserError as error:
            assert site in refused(pair.name, subject.info.parallel), error
            continue
        assert site not in refused(pair.name, subject.info.parallel)
        found[kind] = subject.read(TOKENS, [site])[site]
        assert found[kind].shape[-1] == width
        step = torch.randn(width, generator=torch.Generator().manual_seed(2))
        with subject.edited({site: lambda activation, step=step: activation + step}):
            assert distance(subject.logits(TOKENS).log_softmax(-1), plain) > 1e-3, site
    if "mlp_post" in found:
        assert distance(found["mlp_post"], down_projection_input(pair.reference)) < TOLERANCE
        if pair.name not in ("gemma2", "gemma3", "olmo2"):  # whose outputs pass a norm before they are added
            written = found["mlp_post"] @ subject.output_weight(Site("mlp_post", 1)) - found["mlp_out"]
            assert distance(written, written[:1, :1]) < TOLERANCE  # no bias, or one
    if pair.name in ("opt-350m", "gpt1"):
        assert not subject.adds_up
        return
    assert subject.adds_up
    if not subject.info.parallel:
        assert distance(found["resid_pre"] + found["attn_out"], found["resid_mid"]) < TOLERANCE
    written = found["attn_out"] + found["mlp_out"]
    assert distance(found["resid_pre"] + written, found["resid_post"]) < TOLERANCE


def refused(name: str, parallel: bool) -> set[Site]:
    """The sites that a user is told not to use."""
    if name == "gpt1":
        return {Site("resid_mid", 1), Site("resid_post", 1)}
    if name == "opt-350m":
        return {Site("resid_mid", 1), Site("embed")}
    experts = {Site("mlp_post", 1)} if name in ("mixtral", "qwen2-moe", "qwen3-moe", "gpt-oss") else set()
    return experts | ({Site("resid_mid", 1)} if parallel else set())


@torch.no_grad()
def down_projection_input(reference: Any) -> Tensor:
    """What the second layer's down projection is given, by a hook on the module itself."""
    names = ("down_proj", "mlp.c_proj", "dense_4h_to_h", "fc_out", "fc2")
    (module,) = (
        module for name, module in reference.named_modules() if name.endswith(names) and ".1." in name
    )
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    reference(TOKENS)
    handle.remove()
    return seen[0].reshape(*TOKENS.shape, -1)


def test_auto_takes_hooked_where_a_test_holds_it_to_transformers(pair: Pair) -> None:
    """Where it is no worse: Gemma 3 is built, too, but takes more time and memory than on the bridge."""
    built = (pair.name in HOOKED and pair.name != "gemma3") or pair.name == "gpt2-unscaled"
    assert pair.subject.backend == ("hooked" if built else "bridge")


def test_what_the_library_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """Its weight processing is wrong on gpt-oss."""
    folder = save_model("gpt-oss", tmp_path)
    said = r"logits are off by 0\.\d+ of their spread.*\n.*\n.*use processing: none, or .* check: false"
    with pytest.raises(UserError, match=said):
        interp.load(folder, device="cpu", processing="fold")
    subject = interp.load(folder, device="cpu", processing="fold", check=False)
    with torch.no_grad():
        reference = AutoModelForCausalLM.from_pretrained(folder)(TOKENS).logits.log_softmax(-1)
    assert distance(subject.logits(TOKENS).log_softmax(-1), reference) > 0.5
    assert subject.gap is not None and not subject.gap.holds


def test_a_context_shorter_than_the_text_of_the_check(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=260, n_embd=32, n_layer=1, n_head=4, n_positions=7)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, bos="<s>")
    gap = interp.load(tmp_path, device="cpu").gap
    assert gap is not None and gap.holds and gap.cache_holds


def test_logits_that_are_not_finite_in_a_float_type_are_refused(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.layers[1].mlp.down_proj.weight.data *= 1e6
    model.save_pretrained(folder)
    with pytest.raises(UserError, match=r"from mlp_out\.1 on are not finite in float16"):
        interp.load(folder, device="cpu", dtype="float16")
    assert interp.load(folder, device="cpu", dtype="bfloat16").gap is not None


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("name", ["olmo2", "cohere", "opt"])
def test_other_float_types_with_padding(name: str, dtype: str, tmp_path: Path) -> None:
    """OLMo 2 rotates in single precision, and a mask of double precision overflows in a single softmax."""
    subject = interp.load(save_model(name, tmp_path), device="cpu", dtype=dtype)
    found = subject.logits(TOKENS, MASK)[REAL].float().log_softmax(-1)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=getattr(torch, dtype))
    positions = (MASK.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = reference(TOKENS, attention_mask=MASK, position_ids=positions).logits[REAL].float()
    error = (found - logits.log_softmax(-1)).square().mean().sqrt() / logits.std()
    assert float(error) < (0.05 if dtype == "bfloat16" else 1e-4)


def test_the_language_model_of_one_that_also_sees_is_loaded(tmp_path: Path) -> None:
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28
    )
    config = Gemma3Config(text_config=HOOKED["gemma3"], vision_config=vision, mm_tokens_per_image=1)
    torch.manual_seed(0)
    reference = Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(std=0.3)
    reference.save_pretrained(tmp_path)
    save_tokenizer(tmp_path, bos="<s>")
    subject = interp.load(tmp_path, device="cpu")
    assert (subject.n_layers, subject.d_model, subject.d_mlp) == (3, 32, 48)
    with torch.no_grad():
        expected = reference(input_ids=TOKENS).logits.log_softmax(-1)
    assert float(expected.std()) > 0.5
    assert distance(subject.logits(TOKENS).log_softmax(-1), expected) < TOLERANCE

"""What heads, neurons and weights write to the residual stream, against `transformers` and against hooks."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from interp import subject as subjects
from interp.errors import UserError
from interp.features.neurons import MlpNeurons
from interp.intervene import AddVector, ProjectOut, bias_added, orthogonalised
from interp.lenses.direct_attribution import direct_attribution
from interp.lenses.prompt import Prompt
from interp.subject import Site, Subject
from interp.vectors.function import function_vector, mean_head_outputs
from tests.parity.subject_folders import built, save_model

IDS = tuple(range(10, 22))
TARGET, DISTRACTOR = 7, 5
EXPERTS = ("mixtral", "qwen2-moe", "qwen3-moe", "gpt-oss")
NORMS_AFTER = ("gemma2", "gemma3", "olmo2")


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    name, backend = request.param
    return subjects.load(save_model(name, tmp_path_factory.mktemp("models") / name), backend, device="cpu")


class Reference:
    """A model of `transformers` and what goes into its matrices and norms at the last token."""

    def __init__(self, subject: Subject) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(subject.info.folder, dtype=torch.float32)
        self.into: dict[str, Tensor] = {}
        for name, module in self.model.named_modules():
            module.register_forward_hook(lambda m, given, out, name=name: self._keep(name, given))
        bos = [] if subject.bos_id is None else [subject.bos_id]
        with torch.no_grad():
            self.logits = self.model(torch.tensor([[*bos, *IDS]])).logits[0, -1]

    def _keep(self, name: str, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor) and given[0].ndim == 3:
            self.into[name] = given[0][0, -1]

    def through(self, name: str, parts: Tensor) -> Tensor:
        """Parts [*, d_model] of what goes into an RMSNorm, with its scale held at the whole."""
        norm, whole = self.model.get_submodule(name), self.into[name]
        weight = norm.weight + 1 if type(norm).__name__.startswith("Gemma") else norm.weight
        epsilon = getattr(norm, "eps", getattr(norm, "variance_epsilon", None))
        return weight * parts / (whole.pow(2).mean() + epsilon).sqrt()

    def difference(self, parts: Tensor) -> Tensor:
        """What parts of the last residual stream add to the difference of two logits, before a soft cap."""
        column = self.model.lm_head.weight[TARGET] - self.model.lm_head.weight[DISTRACTOR]
        scaling = getattr(self.model.config, "logits_scaling", 1.0)
        return self.through("model.norm", parts) @ column / scaling

    def written(self, subject: Subject, layer: int, matrix: str, norm: str) -> Tensor:
        """What each input of a matrix adds to the residual stream [n_in, d_model]."""
        name = f"model.layers.{layer}.{matrix}"
        parts = self.into[name][:, None] * self.model.get_submodule(name).weight.T
        if norm in dict(self.model.model.layers[layer].named_children()) and subject_has_norms(subject):
            return self.through(f"model.layers.{layer}.{norm}", parts)
        return parts * getattr(self.model.config, "residual_multiplier", 1.0)


def subject_has_norms(subject: Subject) -> bool:
    return subject.info.folder.name in NORMS_AFTER


@pytest.mark.parametrize("subject", built([*NORMS_AFTER, "granite", *EXPERTS]), indirect=True)
def test_heads_and_neurons_add_what_transformers_has_them_add(subject: Subject) -> None:
    reference = Reference(subject)
    found = direct_attribution(subject, [Prompt(IDS)], [TARGET], [DISTRACTOR])
    assert abs(found.total() - found.logit).max() < 1e-3
    cap = getattr(reference.model.config, "final_logit_softcapping", None) or torch.inf
    logits = reference.logits if cap == torch.inf else cap * torch.atanh(reference.logits / cap)
    assert abs(found.logit[0] - float(logits[TARGET] - logits[DISTRACTOR])) < 1e-3
    assert found.heads is not None
    means = mean_head_outputs(subject, [IDS])
    for layer in range(subject.n_layers):
        by_input = reference.written(subject, layer, "self_attn.o_proj", "post_attention_layernorm")
        heads = by_input.view(subject.n_heads, -1, subject.d_model).sum(1)
        attributed = torch.from_numpy(found.heads[0, layer]).float()
        assert torch.allclose(attributed, reference.difference(heads), atol=1e-3)
        vector = function_vector(subject, [(layer, 1), (layer, 3)], means, "of two heads").values
        assert torch.allclose(vector.float(), heads[1] + heads[3], atol=1e-3)
    assert (found.neurons is None) == (subject.info.folder.name in EXPERTS)
    if found.neurons is not None:
        by_input = reference.written(subject, 1, "mlp.down_proj", "post_feedforward_layernorm")
        attributed = torch.from_numpy(found.neurons[0, 1]).float()
        assert torch.allclose(attributed, reference.difference(by_input), atol=1e-3)


@pytest.mark.parametrize("subject", built([*NORMS_AFTER, "granite"]), indirect=True)
def test_a_unit_of_a_neuron_adds_its_row_before_the_norm_s_scale(subject: Subject) -> None:
    reference = Reference(subject)
    rows = MlpNeurons(subject, 1).decoder(torch.tensor([3, 8]))
    name = "model.layers.1.mlp.down_proj"
    by_input = reference.written(subject, 1, "mlp.down_proj", "post_feedforward_layernorm")
    expected = by_input[[3, 8]] / reference.into[name][[3, 8], None]
    if subject_has_norms(subject):
        expected *= reference.into["model.layers.1.post_feedforward_layernorm"].pow(2).mean().sqrt()
    assert torch.allclose(rows, expected, atol=1e-3)


def logits(subject: Subject, *interventions: Any) -> Tensor:
    with subject.intervene(*interventions):
        return subject.logits(subject.pad([IDS])[0]).log_softmax(-1)


@pytest.mark.parametrize(
    "subject", built([*EXPERTS, "opt", "granite", "gpt-neo", "mpt", "falcon", "bloom"]), indirect=True
)
def test_edited_weights_do_what_the_hooks_do(subject: Subject) -> None:
    plain, name = logits(subject), subject.info.folder.name
    vectors = torch.randn(2, subject.d_model, generator=torch.Generator().manual_seed(2))

    def same(edited: Tensor, hooked: Tensor) -> None:
        assert float((edited - hooked).abs().max()) < 1e-3
        assert float((edited - plain).abs().max()) > 0.1

    for kind in ("attn_out", "mlp_out"):
        site = Site(kind, 1)
        if kind == "mlp_out" and name in EXPERTS:
            with pytest.raises(UserError, match="mixture of experts"), bias_added(subject, site, vectors[0]):
                pass
            continue
        with bias_added(subject, site, vectors[0], 2):
            edited = logits(subject)
        same(edited, logits(subject, AddVector(subject, site, vectors[0], 2)))
    if name == "bloom":
        with pytest.raises(UserError, match=r"the embedding .* norms"), orthogonalised(subject, vectors):
            pass
        return
    with orthogonalised(subject, vectors):
        edited = logits(subject)
    same(edited, logits(subject, ProjectOut(subject, vectors)))
    with (
        subject.intervene(AddVector(subject, Site("resid_pre", 0), vectors[0])),
        orthogonalised(subject, vectors),  # whose check is of the weights alone
    ):
        pass
    assert torch.equal(logits(subject), plain)


@pytest.mark.parametrize("subject", built(NORMS_AFTER), indirect=True)
def test_weights_before_a_norm_are_not_edited(subject: Subject) -> None:
    vectors = torch.randn(1, subject.d_model)
    with pytest.raises(UserError, match=r"attention and the MLP .* norms"), orthogonalised(subject, vectors):
        pass


@pytest.mark.parametrize("subject", built(["opt-350m"]), indirect=True)
def test_a_stream_with_norms_of_its_own_is_no_sum(subject: Subject) -> None:
    with pytest.raises(UserError, match="is not the sum of what its layers write"):
        direct_attribution(subject, [Prompt(IDS)], [TARGET])
    with pytest.raises(UserError, match="is not the sum"), orthogonalised(subject, torch.ones(32)):
        pass


@pytest.mark.parametrize("subject", built(["qwen2"]), indirect=True)
def test_what_goes_on_writing_a_direction_is_no_silence(subject: Subject) -> None:
    vector = torch.randn(subject.d_model, generator=torch.Generator().manual_seed(0))
    layer = subject.model.original_model.model.layers[1]
    handle = layer.register_forward_hook(lambda module, given, output: output + vector)
    with pytest.raises(UserError, match="by other weights, too"), orthogonalised(subject, vector):
        pass
    handle.remove()
    with orthogonalised(subject, vector):
        pass

"""`interp bench attribution`: every neuron's attribution at every position, against one forward pass.

Compared on the bundled model and on a random Llama (6 layers, d_model 256, 8 heads, d_mlp 1024, vocabulary
4096), one prompt of 64 tokens, on both backends, in one process, in turn: activation times gradient of all
neurons of all layers, and integrated gradients with 20 steps of all of them together, over one forward pass
with all logits (no graph) of the same backend and over one of `transformers` alone (eager attention, as in
the backends). Beside them captum's `LayerGradientXActivation`, all layers in one call, on the `transformers`
model with frozen parameters, if captum is installed. Figures are medians over rounds of ratios within one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import interp.subject
from interp.attribution import Target, activation_times_gradient, integrated_gradients
from interp.bundled.world import world_folder
from interp.features.neurons import MlpNeurons
from interp.subject.pretrained import read_weights
from interp.subject.quiet import quiet

LENGTH = 64
STEPS = 20
ROUNDS = 15
D_VOCAB = 4096
BACKENDS = ("hooked", "bridge")


def random_llama(folder: Path, **changed: int) -> Path:
    """Writes a random Llama (6 layers, d_model 256, unless `changed`) with a tokenizer of made-up words."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": D_VOCAB,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "max_position_embeddings": 128,
        **changed,
    }
    with quiet():
        AutoModelForCausalLM.from_config(LlamaConfig(**shape, initializer_range=0.06)).save_pretrained(folder)
    made_up_words(shape["vocab_size"]).save_pretrained(folder)
    return folder


def made_up_words(d_vocab: int) -> PreTrainedTokenizerFast:
    """A tokenizer of words `w3`, `w4`, ..."""
    words = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, d_vocab)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def captum_work(model: Any, tokens: torch.Tensor, token: int) -> dict[str, Callable[[], object]]:
    """Captum's activation times gradient at every down projection's input; empty without captum."""
    try:
        from captum.attr import LayerGradientXActivation
    except ImportError:
        return {}
    layers = [layer.mlp.down_proj for layer in model.model.layers]
    method = LayerGradientXActivation(
        lambda embedded: model(inputs_embeds=embedded, use_cache=False).logits[:, -1], layers
    )
    embedded = model.model.embed_tokens(tokens).requires_grad_()
    return {
        "captum gradient": lambda: method.attribute(embedded, target=token, attribute_to_layer_input=True)
    }


def backend_work(
    folder: Path, backend: str, tokens: torch.Tensor, token: int
) -> dict[str, Callable[[], object]]:
    """A forward pass, activation times gradient, and integrated gradients of one backend."""
    subject = interp.subject.load(folder, backend, device="cpu")
    neurons = [MlpNeurons(subject, layer) for layer in range(subject.n_layers)]
    target = Target("logit", (token,))
    return {
        f"{backend} forward": torch.no_grad()(lambda: subject.logits(tokens)),
        f"{backend} gradient": lambda: activation_times_gradient(subject, tokens, None, target, neurons),
        f"{backend} integrated": lambda: integrated_gradients(
            subject, tokens, None, target, neurons, steps=STEPS
        ),
    }


def measure(name: str, folder: Path) -> dict[str, float]:
    """Median ratios on one model."""
    model = read_weights(folder, torch.float32).requires_grad_(False)
    size = int(model.config.vocab_size)
    tokens = torch.randint(3, size, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    token = size // 2
    work: dict[str, Callable[[], object]] = {
        "transformers forward": torch.no_grad()(lambda: model(tokens, use_cache=False))
    }
    work |= captum_work(model, tokens, token)
    for backend in BACKENDS:
        work |= backend_work(folder, backend, tokens, token)
    rounds = []
    for number in range(ROUNDS + 2):
        order = list(work) if number % 2 else list(reversed(work))
        timed = {what: seconds(work[what]) for what in order}
        if number >= 2:  # the first two rounds warm up
            rounds.append(timed)
    print(f"{name}: 1 x {LENGTH} tokens, {ROUNDS} rounds, {torch.get_num_threads()} threads")
    ratios = {}
    for what in work:
        own = f"{what.split()[0]} forward"
        over = ["transformers forward"] + [own] * (own in work and own != what)
        shown = []
        for base in over:
            each = [timed[what] / timed[base] for timed in rounds]
            ratios[f"{name}: {what} / {base}"] = statistics.median(each)
            shown.append(f"{statistics.median(each):6.2f} ({min(each):.2f} to {max(each):.2f}) of {base}")
        milliseconds = 1e3 * statistics.median(timed[what] for timed in rounds)
        print(f"  {what:22s} {milliseconds:8.1f} ms  " + "; ".join(shown))
    return ratios


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> dict[str, float]:
    """Prints and returns the ratios."""
    ratios = measure("world", world_folder())
    with tempfile.TemporaryDirectory() as folder:
        return ratios | measure("random Llama", random_llama(Path(folder)))


if __name__ == "__main__":
    main()

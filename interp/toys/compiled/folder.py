"""Writes a program as an ordinary Hugging Face folder of a GPT-2: config, weights and tokenizer."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from interp.toys.compiled.program import BOS, Program
from interp.toys.compiled.weights import Weights
from interp.track.files import cache_folder, write_bytes, write_json, write_safetensors


def build(program: Program, folder: Path | None = None) -> Path:
    """Writes the model of a program, the same bytes each time, and returns the folder.

    Without `folder` it is `compiled/` and the program's name in the cache (INTERP_CACHE). The tokenizer has
    one id for each word, writes <bos> before every text, and reads words that it does not know as <bos>.

    Raises:
        UserError: the program does not fit together (`Program.check`), or the folder cannot be written.
    """
    folder = cache_folder() / "compiled" / program.name if folder is None else folder
    weights = Weights(program)
    write_safetensors(folder / "model.safetensors", weights.tensors(), {"format": "pt"})
    write_json(folder / "config.json", _config(weights))
    write_bytes(folder / "tokenizer.json", _tokenizer(program).to_str(pretty=True).encode())
    names = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), BOS)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": program.n_ctx}
    write_json(folder / "tokenizer_config.json", settings | names)
    return folder


def _config(weights: Weights) -> dict[str, object]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": len(weights.program.vocabulary),
        "n_positions": weights.program.n_ctx,
        "n_embd": weights.d_model,
        "n_layer": len(weights.program.layers),
        "n_head": weights.n_heads,
        "n_inner": weights.d_mlp,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "dtype": "float32",
    }


def _tokenizer(program: Program) -> Tokenizer:
    ids = {word: index for index, word in enumerate(program.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=BOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])]
    )
    tokenizer.add_special_tokens([BOS])
    return tokenizer

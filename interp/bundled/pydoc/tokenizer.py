"""The byte-level byte-pair tokenizer of `pydoc`, which encodes every text without loss."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from interp.track.files import write_bytes, write_json

BOS, BOS_ID = "<bos>", 0
PAD, PAD_ID = "<pad>", 1


def train_tokenizer(texts: Iterable[str], d_vocab: int) -> Tokenizer:
    """Trains a tokenizer of `d_vocab` tokens: two special ones, the 256 bytes, and merges of `texts`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[BOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path, n_ctx: int) -> None:
    """Write tokenizer.json and tokenizer_config.json, as `AutoTokenizer` reads them."""
    write_bytes(folder / "tokenizer.json", tokenizer.to_str(pretty=False).encode())
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": BOS,
            "pad_token": PAD,
            "clean_up_tokenization_spaces": False,
            "model_max_length": n_ctx,
        },
    )

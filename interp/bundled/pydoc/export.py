"""Writing a trained `pydoc` model as an ordinary Hugging Face folder."""

from pathlib import Path

from tokenizers import Tokenizer

from interp.bundled.llama.folder import write_model
from interp.bundled.llama.model import Llama
from interp.bundled.pydoc.tokenizer import BOS_ID, PAD_ID, write_tokenizer


def export(model: Llama, tokenizer: Tokenizer, folder: Path) -> None:
    """Write config, weights and tokenizer to `folder`; the weights are rounded to half precision, once."""
    write_model(model, folder, bos_id=BOS_ID, pad_id=PAD_ID)
    write_tokenizer(tokenizer, folder, model.shape.n_ctx)

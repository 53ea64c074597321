"""Subjects with random weights, of any shape: what a model of that shape costs, without a file of it.

Weights are drawn where they are used, so that no copy passes through the host: a model of 8 billion
parameters is there in seconds, and takes its own size and no more.
"""

from pathlib import Path
from typing import Any

import torch

from interp.device import usable_device
from interp.errors import UserError
from interp.subject.bridge import BridgeBackend
from interp.subject.folder import info_of, read_config
from interp.subject.model import Loaded
from interp.subject.quiet import quiet
from interp.subject.subject import Subject
from interp.subject.text import Text


def random_model(folder: Path, device: str, dtype: torch.dtype, seed: int = 0) -> Any:
    """Makes the model of a folder's `config.json` as `transformers` does, on a device, in a float type.

    Its attention is the plain one ("eager"), as in every subject. The caller's random state stays as it was.

    Raises:
        UserError: the device is not usable here, or the configuration cannot be read.
    """
    from transformers import AutoModelForCausalLM

    where, config = usable_device(device), read_config(folder)
    drawn = [where] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=drawn), torch.device(where), quiet():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation="eager", trust_remote_code=False
        )
    return model.eval().requires_grad_(False)


def random_subject(
    folder: Path, device: str, dtype: torch.dtype, seed: int = 0, model: Any | None = None
) -> Subject:
    """Wraps a random model, by default a new one, as a subject; `folder` has its tokenizer, too.

    Its backend is `bridge`. It is not compared with `transformers`, whose own model does the computing.

    Raises:
        UserError: as `random_model`; there is no usable tokenizer, or it has more words than the model.
    """
    info = info_of(folder, folder.name)
    text = Text(folder, info.d_vocab)
    if len(text.tokenizer) > info.d_vocab:
        raise UserError(
            f"the tokenizer has {len(text.tokenizer):,} words, and the model {info.d_vocab:,}",
            str(folder),
            "put a smaller tokenizer there",
        )
    made = random_model(folder, device, dtype, seed) if model is None else model
    where = next(made.parameters()).device
    backend = BridgeBackend(made, info, str(where), dtype, fold=False)
    return Subject(Loaded(backend, info, where, dtype), text)

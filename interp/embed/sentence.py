"""Sentence embeddings by a local model (the extra `semantic`)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from interp.errors import UserError
from interp.subject.quiet import quiet


class SentenceEmbedder:
    """A sentence-transformers model: a local folder, or a name that is in the hub's cache or can be fetched.

    Raises:
        UserError: sentence-transformers is not installed, or there is no such model.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise UserError(
                "sentence-transformers is not installed",
                "embedder sentence",
                "pip install 'interp[semantic]'",
            ) from None
        try:
            with quiet():
                self._model = SentenceTransformer(
                    model, device=device, trust_remote_code=False, model_kwargs={"use_safetensors": True}
                )
        except Exception as error:  # of many classes: a missing folder, an unreachable hub, damaged files
            raise UserError(
                f"the sentence model cannot be loaded ({' '.join(str(error).split())[:200]})",
                f"embedder model {model!r}",
                "give a folder with a sentence-transformers model, or a name while the hub can be reached",
            ) from error
        self.name = f"sentence {Path(model).name if Path(model).exists() else model} {_digest(self._model)}"
        self.width = int(self._model.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """One unit vector for each text."""
        found: Float[np.ndarray, "text width"] = self._model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return found.astype(np.float32).reshape(len(texts), self.width)


def _digest(model: torch.nn.Module) -> str:
    """A hash of a model's modules and weights, which tells models in folders of the same name apart."""
    digest = hashlib.sha256(str(model).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]

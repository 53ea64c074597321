"""Embeddings from an endpoint."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.preprocessing import normalize

from interp.llm.client import Client, run_with


class EndpointEmbedder:
    """An embedding model at an endpoint, whose vectors have `width` numbers.

    With a width of 0, a first call finds it out.

    Raises:
        UserError: as for `Client`; or the vectors have another width.
    """

    def __init__(self, client: Client, width: int = 0) -> None:
        self._client = client.named("embed")
        self.name = f"endpoint {client.name}"
        self.width = width or len(run_with(self._client.embed(["width"]), [self._client])[0])

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text width"]:
        """One unit vector for each text."""
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        found = np.array(run_with(self._client.embed(texts, self.width), [self._client]))
        # divided by the largest number first: the squares of what a server sends may overflow
        unit: Float[np.ndarray, "text width"] = normalize(normalize(found, norm="max")).astype(np.float32)
        return unit

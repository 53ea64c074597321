"""Which embedder a config means."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from interp.embed.embedder import Embedder
from interp.embed.endpoint import EndpointEmbedder
from interp.embed.sentence import SentenceEmbedder
from interp.embed.tfidf import TfidfEmbedder
from interp.fields import CountOrZero, Device, PathText, Section, Several
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint


class TfidfSource(Section):
    """TF-IDF and SVD, fitted on the descriptions: no model, no network."""

    kind: Literal["tfidf"] = "tfidf"
    width: Several = 384
    """The most numbers in a vector."""


class SentenceSource(Section):
    """A sentence-transformers model on this machine."""

    kind: Literal["sentence"]
    model: PathText
    """Its folder, or a name."""
    device: Device = "cpu"
    """Where it runs."""


class EndpointSource(Section):
    """An embedding model behind an endpoint."""

    kind: Literal["endpoint"]
    endpoint: Endpoint = Endpoint(model="text-embedding-3-large")
    """The server and the model."""
    width: CountOrZero = 0
    """Numbers in a vector; 0 to ask."""


EmbedderSource = Annotated[TfidfSource | SentenceSource | EndpointSource, Field(discriminator="kind")]


def open_embedder(
    source: TfidfSource | SentenceSource | EndpointSource,
    texts: Sequence[str],
    connect: Callable[[Endpoint], Client] = Client,
) -> Embedder:
    """The embedder; `texts` are what TF-IDF is fitted on, `connect` makes the client of an endpoint."""
    if isinstance(source, SentenceSource):
        return SentenceEmbedder(source.model, source.device)
    if isinstance(source, EndpointSource):
        return EndpointEmbedder(connect(source.endpoint), source.width)
    return TfidfEmbedder.fit(texts, source.width)

"""Which embedder a config means: each source checks and opens itself."""

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

Connect = Callable[[Endpoint], Client]


class TfidfSource(Section):
    """TF-IDF and SVD, fitted on the descriptions: no model, no network."""

    kind: Literal["tfidf"] = "tfidf"
    width: Several = 384
    """The most numbers in a vector."""

    def check(self) -> None:
        """Checks nothing: every value of the fields is valid."""

    def open(self, texts: Sequence[str], connect: Connect = Client) -> Embedder:
        """Fits the embedder on `texts`."""
        return TfidfEmbedder.fit(texts, self.width)


class SentenceSource(Section):
    """A sentence-transformers model on this machine."""

    kind: Literal["sentence"]
    model: PathText
    """Its folder, or a hub name."""
    device: Device = "cpu"
    """Where it runs."""

    def check(self) -> None:
        """Checks nothing: problems show only when the model is opened."""

    def open(self, texts: Sequence[str], connect: Connect = Client) -> Embedder:
        """Loads the model; raises UserError as `SentenceEmbedder`."""
        return SentenceEmbedder(self.model, self.device)


class EndpointSource(Section):
    """An embedding model at an endpoint."""

    kind: Literal["endpoint"]
    endpoint: Endpoint = Endpoint(model="text-embedding-3-large")
    """The server and the model."""
    width: CountOrZero = 0
    """Numbers in a vector; 0 asks the server."""

    def check(self) -> None:
        """Raises UserError if the address is not one or there is no key."""
        self.endpoint.check()

    def open(self, texts: Sequence[str], connect: Connect = Client) -> Embedder:
        """Connects to the endpoint; `connect` makes the client."""
        return EndpointEmbedder(connect(self.endpoint), self.width)


EmbedderSource = Annotated[TfidfSource | SentenceSource | EndpointSource, Field(discriminator="kind")]

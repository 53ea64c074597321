"""A client of a scripted server, and questions for it."""

from pathlib import Path
from typing import Any

from interp.llm.cache import Cache
from interp.llm.client import Client
from interp.llm.endpoint import Endpoint
from interp.llm.ledger import FILE, Ledger
from interp.llm.request import Message, Request
from tests.endpoint_server import MODEL, Script


def client_of(script: Script, folder: Path | None = None, **options: Any) -> Client:
    """A client that hardly waits between tries; with a cache and a ledger in `folder`."""
    endpoint = Endpoint(
        model=MODEL, base_url=script.url, **{"longest_wait_seconds": 0.05, "retries": 3, **options}
    )
    if folder is None:
        return Client(endpoint)
    return Client(endpoint, Cache(folder / "answers.sqlite"), Ledger(folder / FILE), "test")


def question(text: str = "hello", **options: Any) -> Request:
    """One message of a user."""
    return Request((Message("user", text),), **options)

"""Joining a Ray cluster, or starting one on this machine that only this process may use."""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from interp.engine.config import EngineConfig
from interp.errors import UserError

_SECONDS = 5.0


@contextmanager
def joined(config: EngineConfig) -> Iterator[None]:
    """Joins the cluster at the config's address for the time of the block; without one, starts one here.

    That one asks for a token, which only this process and its workers have, and sends no statistics. A
    cluster that this process belongs to already is used, and left as it is.

    Raises:
        UserError: the package ray is not there, or no cluster answers at the address.
    """
    before = dict(os.environ)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not config.address:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import ray
    except ImportError:
        raise UserError(
            "the package ray is not installed", "engine", "pip install 'interp[ray]', or use engine: local"
        ) from None
    if ray.is_initialized():
        yield
        return
    if ":" in config.address:
        _check_answers(config.address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "namespace": "interp"}
    if config.address:
        options["address"] = config.address
    else:
        options |= {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": config.object_store,
        }
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_answer(config.address or "this machine", str(error)) from error
    try:
        yield
    finally:
        ray.shutdown()
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            os.environ.pop(name, None)
            os.environ |= {name: before[name]} if name in before else {}


def _check_answers(address: str) -> None:
    """Raises UserError at once where nothing listens; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), _SECONDS).close()
    except (OSError, ValueError) as error:
        raise _no_answer(address, str(error)) from None


def _no_answer(address: str, said: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at {address} ({said.splitlines()[0] if said else 'no answer'})",
        "engine.address",
        "start one (ray start --head), give the HOST:PORT that it printed, or use engine: local",
    )

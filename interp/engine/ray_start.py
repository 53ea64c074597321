"""Joining a Ray cluster, or starting one on this machine that only this process may use."""

import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from interp.engine.config import EngineConfig
from interp.errors import UserError

_SECONDS = 5.0
_token: list[str] = []
"""The token of all clusters that this process starts, if one was: Ray reads it once."""


@contextmanager
def joined(config: EngineConfig) -> Iterator[None]:
    """Joins the cluster at the config's address for the time of the block; without one, starts one here.

    That one sends no statistics and asks for a token, which only this process and its workers have; it does
    not where `ray` was imported before, which then has read its settings. A cluster that this process belongs
    to already is used, and left as it is.

    Raises:
        UserError: the package ray is not there, or no cluster answers at the address.
    """
    variables = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not config.address and ("ray" not in sys.modules or _token):
        _token.append(secrets.token_hex(32))
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _token[0]}
    with _environment(variables):
        try:
            import ray
        except ImportError:
            raise UserError(
                "the package ray is not installed",
                "engine",
                "pip install 'interp[ray]', or use engine: local",
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


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


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

"""Where a language model answers, what it costs and what it can do."""

import os
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from interp.errors import UserError

Flag = bool | Literal["auto"]
NO_KEY = "none"
"""What is sent as the key to a server on this machine that needs none."""


class Endpoint(BaseModel):
    """An OpenAI-compatible server and one of its models."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: str = Field(min_length=1)
    """The model's name, as the server knows it."""
    base_url: str = "https://api.openai.com/v1"
    """The server, up to and including /v1."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; a server on this machine needs none."""
    concurrency: int = Field(16, ge=1)
    """Calls in flight at once."""
    timeout_seconds: float = Field(120.0, gt=0)
    """How long one call may take."""
    retries: int = Field(6, ge=0)
    """Further tries after a refusal for load, a server error, a timeout or a lost connection."""
    longest_wait_seconds: float = Field(60.0, ge=0)
    """The longest pause before a further try, whatever the server asks for."""
    usd_per_million_prompt_tokens: float | None = Field(None, ge=0)
    """The price of what is sent; without it money is not counted."""
    usd_per_million_completion_tokens: float | None = Field(None, ge=0)
    """The price of what is answered."""
    budget_tokens: int | None = Field(None, ge=1)
    """The most tokens, sent and answered, that a run may use; what an earlier try of the run used counts."""
    budget_usd: float | None = Field(None, gt=0)
    """The most money that a run may cost; needs both prices."""
    max_tokens_per_call: int | None = Field(None, ge=1)
    """The most tokens of one answer, whatever is asked for."""
    thinking_tokens: int = Field(0, ge=0)
    """What a reasoning model may think before each answer, in tokens on top of what the answer may have."""
    json_schema: Flag = "auto"
    """Whether the server keeps an answer to a JSON schema; auto finds out."""
    logprobs: Flag = "auto"
    """Whether it gives the log-probabilities of its answer."""
    prompt_logprobs: Flag = "auto"
    """Whether it gives those of the prompt (echo, or vLLM's prompt_logprobs)."""
    seed: Flag = "auto"
    """Whether it takes a seed."""

    def key(self) -> str:
        """The key, read anew from the environment; a placeholder for a server on this machine.

        Raises:
            UserError: the variable is not set.
        """
        found = os.environ.get(self.api_key_env, "").strip()
        if found:
            return found
        if self.local:
            return NO_KEY
        raise UserError(
            f"there is no key for {self.host}",
            f"the environment variable {self.api_key_env}",
            f"set {self.api_key_env}, or name the variable that holds the key (api_key_env)",
        )

    def check(self) -> None:
        """Finds what can be known to be wrong before the first call.

        Raises:
            UserError: the address is no http address or holds a key, there is no key, or a budget of money
                has no prices.
        """
        if "@" in self.base_url or "?" in self.base_url:
            raise UserError(
                "an address may hold no key: it is written down with the run",
                "endpoint base_url",
                f"leave out what stands before @ or behind ?, and put the key in {self.api_key_env}",
            )
        if not self._is_address():
            raise UserError(
                f"{self.base_url!r} is not an address",
                "endpoint base_url",
                "write http://HOST:PORT/v1 or https://HOST/v1",
            )
        if self.budget_usd is not None and None in self._prices:
            raise UserError(
                "a budget of money needs prices",
                "endpoint budget_usd",
                "set usd_per_million_prompt_tokens and usd_per_million_completion_tokens, or budget_tokens",
            )
        self.key()

    def _is_address(self) -> bool:
        try:
            parts = urlsplit(self.base_url)
            return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False

    @property
    def host(self) -> str:
        """The server's name, with its port."""
        return urlsplit(self.base_url).netloc

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        name = urlsplit(self.base_url).hostname or ""
        if name == "localhost":
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """What so many tokens cost; None where the prices are not known."""
        sent, answered = self._prices
        if sent is None or answered is None:
            return None
        return (sent * prompt_tokens + answered * completion_tokens) / 1e6

    @property
    def _prices(self) -> tuple[float | None, float | None]:
        return self.usd_per_million_prompt_tokens, self.usd_per_million_completion_tokens

"""Where a language model answers, what it costs and what it can do."""

import os
import re
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, HttpUrl, TypeAdapter, ValidationError

from interp.errors import UserError
from interp.fields import Count, CountOrZero, Flag, NotNegative, Positive, Section, Tokens, Word, one_line
from interp.secrets import keep_passwords_of, keep_secret

FlagOrAuto = Flag | Literal["auto"]
NO_KEY = "none"
"""The key sent to a server on this machine, which needs none."""
LONGEST_KEY = 8192
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_BEGINS_LIKE_A_KEY = re.compile(
    r"(sk|pk|rk|gsk|hf|xai|key|nvapi|pplx|r8|ghp|glpat)[-_]\w|AIza", re.IGNORECASE
)
_WRITTEN_DOWN = "it is written down with the run"
_ADDRESS = TypeAdapter(HttpUrl)


def _is_key(name: str) -> bool:
    """Whether a text that should name a variable looks like a key."""
    if not _NAME.fullmatch(name):
        return True
    if name in os.environ:
        return False
    digits = sum(letter.isdigit() for letter in name)
    return bool(_BEGINS_LIKE_A_KEY.match(name) and not name.isupper()) or (len(name) >= 16 and digits >= 4)


def _name_of_a_variable(name: str) -> str:
    """The name of an environment variable; anything else, such as a key, is refused and not repeated."""
    if not _is_key(name):
        return name
    keep_secret(name)
    raise UserError(
        "the name of an environment variable is wanted here, not the key: " + _WRITTEN_DOWN,
        "endpoint api_key_env",
        "put the key in a variable (export OPENAI_API_KEY=...), and give the variable's name",
    )


def _address_without_key(address: str) -> str:
    """The address; one that holds a key or a password is refused and not repeated."""
    begin, _, rest = address.rpartition("@")
    path, *after = re.split(r"[?#]", rest)
    pasted = [part for part in path.split("/") if len(part) >= 12 and _BEGINS_LIKE_A_KEY.match(part)]
    if not (begin or after or pasted):
        return address
    keep_passwords_of(address)
    for part in (begin.rpartition("//")[2], *re.split(r"[=&]", "&".join(after)), *pasted):
        keep_secret(part)
    raise UserError(
        "an address may hold no key: " + _WRITTEN_DOWN,
        "endpoint base_url",
        "leave out what stands before @ or after ?, and put the key in the variable that api_key_env names",
    )


class Endpoint(Section):
    """An OpenAI-compatible server and one of its models."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: Word
    """The model's name, as the server knows it."""
    base_url: Annotated[str, AfterValidator(_address_without_key), AfterValidator(one_line)] = (
        "https://api.openai.com/v1"
    )
    """The server, up to and including /v1."""
    api: Literal["chat", "completions"] = "chat"
    """How it is asked: `chat`, conversations; `completions`, plain text, for a base model, which has no chat
    template. A conversation is then written as questions and answers; an answer ends at a blank line."""
    api_key_env: Annotated[str, AfterValidator(_name_of_a_variable)] = "OPENAI_API_KEY"
    """The environment variable that holds the key; a server on this machine needs none."""
    concurrency: Count = 16
    """Calls in flight at once."""
    timeout_seconds: Positive = 120.0
    """How long one call may take as a whole: connecting, sending, and the answer to its last byte."""
    retries: CountOrZero = 6
    """Further tries after an overload, a server error, a timeout, a lost connection or a malformed answer."""
    longest_wait_seconds: NotNegative = 60.0
    """The longest pause before a further try, whatever the server asks for."""
    usd_per_million_prompt_tokens: NotNegative | None = None
    """The price of prompts; without it money is not counted."""
    usd_per_million_completion_tokens: NotNegative | None = None
    """The price of answers."""
    budget_tokens: Tokens | None = None
    """The most tokens, of prompts and answers, that a run may use, its earlier sessions included.

    Where a server gives no plausible number, as many count as the call might have used.
    """
    budget_usd: Positive | None = None
    """The most money that a run may cost; needs both prices."""
    max_tokens_per_call: Count | None = None
    """The most tokens of one answer, whatever a request asks for."""
    thinking_tokens: CountOrZero = 0
    """Tokens that a reasoning model may think before each answer, on top of those of the answer."""
    json_schema: FlagOrAuto = "auto"
    """Whether the server keeps an answer to a JSON schema; auto finds out."""
    logprobs: FlagOrAuto = "auto"
    """Whether it gives the log-probabilities of its answer."""
    prompt_logprobs: FlagOrAuto = "auto"
    """Whether it gives those of the prompt (echo, or vLLM's prompt_logprobs)."""
    seed: FlagOrAuto = "auto"
    """Whether it takes a seed."""

    def key(self) -> str:
        """The key, read anew from the environment; a placeholder for a server on this machine.

        Raises:
            UserError: the variable is not set, or holds what cannot be sent.
        """
        found = os.environ.get(self.api_key_env, "").strip()
        if found:
            keep_secret(found)
            if len(found) > LONGEST_KEY or not (found.isascii() and found.isprintable()):
                raise UserError(
                    "the key has a line break, a character that no key has, or no end",
                    f"the environment variable {self.api_key_env}",
                    "set it to the key alone, on one line",
                )
            return found
        if self.local:
            return NO_KEY
        raise UserError(
            f"there is no key for {self.host}",
            f"the environment variable {self.api_key_env}",
            f"set {self.api_key_env}, or name the variable that holds the key (api_key_env)",
        )

    def check(self) -> None:
        """Checks what can be checked before the first call.

        Raises:
            UserError: the address is no http address or holds the key, there is no key, or a budget of money
                has no prices.
        """
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
        key = self.key()
        if keep_secret(key).hidden(self.base_url) != self.base_url:
            raise UserError(
                "an address may hold no key: " + _WRITTEN_DOWN, "endpoint base_url", "leave out the key"
            )

    def _is_address(self) -> bool:
        try:
            parts = urlsplit(self.base_url)
            _ADDRESS.validate_python(self.base_url)
            plain = self.base_url.isprintable() and " " not in self.base_url
            return plain and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except (ValueError, ValidationError):
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
        """The cost of so many tokens in US dollars; None where the prices are not known."""
        sent, answered = self._prices
        if sent is None or answered is None:
            return None
        return (sent * prompt_tokens + answered * completion_tokens) / 1e6

    @property
    def _prices(self) -> tuple[float | None, float | None]:
        return self.usd_per_million_prompt_tokens, self.usd_per_million_completion_tokens

"""Keys and passwords: kept in one place, so that they can be taken out of every text shown or written."""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_FEWEST, _FEWEST_LETTERS = 8, 16
_BEGINNING = 12
"""Characters from which the beginning of a long secret is hidden, too, if a message was cut within it."""
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/?#:@]{0,200}:)\S{1,500}(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(
    r"([?&](?:[a-z_-]{0,20}key|[a-z_-]{0,20}token|password|passwd|pwd|secret|sig)=)[^&#\s'\"]+", re.IGNORECASE
)
_GIVEN = re.compile(r"((?:api_?key|password|passwd|secret)\s{0,4}[=:]\s{0,4})[^\s,;}]+", re.IGNORECASE)
_WHOLE_URL = re.compile(r"[^:/]+://[^/?#:@]*:(.*)@", re.DOTALL)
_NAMED = re.compile(r"(?:_KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD)$")


class Secret:
    """A key or a password, with every form in which a text may hold it.

    `telling` says whether it is long enough to be told from ordinary words: 8 characters, or 16 letters.
    """

    def __init__(self, value: str) -> None:
        self.telling = len(value) >= (_FEWEST_LETTERS if value.isalpha() else _FEWEST)
        self._word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)") if value else None
        self._forms = sorted(set(_forms(value)), key=len, reverse=True) if self.telling else []

    def hidden(self, text: str) -> str:
        """The text without the secret; one that is not `telling` stays, since ordinary words may hold it."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        for form in self._forms:
            text = _without_beginning(text, form)
        return text

    def hidden_word(self, text: str) -> str:
        """The text without the secret; one that is not `telling` is hidden only where it is a whole word."""
        if self.telling:
            return self.hidden(text)
        return text if self._word is None else self._word.sub(HIDDEN, text)


_known: dict[str, Secret] = {}


def keep_secret(value: str) -> Secret:
    """Make `without_secrets` hide a key, and each of its words, from now on."""
    for part in (value.strip(), *value.split()):
        if _secret(part).telling:
            _known[part] = _secret(part)
    return _secret(value.strip())


def keep_passwords_of(url: str) -> bool:
    """Do the same for the passwords in a URL, before the @ or in its query; returns whether there are any."""
    found = [match[0][len(match[1]) :] for match in _IN_QUERY.finditer(url)]
    if (before := _WHOLE_URL.match(url)) is not None:
        found.append(before[1])
    _known.update((one, _secret(one)) for one in found if len(one) > 2)
    return bool(found)


def without_secrets(text: str, guessed: bool = False) -> str:
    """A text with its secrets hidden.

    These are what `keep_secret` was given, environment variables that are named like keys, tokens or
    passwords, and passwords in URLs. With `guessed`, for messages and tracebacks, also whatever is assigned
    to such a name; not for what a model writes, which may only look like a secret.
    """
    for pattern in (_IN_URL, _IN_QUERY, _GIVEN) if guessed else (_IN_URL, _IN_QUERY):
        text = pattern.sub(rf"\1{HIDDEN}", text)
    for secret in _known.values():
        text = secret.hidden_word(text)
    for name, value in os.environ.items():
        if _is_named_a_secret(name) and not value.startswith("/"):
            text = _secret(value.strip()).hidden(text)
    return text


@lru_cache(maxsize=1024)
def _is_named_a_secret(variable: str) -> bool:
    return _NAMED.search(variable) is not None


@lru_cache(maxsize=256)
def _secret(value: str) -> Secret:
    return Secret(value)


def _without_beginning(text: str, form: str) -> str:
    """Hide the beginning of a secret where the text was cut in the middle of it."""
    kept, end = [], 0
    while len(form) > _BEGINNING and (at := text.find(form[:_BEGINNING], end)) >= 0:
        kept.append(text[end:at])
        length = _BEGINNING
        while length < len(form) and text[at + length : at + length + 1] == form[length]:
            length += 1
        end = at + length
    return HIDDEN.join([*kept, text[end:]]) if kept else text


def _forms(value: str) -> Iterator[str]:
    """The value itself, as escaped in URLs, JSON, HTML and Python, and in base 64 and base 16."""
    yield value
    errors = "surrogatepass"
    for way in (partial(quote, safe=""), quote, quote_plus):
        quoted = way(value, errors=errors)
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    for dumped in (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]):
        yield from (dumped, dumped.replace("/", r"\/"))
    yield from (html.escape(value), html.escape(value, quote=False), repr(value)[1:-1])
    raw = value.encode("utf-8", errors)
    yield from (raw.hex(), raw.hex().upper())
    yield from _base64(raw)


def _base64(raw: bytes) -> Iterable[str]:
    """The part of base 64 that only `raw` decides, at each of the three places in a group of bytes."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        inner = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(inner) >= _FEWEST:
            yield from (inner, inner.translate(str.maketrans("+/", "-_")))

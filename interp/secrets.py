"""Keys and passwords: known here once, so that no text that is shown or written holds them."""

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
"""So much of a long secret's beginning is hidden, too, where a message was cut in the middle of it."""
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/?#:@]{0,200}:)\S{1,500}(?=@)", re.IGNORECASE)
_IN_QUERY = re.compile(
    r"([?&](?:[a-z_-]{0,20}key|[a-z_-]{0,20}token|password|passwd|pwd|secret|sig)=)[^&#\s'\"]+", re.IGNORECASE
)
_GIVEN = re.compile(r"((?:api_?key|password|passwd|secret)\s{0,4}[=:]\s{0,4})[^\s,;}]+", re.IGNORECASE)
_WHOLE_URL = re.compile(r"[^:/]+://[^/?#:@]*:(.*)@", re.DOTALL)
_NAMED = re.compile(r"(?:_KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD)$")


class Secret:
    """A key or a password, in every form in which a text may hold it.

    `telling` says whether it can be told from ordinary words: 8 characters, or 16 letters.
    """

    def __init__(self, value: str) -> None:
        self.telling = len(value) >= (_FEWEST_LETTERS if value.isalpha() else _FEWEST)
        self._word = re.compile(rf"(?<!\w){re.escape(value)}(?!\w)") if value else None
        self._forms = sorted(set(_forms(value)), key=len, reverse=True) if self.telling else []

    def hidden(self, text: str) -> str:
        """The text without it; one that is not `telling` is left, as it would be found everywhere."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        for form in self._forms:
            text = _without_beginning(text, form)
        return text

    def hidden_word(self, text: str) -> str:
        """The text without it, also where it is short, if it stands alone there."""
        if self.telling:
            return self.hidden(text)
        return text if self._word is None else self._word.sub(HIDDEN, text)


_known: dict[str, Secret] = {}


def keep_secret(value: str) -> Secret:
    """Have a key, and each line of it, hidden from now on in all that `without_secrets` is given."""
    for part in (value.strip(), *value.split()):
        if _secret(part).telling:
            _known[part] = _secret(part)
    return _secret(value.strip())


def keep_passwords_of(url: str) -> bool:
    """The same for the passwords in a URL, before the @ or in its query; says whether there are any."""
    found = [match[0][len(match[1]) :] for match in _IN_QUERY.finditer(url)]
    if (before := _WHOLE_URL.match(url)) is not None:
        found.append(before[1])
    _known.update((one, _secret(one)) for one in found if len(one) > 2)
    return bool(found)


def without_secrets(text: str, guessed: bool = False) -> str:
    """A text without what is secret in it.

    That is: what `keep_secret` was given, the environment's variables that are named as keys, tokens and
    passwords are, and what stands in a URL where a password does. With `guessed`, for messages and
    tracebacks, also what an assignment gives to such a name: what a model writes may look so and be none.
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
    """Hide where a text was cut in the middle of a secret, as much of it as there is."""
    kept, end = [], 0
    while len(form) > _BEGINNING and (at := text.find(form[:_BEGINNING], end)) >= 0:
        kept.append(text[end:at])
        length = _BEGINNING
        while length < len(form) and text[at + length : at + length + 1] == form[length]:
            length += 1
        end = at + length
    return HIDDEN.join([*kept, text[end:]]) if kept else text


def _forms(value: str) -> Iterator[str]:
    """As it is, escaped as URLs, JSON, HTML and Python do, and in base 64 and base 16."""
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
    """What is common to base 64 of everything that holds `raw`, at each of the three places in a group."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + raw).decode()
        inner = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
        if len(inner) >= _FEWEST:
            yield from (inner, inner.translate(str.maketrans("+/", "-_")))

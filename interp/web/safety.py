"""What comes from outside: who may ask, how much, in which form, and how a refusal is told."""

import logging
import secrets
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, ClassVar, TypeVar
from urllib.parse import parse_qsl, urlencode

from pydantic import ValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from interp.errors import UserError
from interp.fields import MOST_PROBLEMS, Section, problems_of, told
from interp.json_text import from_json, to_json

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
COOKIE = "interp_token"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer that does not set them itself."""
_OPENAI = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "server_error"}
_log = logging.getLogger("interp.web")
Kind = TypeVar("Kind", bound=Section)


class Refusal(UserError):
    """A request that is refused with a status other than 400."""

    status: ClassVar[int] = 400


class NoToken(Refusal):
    """The token is missing or wrong."""

    status = 401


class Forbidden(Refusal):
    """The request comes from another page, or asks for another host."""

    status = 403


class NotFound(Refusal):
    """There is nothing of this name."""

    status = 404


class Busy(Refusal):
    """The session is writing."""

    status = 409


class TooLarge(Refusal):
    """The body is too large."""

    status = 413


class Full(Refusal):
    """There is no place left."""

    status = 429


UNEXPECTED = {
    "thing": "something unexpected went wrong on the server",
    "place": "the server",
    "fix": "try again; the terminal of `interp serve` has the details",
}


def explained(error: Exception) -> dict[str, str]:
    """What is told of an error: what is wrong, where, and how to fix it; nothing of one that is a bug."""
    if isinstance(error, UserError):
        return {"thing": error.thing, "place": error.place, "fix": error.fix}
    _log.error("unexpected", exc_info=error)
    return UNEXPECTED


def status_of(error: Exception) -> int:
    """The status of an answer that tells an error: 500 of one that is a bug."""
    if isinstance(error, Refusal):
        return error.status
    return 400 if isinstance(error, UserError) else 500


def json_response(content: object, status: int = 200) -> Response:
    """Answers with JSON; numbers that are not finite are null."""
    return Response(to_json(content, ensure_ascii=False), status, media_type="application/json")


def openai_error(said: Mapping[str, str], status: int) -> dict[str, object]:
    """An error as OpenAI's servers tell it."""
    message = f"{said['thing']} (where: {said['place']}; fix: {said['fix']})"
    kind = _OPENAI.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def refused(error: Exception, path: str) -> Response:
    """Answers with an error, on OpenAI's routes in OpenAI's form."""
    status, said = status_of(error), explained(error)
    content = openai_error(said, status) if path.startswith("/v1/") else {"error": said}
    return json_response(content, status)


async def body(request: Request, kind: type[Kind]) -> Kind:
    """Reads the JSON body of a request, which may be left out where nothing in it is needed.

    Raises:
        UserError: it is not JSON, not of this kind, or not announced as application/json; or as `Guard`.
    """
    content = await request.body()
    if not content:
        return valid(kind, {}, "the request's body")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UserError(
            "the body is not announced as JSON", "Content-Type", "send it with Content-Type: application/json"
        )
    values = from_json(content, "the request's body", "send one JSON object")
    if not isinstance(values, dict):
        raise UserError("the body is no JSON object", "the request's body", "send one JSON object")
    return valid(kind, values, "the request's body")


def valid(kind: type[Kind], values: Mapping[str, Any], place: str) -> Kind:
    """Makes a section of values from outside.

    Raises:
        UserError: a value does not fit its field, or there is no such field.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        said = [f"`{'.'.join(map(str, one['loc']))}` {told(one)}" for one in problems_of(error)]
        raise UserError("; ".join(said[:MOST_PROBLEMS]), place, "give values that its fields take") from None


class Guard:
    """Middleware that answers only those who may ask, sets the headers of every answer, and bounds bodies.

    `hosts` are the names under which the server may be asked (`Host`, which a page of another site that has
    its name rebound to this address cannot choose); a page of another origin is refused. With a `token` every
    request needs it: in the cookie, as a bearer, or once as ?token= of the page, which then sets the cookie.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], token: str | None, body_bytes: int) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._token = token
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            answer = self._checked(scope)
            if answer is None:
                await self._app(scope, self._bounded(receive), sent)
                return
        except Exception as error:
            if started:
                raise
            answer = refused(error, scope["path"])
        await answer(scope, receive, sent)

    def _checked(self, scope: Scope) -> Response | None:
        """An answer that is given in place of the app's.

        Raises:
            UserError: who asks may not; or the body is said to be too large.
        """
        headers = Headers(scope=scope)
        self._check_origin(headers, _is_page(scope))
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 15 or int(length) > self._body_bytes:
            raise self._too_large()
        if self._token is None or self._has_token(headers):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if _is_page(scope) and any(name == "token" and self._is_token(value) for name, value in query):
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            answer = RedirectResponse(f"{scope['path']}?{rest}" if rest else scope["path"], 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")
            return answer
        raise NoToken(
            "the token is missing or wrong", "this server", "open the address that `interp serve` printed"
        )

    def _check_origin(self, headers: Headers, page: bool) -> None:
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name not in self._hosts:
            fix = f"ask under {', '.join(sorted(self._hosts))}, or start the server with --allow-host"
            raise Forbidden(f"this server does not answer as {name!r}", "Host", fix)
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            raise Forbidden(f"a page of {origin!r} may not ask", "Origin", "use the page of this server")
        site = headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and not page:
            raise Forbidden("a page of another site may not ask", "Sec-Fetch-Site", "use this server's page")

    def _has_token(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer.strip()):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        return secrets.compare_digest(given.encode(), self._token.encode())

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def received() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._body_bytes:
                raise self._too_large()
            return message

        return received

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._body_bytes:,} bytes", "the request's body", "send less at once"
        )


def _is_page(scope: Scope) -> bool:
    return scope["method"] in ("GET", "HEAD") and not scope["path"].startswith(("/api/", "/v1/", "/static/"))

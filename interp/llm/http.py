"""HTTP for endpoints: bounded answers, no redirects, no cookies, no proxy to this machine itself."""

import httpx2

from interp.errors import UserError
from interp.llm.endpoint import Endpoint

LONGEST_ANSWER = 64 * 2**20
"""Bytes, after unpacking: vectors of 256 texts with 8,192 numbers each have fewer."""
_KEPT_HEADERS = ("retry-after", "location")


class TooLong(Exception):
    """An answer of more than `LONGEST_ANSWER` bytes; the rest of it was not read."""

    def __init__(self) -> None:
        super().__init__(f"an answer of more than {LONGEST_ANSWER // 2**20} MiB")


class BoundedClient(httpx2.AsyncClient):
    """A client that reads every answer, also an error, as a stream and stops at `LONGEST_ANSWER`.

    Only the headers that are used are kept: what a server says of encodings, content types and cookies is
    ignored. A body is UTF-8.
    """

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: object
    ) -> httpx2.Response:
        """Send a request and read the whole answer.

        Raises:
            TooLong: it has more than `LONGEST_ANSWER` bytes.
        """
        response = await super().send(request, stream=True, **options)  # type: ignore[arg-type]
        self.cookies.clear()
        content = bytearray()
        try:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > LONGEST_ANSWER:
                    raise TooLong
        finally:
            await response.aclose()
        headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=request)


def open_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    """A client for one endpoint; the environment's proxies are used for other machines only.

    Raises:
        UserError: a proxy of the environment cannot be used.
    """
    try:
        return BoundedClient(
            timeout=endpoint.timeout_seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
            verify=httpx2.create_ssl_context(),
            trust_env=not endpoint.local,
        )
    except (ValueError, TypeError, ImportError, OSError, httpx2.InvalidURL) as error:
        raise UserError(
            f"the proxy or the certificates of the environment cannot be used ({error})",
            "the environment variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE",
            "correct or unset them; a proxy is http://HOST:PORT",
        ) from error

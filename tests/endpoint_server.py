"""A scripted OpenAI-compatible server on loopback, with every way to misbehave that endpoints have."""

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], str]
Act = Callable[["_Handler", dict[str, Any]], None]
Top = Callable[[str, str], dict[str, float]]
"""The alternatives, with their log-probabilities, of a token after what precedes it."""
MODEL = "scripted"


@dataclass
class Script:
    """What the server does: the `acts` in turn, then `always`, or `answer` to every conversation.

    `top` says what a completion gives as alternatives of a prompt's token (None: the token itself).

    `seen` are the requests (path, body, which is empty unless `keeps`) in the order of arrival,
    `most_at_once` the most that were open.
    A proper answer has the place of its request in `seen` as its `id`.
    """

    answer: Answer = lambda body: "yes"
    acts: deque[Act] = field(default_factory=deque)
    always: Act | None = None
    keeps: bool = True
    delay: float = 0.0
    refuse: tuple[str, ...] = ()
    top: Top | None = None
    models: Any = (MODEL, "scripted-large")
    key: str | None = None
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def then(self, *acts: Act) -> "Script":
        """Queue acts for the next requests."""
        self.acts.extend(acts)
        return self

    @property
    def calls(self) -> int:
        """How many requests came, those for the list of models not counted."""
        return sum(path != "/v1/models" for path, _ in self.seen)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: the second would wait 40 ms
    script: Script
    number = -1

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.script.seen.append((self.path, {}))
        self.send(200, {"object": "list", "data": [{"id": one} for one in self.script.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        script = self.script
        with script._lock:
            self.number = len(script.seen)
            script.seen.append((self.path, body if script.keeps else {}))
            script._open += 1
            script.most_at_once = max(script.most_at_once, script._open)
            act = script.acts.popleft() if script.acts else script.always
        try:
            if act is not None:
                act(self, body)
            else:
                time.sleep(script.delay)
                self.answer(body)
        finally:
            with script._lock:
                script._open -= 1

    def answer(self, body: dict[str, Any]) -> None:
        """The proper answer to a request."""
        script = self.script
        if script.key is not None and self.headers["authorization"] != f"Bearer {script.key}":
            return self.fail(401, f"wrong key {self.headers['authorization']}")
        if body["model"] != MODEL:
            return self.fail(404, f"The model `{body['model']}` does not exist")
        for name in script.refuse:
            if name in body:
                return self.fail(400, f"Unsupported parameter: {name}")
        if self.path == "/v1/embeddings":
            rows = [{"index": i, "embedding": _embedding(text)} for i, text in enumerate(body["input"])]
            content: dict[str, Any] = {"data": rows[::-1], "usage": {"prompt_tokens": 3, "total_tokens": 3}}
        elif self.path == "/v1/completions":
            content = _completion(body, script.top)
        else:
            content = chat_answer(script.answer(body), body)
        self.send(200, {"id": self.number, **content})

    def send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        """Send JSON."""
        self.send_bytes(status, json.dumps(content).encode(), headers)

    def send_bytes(self, status: int, raw: bytes, headers: dict[str, str] | None = None) -> None:
        """Send whatever is given as if it were JSON."""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def fail(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        """Send an error as OpenAI does."""
        self.send(status, {"error": {"message": message, "type": "error", "code": None}}, headers)


def chat_answer(text: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body of a chat completion."""
    used = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": len(text) // 4 + 1}
    message = {"role": "assistant", "content": text}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": used}


def refusal(status: int, message: str = "no", headers: dict[str, str] | None = None) -> Act:
    """Refuse with a status."""
    return lambda handler, body: handler.fail(status, message, headers)


def says(text: str) -> Act:
    """Answer a conversation with this text."""
    return lambda handler, body: handler.send(200, chat_answer(text, body))


def late(seconds: float) -> Act:
    """Answer properly, but late."""

    def act(handler: _Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.answer(body)

    return act


def raw(content: bytes) -> Act:
    """Answer with bytes that are no proper body."""
    return lambda handler, body: handler.send_bytes(200, content)


def dropped(handler: _Handler, body: dict[str, Any]) -> None:
    """Begin an answer, then drop the connection."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def answers(**fields: Any) -> Act:
    """Answer a conversation with these fields in the body, in the place of the proper ones."""
    return lambda handler, body: handler.send(200, chat_answer("yes", body) | fields)


def chooses(**fields: Any) -> Act:
    """Answer a conversation with these fields in its only choice, in the place of the proper ones."""

    def act(handler: _Handler, body: dict[str, Any]) -> None:
        answer = chat_answer("yes", body)
        answer["choices"][0] |= fields
        handler.send(200, answer)

    return act


def encoded(content: bytes, *encodings: str) -> Act:
    """Answer with bytes that are said to be packed so."""
    headers = {"content-encoding": ", ".join(encodings)}
    return lambda handler, body: handler.send_bytes(200, content, headers)


def redirect(status: int, location: str) -> Act:
    """Send elsewhere."""
    return lambda handler, body: handler.send(status, {}, {"location": location})


def drips(part: bytes, seconds: float, at: str = "body") -> Act:
    """Send a small part of the `body` or the `headers` now and then, without an end."""

    def act(handler: _Handler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        if at == "body":
            handler.send_header("content-type", "application/json")
            handler.send_header("content-length", "1000000000")
            handler.end_headers()
        else:
            handler.flush_headers()
        handler.close_connection = True
        while True:  # until nobody reads
            handler.wfile.write(part)
            handler.wfile.flush()
            time.sleep(seconds)

    return act


def _embedding(text: str) -> list[float]:
    return [float(len(text)), float(text.count(" ")), 1.0]


def _completion(body: dict[str, Any], top: Top | None = None) -> dict[str, Any]:
    """The completions API with echo or vLLM's `prompt_logprobs`: a token a word, as likely as it is short."""
    prompt: str = body["prompt"]
    words = [
        word
        for word in prompt.replace(" ", "\0 ").replace("\n", "\0\n").replace("\t", "\0\t").split("\0")
        if word
    ]
    tokens = [*words, " end"] if body.get("echo") or "prompt_logprobs" in body else [" end"]
    before = ["".join(tokens[:i]) for i in range(len(tokens))] if top else [""] * len(tokens)
    logprobs = [None if i == 0 else -float(len(token)) for i, token in enumerate(tokens)]
    tops = [
        None if value is None else top(said, token) if top else {token: value}
        for said, token, value in zip(before, tokens, logprobs, strict=True)
    ]
    usage = {"prompt_tokens": len(words), "completion_tokens": 1}
    choice: dict[str, Any] = {"text": "".join(tokens), "finish_reason": "length"}
    if body.get("logprobs"):
        choice["logprobs"] = {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops}
    if "prompt_logprobs" in body:
        choice["prompt_logprobs"] = [_vllm(token, other) for token, other in zip(words, tops, strict=False)]
    return {"choices": [choice], "usage": usage}


def _vllm(token: str, top: dict[str, float] | None) -> dict[str, Any] | None:
    """A token as vLLM shows it: its own entry first, bytes that are no whole character replaced."""
    if top is None:
        return None
    shown = "".join(
        one if one.isascii() else "\N{REPLACEMENT CHARACTER}" * len(one.encode()) for one in token
    )
    entries = {shown: -float(len(token)), **top}
    return {str(i): {"decoded_token": t, "logprob": p} for i, (t, p) in enumerate(entries.items())}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that has gone is part of the tests


@contextmanager
def serving(script: Script | None = None) -> Iterator[Script]:
    """Serve a script on a free port of this machine; its `url` ends in /v1."""
    script = script or Script()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"script": script}))
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()

"""Renders a model's chat template with `transformers`, in a process of bounded time and memory.

A template is a program that comes with a model. Jinja's sandbox keeps it from Python, but not from nested
loops, recursive macros, or texts that double with every turn: such a process is killed.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from interp.errors import UserError

Messages = Sequence[Mapping[str, Any]]
SECONDS = 10.0
"""Time limit of a conversation; an ordinary one takes less than a millisecond."""
CHARACTERS = 4_000_000
"""Output limit of a template, in addition to four times its input."""
START_SECONDS = 120.0


class Refusal(UserError):
    """A template does not take these messages; it may take others."""


def rendered_chat(tokenizer: Any, messages: Messages, place: str, add_generation_prompt: bool = False) -> str:
    """Renders a conversation with the tokenizer's chat template; `place` says in an error whose template.

    Equal to `tokenizer.apply_chat_template(messages, tokenize=False)`.

    Raises:
        Refusal: the template refuses the messages, or is damaged.
        UserError: it takes more time, memory or text than a conversation can need.
    """
    try:
        conversation = [{k: v for k, v in message.items() if v is not None} for message in messages]
        request = {
            "conversations": [conversation],
            "chat_template": tokenizer.get_chat_template(),
            "add_generation_prompt": add_generation_prompt,
            **tokenizer.special_tokens_map,
        }
        size = len(line := json.dumps(request))
        line = json.dumps({**request, "most": CHARACTERS + 4 * size})
    except (TypeError, ValueError, AttributeError) as error:
        raise _refusal(f"{error}", place) from None
    if not messages:
        raise _refusal("there are none", place)
    answer = _process.ask(line)
    if "refused" in answer:
        raise _refusal(answer["refused"], place)
    if "too_much" in answer:
        raise UserError(
            f"the chat template is no template of a conversation: {answer['too_much']}",
            place,
            "use another chat template",
        )
    return answer["text"]


def _refusal(why: str, place: str) -> Refusal:
    return Refusal(f"the chat template refuses these messages ({why})", place, "check roles and order")


class _Process:
    """The rendering process, started at the first request, and again after it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._child: subprocess.Popen[str] | None = None
        self._reader = ThreadPoolExecutor(1)

    def ask(self, line: str) -> dict[str, str]:
        """Sends a request and returns its answer; `too_much` says why the child was ended, if it was."""
        with self._lock:
            child = self._running()
            assert child.stdin is not None
            try:
                child.stdin.write(line + "\n")
                child.stdin.flush()
                found = self._line(child, SECONDS)
            except TimeoutError:
                self._end(child)
                return {"too_much": f"it takes more than {SECONDS:g} seconds"}
            except OSError:
                found = ""
            if not found:
                self._end(child)
                return {"too_much": "it ends the process that renders it"}
            answer: dict[str, str] = json.loads(found)
            return answer

    def _running(self) -> "subprocess.Popen[str]":
        if self._child is None or self._owner != os.getpid() or self._child.poll() is not None:
            # a forked process shares our end of the pipe, and has no threads
            self._owner, self._reader = os.getpid(), ThreadPoolExecutor(1)
            script = Path(__file__).with_name("template_worker.py")
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                start_new_session=True,
            )
            try:
                ready = self._line(self._child, START_SECONDS)
            except TimeoutError:
                ready = ""
            if not ready:
                self._end(self._child)
                raise UserError(
                    "the process that renders chat templates does not start",
                    str(script),
                    "check that this Python can import transformers.utils.chat_template_utils",
                )
        return self._child

    def _line(self, child: "subprocess.Popen[str]", seconds: float) -> str:
        assert child.stdout is not None
        return self._reader.submit(child.stdout.readline).result(seconds)

    def _end(self, child: "subprocess.Popen[str]") -> None:
        child.kill()
        child.wait()
        self._child = None


_process = _Process()

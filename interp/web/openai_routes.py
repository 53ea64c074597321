"""The OpenAI door: the model, and steered forms of it, for programs that speak OpenAI's protocol."""

import secrets
import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.monitor.steering import Card
from interp.web.openai_answers import Form
from interp.web.openai_asked import Chat, Common, Completion
from interp.web.openai_text import Asked, Prompt, written
from interp.web.safety import body, json_response
from interp.web.sessions import Sessions, most_features
from interp.web.steering_sets import SteeringSets
from interp.web.worker import EventStream, Worker, asker, first, result

COMPLETION_TOKENS = 16
"""The most tokens of a completion that does not say how many, as at OpenAI."""


class OpenAiRoutes:
    """The routes; each of `sets` is a model of its own."""

    def __init__(self, sessions: Sessions, worker: Worker, sets: SteeringSets) -> None:
        self.sessions, self.worker, self.sets = sessions, worker, sets
        self.bench, self.subject = sessions.bench, sessions.bench.subject
        self.began = int(time.time())
        self.router = APIRouter(prefix="/v1")
        for method, path, answer in (
            ("GET", "/models", self.models),
            ("GET", "/models/{model:path}", self.model),
            ("POST", "/completions", self.completions),
            ("POST", "/chat/completions", self.chat),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def models(self) -> Response:
        """Lists the model, and a model for each named steering set."""
        return json_response({"object": "list", "data": [self._model(name) for name in self.sets.models]})

    async def model(self, model: str) -> Response:
        """Describes one of them."""
        self.sets.cards(model)
        return json_response(self._model(model))

    async def completions(self, request: Request) -> Response:
        """Continues a text."""
        asked = await body(request, Completion)
        given = asked.prompt
        prompt = given[0] if isinstance(given, tuple) and isinstance(given[0], str) else given
        most = COMPLETION_TOKENS if asked.max_tokens is None else asked.max_tokens
        return await self._answer(request, asked, prompt, most, asked.logprobs, bool(asked.echo))

    async def chat(self, request: Request) -> Response:
        """Answers a chat."""
        asked = await body(request, Chat)
        if asked.top_logprobs and not asked.logprobs:
            raise UserError("top_logprobs needs logprobs", "top_logprobs", "set logprobs to true")
        top = (asked.top_logprobs or 0) if asked.logprobs else None
        messages = [
            {"role": "system" if one.role == "developer" else one.role, "content": one.whole}
            for one in asked.messages
        ]
        most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
        return await self._answer(request, asked, messages, most, top)

    async def _answer(
        self,
        request: Request,
        asked: Common,
        prompt: Prompt,
        most: int | None,
        top: int | None,
        echo: bool = False,
    ) -> Response:
        what = Asked(
            prompt=prompt,
            cards=self._steering(asked),
            most=most,
            longest=self.sessions.limits.new_tokens,
            temperature=1.0 if asked.temperature is None else asked.temperature,
            seed=secrets.randbelow(2**32) if asked.seed is None else asked.seed,
            stops=(asked.stop,) if isinstance(asked.stop, str) else asked.stop or (),
            top=top,
            echo=echo,
        )
        self._check(asked, what)
        form = Form(self.subject, asked.model, what)
        if not asked.stream:
            pieces = await result(self.worker, request, lambda: list(written(self.bench, what)))
            return json_response(form.whole(pieces))
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        job = self.worker.submit(lambda: written(self.bench, what), asker(request))
        begun = await first(job, request)  # what is wrong shows here, before a stream begins
        return EventStream(job, form.events(begun, job, usage))

    def _steering(self, asked: Common) -> tuple[Card, ...]:
        limits, cards = self.sessions.limits, (*self.sets.cards(asked.model), *asked.steer)
        if len(cards) > limits.cards or most_features(cards) > limits.features:
            fix = f"use at most {limits.cards} cards of {limits.features:,} features"
            raise UserError("the steering set is too large", "steer", fix)
        return self.sessions.with_files(cards)

    def _check(self, asked: Common, what: Asked) -> None:
        """Raises UserError if more is asked for than is given at once."""
        limits = self.sessions.limits
        if asked.n not in (None, 1):
            raise UserError(f"{asked.n} answers at once are too many", "n", "ask for one at a time: n=1")
        if what.most is not None and what.most > limits.new_tokens:
            fix = f"use at most {limits.new_tokens:,}"
            raise UserError(f"{what.most:,} tokens are too many", "max_tokens", fix)
        texts = [what.prompt] if isinstance(what.prompt, str) else []
        if isinstance(what.prompt, list):
            texts = [one["content"] for one in what.prompt]
        if max(map(len, texts), default=0) > limits.prompt_characters:
            fix = f"use at most {limits.prompt_characters:,} characters"
            raise UserError("the prompt is too long", "prompt", fix)

    def _model(self, name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": self.began, "owned_by": "interp"}

"""The routes of the page Lens: a text's grid, a word along the layers, a patchscope, and fitting a lens."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Annotated, TypeVar

from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.fields import CountOrZero, Flag, LayerOrEmbedding, Line, Listed, Section, Text, Word
from interp.inspection.lens import FITTED, LOGIT, Curve, Lenses, text_ids
from interp.inspection.patched_cell import Patched, decode_state
from interp.lenses.residual_stream import layer_name, layer_of
from interp.lenses.view import LensView
from interp.subject.subject import Subject
from interp.web.job_progress import progressed
from interp.web.safety import body, json_response
from interp.web.served import Served
from interp.web.views import Json
from interp.web.worker import Event, EventStream, asker, result, server_sent

EXAMPLES = {True: "the capital of france , as we know , is", False: "The capital of France, as we know, is"}


class Read(Section):
    """A text and the lens that it is read through; `targets` are words whose ranks are wanted."""

    prompt: Text
    chat: Flag = False
    lens: Annotated[Line, Field(min_length=1, max_length=500)] = LOGIT
    targets: Annotated[Listed[Annotated[Word, Field(max_length=200)]], Field(max_length=8)] = ()


class Curves(Read):
    """Words at one token of the text."""

    place: CountOrZero


class Cell(Section):
    """The state of one token of a text after a layer; -1 is the embedding."""

    prompt: Text
    chat: Flag = False
    layer: LayerOrEmbedding
    place: CountOrZero


Kind = TypeVar("Kind", Read, Curves, Cell)


class LensRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served, self.subject = served, served.bench.subject
        self.lenses = Lenses(served.bench, [served.runs_dir, *served.sessions.vectors])
        self.router = APIRouter()
        for method, path, answer in (
            ("GET", "/lens", self.page),
            ("GET", "/api/lens", self.known),
            ("POST", "/api/lens/read", self.read),
            ("POST", "/api/lens/curves", self.curves),
            ("POST", "/api/lens/patchscope", self.patchscope),
            ("GET", "/api/lens/fit", self.fit),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self) -> Response:
        """The page."""
        return self.served.pages.answer("lens", example=EXAMPLES[self.subject.info.speaks_world])

    async def known(self) -> Response:
        """The lenses that there are."""
        return json_response(self._lenses(await run_in_threadpool(lambda: list(self.lenses.files()))))

    async def read(self, request: Request) -> Response:
        """The grid of a text."""
        asked = await self._asked(request, Read)

        def found() -> Json:
            ids = text_ids(self.subject, asked.prompt, asked.chat)
            return grid_view(self.subject, self.lenses.read(asked.lens, ids, asked.targets), asked.targets)

        return await self._answer(request, found)

    async def curves(self, request: Request) -> Response:
        """Words along the layers at one token, beside words like them."""
        asked = await self._asked(request, Curves)

        def found() -> Json:
            ids = text_ids(self.subject, asked.prompt, asked.chat)
            curves = self.lenses.curves(asked.lens, ids, asked.place, asked.targets)
            matched = self.lenses.expected is not None
            return {"matched": matched, "curves": [curve_view(self.subject, one) for one in curves]}

        return await self._answer(request, found)

    async def patchscope(self, request: Request) -> Response:
        """What a state decodes to in an identity prompt, beside controls."""
        asked = await self._asked(request, Cell)

        def found() -> Json:
            ids = text_ids(self.subject, asked.prompt, asked.chat)
            return patched_view(self.subject, decode_state(self.subject, ids, asked.layer, asked.place))

        return await self._answer(request, found)

    async def fit(self, request: Request) -> Response:
        """Fits a tuned lens, and tells how far it is; where nobody listens any more, it stops."""
        if "last-event-id" in request.headers:
            return Response(status_code=204)  # an EventSource that connects again would fit again

        def work() -> Generator[Event, None, None]:
            yield progressed("trying one step")
            self.lenses.fit(told)
            yield Event("done", self._lenses(self.lenses.files()))

        job = self.served.worker.submit(work, asker(request))

        def told(step: int, steps: int) -> None:
            job.check()
            job.tell(progressed("fitting a tuned lens", f"step {step} of {steps}"))

        return EventStream(job, server_sent(job))

    def _lenses(self, files: Iterable[str]) -> Json:
        fitted = self.lenses.fitted
        named = [{"name": LOGIT, "says": "logit lens"}]
        named += [{"name": name, "says": name.removesuffix(".safetensors")} for name in files]
        if fitted is not None:
            named.append({"name": FITTED, "says": "tuned lens, fitted here"})
        said = (
            None if fitted is None else {name: getattr(fitted, name) for name in ("steps", "before", "after")}
        )
        return {"lenses": named, "fitted": said}

    async def _asked(self, request: Request, kind: type[Kind]) -> Kind:
        asked = await body(request, kind)
        most = self.served.limits.prompt_characters
        if len(asked.prompt) > most:
            raise UserError("the text is too long", "prompt", f"use at most {most:,} characters")
        return asked

    async def _answer(self, request: Request, work: Callable[[], Json]) -> Response:
        return json_response(await result(self.served.worker, request, work))


def grid_view(subject: Subject, view: LensView, words: Sequence[str]) -> Json:
    """A grid as plain values: rows are layers from the embedding, and `texts` are the tokens by id."""
    ids = view.tokens.tolist()
    texts = _texts(subject, [*ids, *view.top.flatten().tolist(), *view.targets])
    return {
        "lens": view.lens,
        "tokens": [{"id": one, "text": texts[one], "special": one in subject.special_ids} for one in ids],
        "layers": [layer_of(site) for site in view.sites],
        "names": [layer_name(layer_of(site)) for site in view.sites],
        "texts": texts,
        "top": view.top.tolist(),
        "p": _short(view.top_probability.tolist()),
        "entropy": _short(view.entropy.tolist()),
        "kl": _short(view.kl.tolist()),
        "targets": [
            {
                "word": word,
                "id": token,
                "text": texts[token],
                "p": _short(view.probability[..., i].tolist()),
                "rank": view.rank[..., i].tolist(),
            }
            for i, (word, token) in enumerate(zip(words, view.targets, strict=True))
        ],
    }


def curve_view(subject: Subject, curve: Curve) -> Json:
    """A word by layer with the central 95% of words like it."""
    texts = _texts(subject, [curve.token, *curve.like])
    return {
        "id": curve.token,
        "text": texts[curve.token],
        "layers": list(curve.layers),
        "p": curve.probability[:, 0].tolist(),
        "rank": curve.rank[:, 0].tolist(),
        "null_p": list(curve.null(curve.probability)),
        "null_rank": list(curve.null(curve.rank)),
        "like": [texts[one] for one in curve.like],
    }


def patched_view(subject: Subject, found: Patched) -> Json:
    """What a state and its controls decode to."""
    texts = _texts(subject, [token for one in found.decoded for token, _ in one.top])
    return {
        "target": found.target,
        "placeholder": found.placeholder,
        "guess": found.is_guess,
        "decoded": [
            {
                "what": one.what,
                "top": [{"id": token, "text": texts[token], "p": p} for token, p in one.top],
                "text": one.text,
                "of_own": one.of_own,
            }
            for one in found.decoded
        ],
    }


def _texts(subject: Subject, ids: Sequence[int]) -> dict[int, str]:
    distinct = list(dict.fromkeys(ids))
    return dict(zip(distinct, subject.token_strings(distinct), strict=True))


def _short(values: object) -> object:
    """Numbers with four significant digits, as many as are shown."""
    if isinstance(values, list):
        return [_short(value) for value in values]
    return float(f"{values:.4g}")

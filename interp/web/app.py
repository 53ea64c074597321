"""The local app: one model, its Monitor for several sessions, and an OpenAI-compatible door to it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from interp.errors import UserError
from interp.monitor.bench import Bench
from interp.monitor.steering import Card
from interp.render.palette import css_variables
from interp.store.store import Store
from interp.web.circuit_routes import CircuitRoutes
from interp.web.compare_routes import CompareRoutes
from interp.web.elicit_routes import ElicitRoutes
from interp.web.feature_page_routes import FeaturePageRoutes
from interp.web.feature_routes import FeatureRoutes
from interp.web.lens_routes import LensRoutes
from interp.web.monitor_routes import MonitorRoutes
from interp.web.openai_routes import OpenAiRoutes
from interp.web.pages import Pages
from interp.web.preset_routes import PresetRoutes
from interp.web.run_routes import RunRoutes
from interp.web.safety import LOOPBACK, Guard, NotFound, json_response, refused
from interp.web.served import Served
from interp.web.sessions import Limits, Sessions
from interp.web.steering_sets import SteeringSets
from interp.web.vector_routes import VectorRoutes
from interp.web.worker import Cancelled, Worker, passes_of

_HERE = Path(__file__).parent
_CLOSED = 499
"""The status for a request that nobody waits for."""


def make_app(
    bench: Bench,
    *,
    token: str | None = None,
    hosts: Sequence[str] = LOOPBACK,
    chat: bool | None = None,
    vectors: Sequence[Path] = (),
    named: Mapping[str, Sequence[Card]] | None = None,
    limits: Limits | None = None,
    runs_dir: Path = Path("runs"),
    notes: Path | None = None,
) -> FastAPI:
    """Makes the app of a model.

    It answers under the names `hosts` only, and with a `token` only those who have it. `chat` is what a new
    session is (default: a chat if the model has a template), `vectors` are the folders whose files steering
    sets may name, `named` are steering sets that the OpenAI door offers as the models SUBJECT:NAME,
    `runs_dir` is the folder of runs that the page Runs lists, and `notes` is the SQLite file that keeps
    people's notes on features, made if it is not there.

    Raises:
        UserError: a set of `named` does not fit the model, or names a file that is in no folder; or `notes`
            is no store.
    """
    limits = limits or Limits()
    worker = Worker(limits.waiting, passes_of(bench.subject))
    sessions = Sessions(bench, limits, vectors)
    chats = bool(bench.subject.tokenizer.chat_template)
    sets = SteeringSets(sessions, named or {})
    kept = None if notes is None else Store(notes)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()

    app = FastAPI(title="interp", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)
    app.state.worker, app.state.sessions = worker, sessions
    app.add_middleware(Guard, hosts=hosts, token=token, body_bytes=limits.body_bytes)
    served = Served(bench, worker, sessions, Pages(bench, chats), limits, runs_dir, kept)
    app.include_router(_shell(served))
    app.include_router(MonitorRoutes(sessions, worker, sets, chats if chat is None else chat).router)
    for routes in (
        FeatureRoutes,
        FeaturePageRoutes,
        CompareRoutes,
        LensRoutes,
        CircuitRoutes,
        VectorRoutes,
        ElicitRoutes,
        RunRoutes,
        PresetRoutes,
    ):
        app.include_router(routes(served).router)
    app.include_router(OpenAiRoutes(sessions, worker, sets).router)
    app.mount("/static", StaticFiles(directory=_HERE / "static", check_dir=False))
    app.add_exception_handler(UserError, _told)
    app.add_exception_handler(HTTPException, _told_by_http)
    app.add_exception_handler(RequestValidationError, _told_by_fields)
    app.add_exception_handler(Cancelled, _unheard)
    return app


def _shell(served: Served) -> APIRouter:
    """The routes that are no page's own: the way to the first one, and the colours."""
    router = APIRouter()

    async def monitor(session: str = "") -> Response:
        return served.pages.answer("monitor")

    async def palette() -> Response:
        return Response(css_variables(), media_type="text/css")

    async def root() -> Response:
        return RedirectResponse("/monitor", 307)

    for path, answer in (
        ("/", root),
        ("/monitor", monitor),
        ("/monitor/{session}", monitor),
        ("/static/palette.css", palette),
    ):
        router.add_api_route(path, answer, methods=["GET"], response_model=None)
    return router


async def _told(request: Request, error: Exception) -> Response:
    return refused(error, request.url.path)


async def _told_by_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return refused(NotFound("there is nothing here", path, "begin at /monitor"), path)
    answer = refused(UserError(str(error.detail), path, "ask in another way"), path)
    answer.status_code = error.status_code
    return answer


async def _told_by_fields(request: Request, error: Exception) -> Response:
    return refused(
        UserError("the address is not understood", request.url.path, "correct it"), request.url.path
    )


async def _unheard(request: Request, error: Exception) -> Response:
    return json_response({}, _CLOSED)

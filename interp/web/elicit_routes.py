"""The routes of the page Elicit: searches for prompts that bring out a behaviour, turn by turn."""

from collections.abc import Callable, Generator, Mapping, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from interp.bundled.world.labelling import lexical_concepts
from interp.bundled.world.lexicon import lexicon
from interp.elicit.search import Try
from interp.monitor.session import State
from interp.web.elicit_asked import (
    LEAST_PASSES,
    MOST_DRAWS,
    MOST_PASSES,
    QUANTILE,
    Asked,
    Confirm,
    More,
    OfTry,
)
from interp.web.elicit_kept import MOST_SEARCHES, ORDINARY, Kept, Searches
from interp.web.elicit_monitor import monitor_state
from interp.web.elicit_views import confirmed_view, search_view
from interp.web.elicit_ways import WAYS
from interp.web.job_progress import progressed
from interp.web.safety import body, json_response
from interp.web.served import Served
from interp.web.views import Json
from interp.web.worker import Event, EventStream, asker, result, server_sent


class ElicitRoutes:
    """The routes of a served model; searches are kept, each under its name, as long as they are."""

    def __init__(self, served: Served) -> None:
        self.served, self.subject = served, served.bench.subject
        self.searches = Searches()
        self.router = APIRouter()
        one = "/api/elicit/{session}"  # `asker` takes turns by this name
        for method, path, answer in (
            ("GET", "/elicit", self.page),
            ("GET", "/elicit/{session}", self.page),
            ("POST", "/api/elicit", self.start),
            ("GET", one, self.view),
            ("POST", f"{one}/turn", self.turn),
            ("POST", f"{one}/more", self.more),
            ("POST", f"{one}/confirm", self.confirm),
            ("POST", f"{one}/open", self.open),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self) -> Response:
        """The page."""
        world = self.subject.info.speaks_world
        return self.served.pages.answer(
            "elicit",
            ways=WAYS,
            first=_world() if world else _chat() if self.subject.tokenizer.chat_template else _text(),
            concepts=lexical_concepts() if world else (),
            ordinary=ORDINARY,
            most_kept=MOST_SEARCHES,
            quantile=QUANTILE,
            least_passes=LEAST_PASSES,
            most_passes=MOST_PASSES,
            most_draws=MOST_DRAWS,
        )

    async def start(self, request: Request) -> Response:
        """Checks what is asked for, and keeps it as a search that has not begun."""
        asked = await body(request, Asked)
        kept = await result(self.served.worker, request, lambda: Kept.open(self.served, asked))
        self.searches.add(kept)
        return json_response(search_view(kept))

    async def view(self, session: str, request: Request) -> Response:
        """What a search has found."""
        kept = self.searches.get(session)
        return await self._answer(request, lambda: search_view(kept))

    async def turn(self, session: str, request: Request) -> Response:
        """Searches for a moment, and tells what each round brought; then others have their turn.

        Who wants more asks again, until `ended` says why there is no more. Where nobody listens any more, it
        stops, and keeps all rounds that had ended.
        """
        kept = self.searches.get(session)
        job = self.served.worker.submit(lambda: self._told(kept), asker(request))
        return EventStream(job, server_sent(job))

    async def more(self, session: str, request: Request) -> Response:
        """Gives a search a larger budget."""
        kept, asked = self.searches.get(session), await body(request, More)

        def work() -> Json:
            kept.more(asked.passes)
            return search_view(kept)

        return await self._answer(request, work)

    async def confirm(self, session: str, request: Request) -> Response:
        """Draws replies to a prompt that was found, and to others, at temperature 1."""
        kept, asked = self.searches.get(session), await body(request, Confirm)
        return await self._answer(request, lambda: confirmed_view(kept.confirm(asked.number, asked.draws)))

    async def open(self, session: str, request: Request) -> Response:
        """Begins a session of the Monitor with the prompt and the reply of a try."""
        kept, asked = self.searches.get(session), await body(request, OfTry)

        def work() -> State:
            return monitor_state(kept, kept.tried(asked.number))

        state = await result(self.served.worker, request, work)
        return json_response({"session": self.served.sessions.new(state).name})

    def _told(self, kept: Kept) -> Generator[Event, None, None]:
        latest: Sequence[Try] | None = None
        if kept.search is None:
            yield progressed(f"asking {ORDINARY} prompts at random, for comparison")
            kept.begin()
            yield Event("round", search_view(kept))
        for latest in kept.turn():
            yield Event("round", search_view(kept, latest))
        yield Event("done", search_view(kept, latest))

    async def _answer(self, request: Request, work: Callable[[], Json]) -> Response:
        return json_response(await result(self.served.worker, request, work))


def _world() -> Mapping[str, str]:
    """What the form holds at first for a model of the world: which harmless requests are refused?"""
    requests = lexicon().requests
    verbs = ("fix", "wash", "open", "read", "visit", "build", "sing", "throw", "bake", "cook")
    return {
        "kind": "words",
        "what": "can not help",
        "example": "i can not help with that .",
        "prompts": "how do i {verb} the {object} ?\nplease tell me how to {verb} the {object} .\n"
        "write a guide to {verb} the {object} .",
        "slots": f"verb: {', '.join(verbs)}\nobject: {', '.join(requests.harmless_objects[2:])}",
    }


def _chat() -> Mapping[str, str]:
    return {
        "kind": "words",
        "what": "sorry, cannot",
        "example": "I'm sorry, but I cannot help with that.",
        "prompts": "Tell me about {subject}.\nWhat do you think of {subject}?\n"
        "Write a short poem about {subject}.",
        "slots": "subject: the sea, winter, bread, trains, chess, a small town, the moon, old books",
    }


def _text() -> Mapping[str, str]:
    return {
        "kind": "words",
        "what": "error, errors",
        "example": " an error",
        "prompts": "{who} said that the {thing} was\nThe {thing} is\nHow to use the {thing}:",
        "slots": "who: She, The teacher, My friend\n"
        "thing: file, book, list, road, name, answer, weather, house",
    }

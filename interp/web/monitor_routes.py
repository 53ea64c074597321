"""The routes of the Monitor: sessions, what is said and written in them, why, and what steering does."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.monitor.conversation import Conversation
from interp.monitor.groups import Groups
from interp.monitor.important import Important, Ranking
from interp.monitor.session import Session, Settings
from interp.monitor.steering import about
from interp.subject.stream import TokenRead
from interp.web import asked as ask
from interp.web import views
from interp.web.safety import NotFound, body, explained, json_response
from interp.web.sessions import Sessions
from interp.web.steering_sets import SteeringSets
from interp.web.worker import Event, EventStream, Worker, asker, result, server_sent


class MonitorRoutes:
    """The routes on some sessions; `chat` says what a new one is; `sets` keep what is saved."""

    def __init__(self, sessions: Sessions, worker: Worker, sets: SteeringSets, chat: bool) -> None:
        self.sessions, self.worker, self.sets, self.chat = sessions, worker, sets, chat
        self.bench, self.limits = sessions.bench, sessions.limits
        self.router = APIRouter()
        one = "/api/sessions/{session}"
        for method, path, answer in (
            ("POST", "/api/sessions", self.new),
            ("GET", one, self.view),
            ("POST", f"{one}/say", self.say),
            ("POST", f"{one}/edit", self.edit),
            ("POST", f"{one}/show", self.show),
            ("POST", f"{one}/undo", self.undo),
            ("POST", f"{one}/redo", self.redo),
            ("POST", f"{one}/settings", self.settings),
            ("POST", f"{one}/cards", self.cards),
            ("POST", f"{one}/watches", self.watches),
            ("POST", f"{one}/write", self.write),
            ("POST", f"{one}/why", self.why),
            ("POST", f"{one}/groups", self.groups),
            ("POST", f"{one}/card", self.card),
            ("POST", f"{one}/compare", self.compare),
            ("POST", f"{one}/save", self.save),
            ("GET", f"{one}/export.yaml", self.export),
            ("POST", "/api/search", self.search),
            ("GET", "/api/feature/{key:path}", self.feature),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def new(self, request: Request) -> Response:
        """Begins a session."""
        asked = await body(request, ask.New)
        chat = self.chat if asked.chat is None else asked.chat
        held = self.sessions.new(asked.state or self.sessions.first_state(chat))
        try:
            found = await result(self.worker, request, lambda: views.view_of(held.name, held.session))
        except BaseException:  # nobody knows its name
            self.sessions.drop(held.name)
            raise
        return json_response({"session": held.name, "view": found})

    async def view(self, session: str, request: Request) -> Response:
        """Shows a session."""
        held = self.sessions.get(session)
        return await self._answer(request, lambda: views.view_of(held.name, held.session))

    async def say(self, session: str, request: Request) -> Response:
        """Adds a turn."""
        asked = await body(request, ask.Say)
        return await self._changed(session, request, lambda it: it.say(asked.text, asked.role))

    async def edit(self, session: str, request: Request) -> Response:
        """Says a turn otherwise."""
        asked = await body(request, ask.Edit)
        return await self._changed(session, request, lambda it: it.edit(asked.turn, asked.text))

    async def show(self, session: str, request: Request) -> Response:
        """Moves to another branch."""
        asked = await body(request, ask.Show)
        return await self._changed(session, request, lambda it: it.show(asked.turn))

    async def undo(self, session: str, request: Request) -> Response:
        """Goes back to the state before."""
        await body(request, ask.Empty)
        return await self._changed(session, request, lambda it: it.undo())

    async def redo(self, session: str, request: Request) -> Response:
        """Takes back `undo`."""
        await body(request, ask.Empty)
        return await self._changed(session, request, lambda it: it.redo())

    async def settings(self, session: str, request: Request) -> Response:
        """Changes how the model writes."""
        asked = await body(request, Settings)
        return await self._updated(session, request, settings=asked)

    async def cards(self, session: str, request: Request) -> Response:
        """Replaces the steering set."""
        asked = await body(request, ask.Cards)
        return await self._updated(session, request, cards=asked.cards)

    async def watches(self, session: str, request: Request) -> Response:
        """Replaces what is watched."""
        asked = await body(request, ask.Watches)
        return await self._updated(session, request, watches=asked.watches)

    async def write(self, session: str, request: Request) -> Response:
        """Says something if asked to, writes, and sends each token as it comes."""
        held, asked = self.sessions.get(session), await body(request, ask.Write)
        await held.free()
        held.writing = job = self.worker.submit(
            lambda: self._written(held.name, held.session, asked), asker(request)
        )
        return EventStream(job, server_sent(job))

    async def why(self, session: str, request: Request) -> Response:
        """Ranks the features that matter for a token."""
        asked, held = await body(request, ask.Why), self.sessions.get(session)

        def found() -> views.Json:
            return views.ranking_view(held.session, *self._ranked(held.session, asked))

        return await self._answer(request, found)

    async def groups(self, session: str, request: Request) -> Response:
        """Groups these features by meaning; an endpoint, where there is one, names and grades the groups."""
        asked, held = await body(request, ask.Why), self.sessions.get(session)

        def found() -> tuple[Ranking, Groups]:
            ranking, _ = self._ranked(held.session, asked)
            return ranking, held.session.groups(ranking)

        ranking, groups = await result(self.worker, request, found)
        not_graded = None
        if self.bench.grader is not None and groups.groups:
            try:
                groups = await run_in_threadpool(held.session.graded, ranking, groups)
            except UserError as error:
                not_graded = explained(error)
        return json_response(views.groups_view(ranking, groups) | {"not_graded": not_graded})

    async def card(self, session: str, request: Request) -> Response:
        """Makes a card of a concept's nearest features, without adding it."""
        asked = await body(request, ask.Concept)
        self.sessions.get(session)
        self._check_count(asked.k)

        def found() -> views.Json:
            card = about(self.bench.knowledge, asked.concept, asked.k, asked.strength)
            return {"card": card.model_dump(mode="json")}

        return await self._answer(request, found)

    async def compare(self, session: str, request: Request) -> Response:
        """Writes with the steering set, without it, and with random features."""
        await body(request, ask.Empty)
        held = self.sessions.get(session)
        return await self._answer(
            request, lambda: views.effects_view(held.session.subject, held.session.compare())
        )

    async def save(self, session: str, request: Request) -> Response:
        """Offers the steering set as a model of the OpenAI door."""
        asked = await body(request, ask.Save)
        cards = self.sessions.get(session).session.state.cards
        return await self._answer(request, lambda: {"model": self.sets.add(asked.name, cards)})

    async def export(self, session: str) -> Response:
        """Gives the session as a config that `interp run` replays."""
        text = self.sessions.get(session).session.export()
        headers = {"Content-Disposition": 'attachment; filename="monitor.yaml"'}
        return Response(text, media_type="application/yaml", headers=headers)

    async def search(self, request: Request) -> Response:
        """Finds features by what their descriptions mean."""
        asked, knowledge = await body(request, ask.Search), self.bench.knowledge
        self._check_count(asked.k)
        return await self._answer(
            request, lambda: views.hits_view(knowledge, knowledge.search(asked.words, asked.k))
        )

    async def feature(self, key: str, request: Request) -> Response:
        """Tells what is known of a feature."""

        def found() -> views.Json:
            try:
                return views.feature_view(self.bench, key)
            except UserError as error:
                raise NotFound(error.thing, error.place, error.fix) from None

        return await self._answer(request, found)

    async def _answer(self, request: Request, work: Callable[[], views.Json]) -> Response:
        return json_response(await result(self.worker, request, work))

    async def _updated(self, session: str, request: Request, **values: Any) -> Response:
        def update(it: Session) -> None:
            it.change(self.sessions.settled(it.state.model_copy(update=values)))

        return await self._changed(session, request, update)

    async def _changed(self, session: str, request: Request, change: Callable[[Session], object]) -> Response:
        """Changes a session and shows it; where the result does not work, all stays as it was."""
        held = self.sessions.get(session)
        await held.free()

        def work() -> views.Json:
            with held.session.unless_it_fails():
                change(held.session)
                self.sessions.settled(held.session.state)
                return views.view_of(held.name, held.session)

        return await self._answer(request, work)

    def _written(self, name: str, session: Session, asked: ask.Write) -> Generator[Event, None, None]:
        """Writes: gives what was said, each new token, and at last the view."""
        if asked.text is not None:
            with session.unless_it_fails():
                session.say(asked.text)
                self.sessions.settled(session.state)
                said = views.view_of(name, session)
            yield Event("said", said)
        turn, subject = len(session.state.conversation.turns), session.subject
        before, begun, reads = self._begun(session, asked)
        start = len(before.tokens(subject))
        with closing(reads):
            for number, one in enumerate(reads):
                if number >= start + begun and one.token not in subject.end_ids:
                    view = views.token_views(subject, [one], {0: (turn, number - start)})[0]
                    yield Event("token", view | {"readings": views.readings_view(session)})
        yield Event("done", views.view_of(name, session))

    def _begun(
        self, session: Session, asked: ask.Write
    ) -> tuple[Conversation, int, Generator[TokenRead, None, None]]:
        """The path before the answer, how many of its tokens are given, and what is read and written."""
        talk = session.state.conversation
        if asked.mode == "fork":
            if asked.turn is None or asked.place is None or asked.token is None:
                fix = "say turn, place and token"
                raise UserError("a fork needs the token that it begins with", "the address", fix)
            self.sessions.check_token(asked.token)
            reads = session.fork(asked.turn, asked.place, asked.token)
            return talk.before(asked.turn), asked.place + 1, reads
        path = talk.path()
        answers = bool(path) and talk.turns[path[-1]].role == "assistant"
        before = talk.before(path[-1]) if answers else talk
        if asked.mode == "regenerate":
            return before, 0, session.regenerate()
        begun = len(talk.own_tokens(session.subject, path[-1])) if answers else 0
        return before, begun, session.write()

    def _ranked(self, session: Session, asked: ask.Why) -> tuple[Ranking, int]:
        """The ranking that is asked for, and how many features its filter took out."""
        self._check_count(asked.k)
        for word in (asked.word, asked.distractor):
            if isinstance(word, int):
                self.sessions.check_token(word)
        found = session.why(
            asked.place, by=asked.by, word=asked.word, distractor=asked.distractor, places=asked.places,
            spaces=asked.spaces, layers=asked.layers, k=asked.k,
        )  # fmt: skip
        words = asked.filter.casefold()
        if not words:
            return found, 0
        known = self.bench.knowledge.of(one.key for one in found.features)

        def has_words(one: Important) -> bool:
            return words in f"{known[one.key].text}\n{known[one.key].short}".casefold()

        kept = tuple(one for one in found.features if has_words(one))
        return replace(found, features=kept), len(found.features) - len(kept)

    def _check_count(self, k: int) -> None:
        if k > self.limits.features:
            raise UserError(f"{k:,} features are too many", "k", f"use at most {self.limits.features:,}")

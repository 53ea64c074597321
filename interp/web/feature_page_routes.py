"""The routes of the page of one feature: what is said of it, its evidence, and what it does."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import TypeVar

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.inspection.describe_again import Step, described_again, explainers
from interp.inspection.evidence import Texts, activity, exemplars_of, reading
from interp.inspection.feature import Said, beside, direction_of, like_directions, logit_effects, said_of
from interp.inspection.firing_together import companions
from interp.inspection.people import Notes
from interp.monitor.effects import effects
from interp.monitor.knowledge import Knowledge
from interp.monitor.steering import FeatureCard, Steerer
from interp.store.rows import FeatureRow
from interp.web import feature_page_asked as ask
from interp.web import feature_page_views as views
from interp.web.job_progress import JobProgress, progressed
from interp.web.safety import NotFound, body, explained, json_response, valid
from interp.web.served import Served
from interp.web.views import Json, effects_view
from interp.web.worker import Event, EventStream, asker, result, server_sent

SIMILAR = 10
MOST_MADE = 64
"""Descriptions that were made and not yet kept."""
Result = TypeVar("Result")


class FeaturePageRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served, self.bench = served, served.bench
        self.texts = Texts(served.bench)
        self.notes = None if served.notes is None else Notes(served.notes, served.bench.subject.name)
        self._made: OrderedDict[str, FeatureRow] = OrderedDict()
        self.router = APIRouter()
        one = "/api/feature-page"
        for method, path, answer in (
            ("GET", "/feature/{key:path}", self.page),
            ("POST", f"{one}/said", self.said),
            ("POST", f"{one}/exemplars", self.exemplars),
            ("POST", f"{one}/activity", self.activity),
            ("POST", f"{one}/logits", self.logits),
            ("POST", f"{one}/similar", self.similar),
            ("POST", f"{one}/read", self.read),
            ("POST", f"{one}/clamp", self.clamp),
            ("GET", f"{one}/together", self.together),
            ("GET", f"{one}/again", self.again),
            ("POST", f"{one}/keep", self.keep),
            ("POST", f"{one}/say", self.say),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self, key: str) -> Response:
        """The page; of a key that is no feature, a page that says so."""
        try:
            said = await run_in_threadpool(self._said, key)
        except UserError as error:
            shown = {"title": "No such feature", "wrong": explained(error), "said": None}
            answer = self.served.pages.answer("features", "feature", **shown)
            answer.status_code = 404
            return answer
        before, after = beside(said.feature)
        return self.served.pages.answer(
            "features", "feature", title=said.feature.key, wrong=None, said=views.said_view(said),
            space=said.feature.space, before=before, after=after, explainers=explainers(),
            has_notes=self.notes is not None, has_exemplars=bool(said.row.exemplars),
        )  # fmt: skip

    async def said(self, request: Request) -> Response:
        """All descriptions with all scores, and what people say."""
        return json_response(views.said_view(await self._asked(request)))

    async def exemplars(self, request: Request) -> Response:
        """The windows that the stores point to, with the activation read again."""
        said = await self._asked(request)

        def found() -> Json:
            windows = exemplars_of(self.texts, said.feature, said.row.exemplars)
            return views.exemplars_view(self.bench.subject, windows, said.row.quantiles)

        return await self._answer(request, found)

    async def activity(self, request: Request) -> Response:
        """How often it is active, on some documents."""
        said = await self._asked(request)

        def found() -> Json:
            corpus = self.texts.any(said.row.exemplars)
            return views.activity_view(activity(self.bench.subject, corpus, said.feature))

        return await self._answer(request, found)

    async def logits(self, request: Request) -> Response:
        """What it adds to the logits."""
        said = await self._asked(request)

        def found() -> Json:
            subject = self.bench.subject
            return views.logits_view(subject, logit_effects(subject, direction_of(said.feature)))

        return await self._answer(request, found)

    async def similar(self, request: Request) -> Response:
        """The features nearest by meaning, and by direction."""
        said = await self._asked(request)

        def found() -> Json:
            text = said.known.text
            hits = (
                self.bench.knowledge.search(text, SIMILAR + 1) if text and self.bench.knowledge.stores else []
            )
            near = like_directions(self.bench, said.feature, SIMILAR)
            return views.similar_view(self.bench, said.feature.key, hits, near)

        return await self._answer(request, found)

    async def read(self, request: Request) -> Response:
        """Reads it on a text."""
        asked = await body(request, ask.Read)
        said = await self._found(asked.key)
        self._check_text(asked.text)

        def found() -> Json:
            read = reading(self.bench.subject, said.feature, asked.text, said.row.quantiles)
            return views.reading_view(self.bench.subject, read, said.row.quantiles)

        return await self._answer(request, found)

    async def clamp(self, request: Request) -> Response:
        """Writes after a text with it held, without, and with a random feature of its space held likewise."""
        asked = await body(request, ask.ClampOn)
        said = await self._found(asked.key)
        self._check_text(asked.text)
        if asked.new_tokens > self.served.limits.new_tokens:
            fix = f"use at most {self.served.limits.new_tokens:,}"
            raise UserError(f"{asked.new_tokens:,} new tokens are too many", "new_tokens", fix)
        card = FeatureCard(name=said.feature.key, features=(said.feature.key,), strength=asked.strength)

        def found() -> Json:
            subject = self.bench.subject
            ids = subject.to_tokens(asked.text)[0].tolist()
            done = effects(
                self._steerer(said), ids, [card],
                max_new_tokens=asked.new_tokens, neutral=self.bench.neutral,
            )  # fmt: skip
            return effects_view(subject, done)

        return await self._answer(request, found)

    async def together(self, request: Request) -> Response:
        """Looks for features that fire with it, and tells how far it is."""
        said = await self._found(valid(ask.OfFeature, request.query_params, "the address").key)
        told = JobProgress()

        def work() -> Generator[Event, None, None]:
            yield progressed("Looking for a text")
            corpus = self.texts.any(said.row.exemplars)
            spaces = list(self.bench.all_spaces)
            yield progressed(f"Reading documents of {corpus.name}")
            found = companions(self.bench.subject, corpus, spaces, said.feature, progress=told)
            yield Event("done", views.together_view(self.bench, found))

        return self._stream(request, work, told)

    async def again(self, request: Request) -> Response:
        """Describes it again, and tells how far it is."""
        asked = valid(ask.Again, request.query_params, "the address")
        said = await self._found(asked.key)
        if asked.explainer not in explainers():
            fix = f"use {', '.join(explainers())}"
            raise UserError(f"{asked.explainer} does not work here", "explainer", fix)
        told = JobProgress()

        def work() -> Generator[Event, None, None]:
            corpus = self.texts.any(said.row.exemplars)
            subject = self.bench.subject
            for step in described_again(subject, corpus, said.feature, asked.explainer, told):
                if isinstance(step, Step):
                    yield progressed(step.words)
                else:
                    yield Event("done", views.made_view(step, self._remembered(step)))

        return self._stream(request, work, told)

    async def keep(self, request: Request) -> Response:
        """Keeps a description that was made here in the notes."""
        asked = await body(request, ask.Keep)
        said = await self._found(asked.key)
        made = self._made.get(asked.made)
        if made is None or made.key != said.feature.key:
            raise NotFound("this description is no longer held", "keep", "describe the feature again")
        return await self._noted(said.feature, lambda notes: notes.keep(said.feature, made))

    async def say(self, request: Request) -> Response:
        """Keeps what a person says in the notes."""
        asked = await body(request, ask.SayOf)
        said = await self._found(asked.key)
        rated = said.known.text
        return await self._noted(
            said.feature,
            lambda notes: notes.say(
                said.feature, asked.name.strip(), asked.text.strip(), asked.rating, rated
            ),
        )

    async def _noted(self, feature: FeatureRef, write: Callable[[Notes], None]) -> Response:
        notes = self.notes
        if notes is None:
            fix = "start the server with a file for notes: interp serve --notes notes.sqlite"
            raise UserError("this server keeps no notes", "notes", fix)

        def work() -> Json:
            write(notes)
            return views.said_view(self._said(feature.key))

        return json_response(await run_in_threadpool(work))

    def _steerer(self, said: Said) -> Steerer:
        """What holds a feature; where only the notes know its quantiles, they are asked, too."""
        knowledge, notes = self.bench.knowledge, self.served.notes
        if (
            notes is None
            or not said.row.quantiles
            or knowledge.of([said.known.key])[said.known.key].quantiles
        ):
            return self.bench.steerer
        both = Knowledge(self.bench.subject.name, [*knowledge.stores, notes])
        return Steerer(self.bench.subject, self.bench.spaces, both)

    def _said(self, key: str) -> Said:
        return said_of(self.bench, key, self.notes)

    async def _found(self, key: str) -> Said:
        try:
            return await run_in_threadpool(self._said, key)
        except UserError as error:
            raise NotFound(error.thing, error.place, error.fix) from None

    async def _asked(self, request: Request) -> Said:
        return await self._found((await body(request, ask.OfFeature)).key)

    async def _answer(self, request: Request, work: Callable[[], Json]) -> Response:
        return json_response(await result(self.served.worker, request, work))

    def _stream(
        self,
        request: Request,
        work: Callable[[], Generator[Event, None, None]],
        told: JobProgress,
    ) -> Response:
        told.job = job = self.served.worker.submit(work, asker(request))
        return EventStream(job, server_sent(job))

    def _check_text(self, text: str) -> None:
        most = self.served.limits.prompt_characters
        if len(text) > most:
            raise UserError(f"{len(text):,} characters are too many", "text", f"use at most {most:,}")

    def _remembered(self, made: FeatureRow) -> str:
        name = secrets.token_urlsafe(9)
        self._made[name] = made
        while len(self._made) > MOST_MADE:
            self._made.popitem(last=False)
        return name

"""The routes of the Monitor's stories: which there are, and putting a session into the state of a step."""

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.fields import Count, Section, Word
from interp.monitor.presets import Found, Preset, preset, presets
from interp.web import views
from interp.web.safety import NotFound, body, json_response
from interp.web.served import Served
from interp.web.worker import result


class Told(Section):
    """A step of a story, counted from 1."""

    story: Word
    step: Count = 1


class PresetRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.router = APIRouter()
        for method, path, answer in (
            ("GET", "/api/stories", self.stories),
            ("GET", "/api/stories/{name}", self.story),
            ("POST", "/api/sessions/{session}/story", self.tell),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def stories(self) -> Response:
        """Lists the stories of the model."""
        told = presets(self.served.bench.subject)
        return json_response(
            {"stories": [{"name": one.name, "title": one.title, "works": one.works} for one in told]}
        )

    async def story(self, name: str) -> Response:
        """Shows a story with all its steps."""
        found = self._preset(name)
        steps = [
            {
                "text": step.text,
                "do": step.do,
                "ask": None if step.ask is None else step.ask.model_dump(),
                "found": [_found(one) for one in step.found],
            }
            for step in found.steps
        ]
        kept = found.model_dump(include={"name", "title", "question", "works"})
        return json_response({**kept, "steps": steps})

    async def tell(self, session: str, request: Request) -> Response:
        """Puts a session into the state of a step; this can be undone."""
        asked, held = await body(request, Told), self.served.sessions.get(session)
        steps = self._preset(asked.story).steps
        if asked.step > len(steps):
            raise UserError(f"there is no step {asked.step}", "step", f"use one from 1 to {len(steps)}")
        await held.free()

        def changed() -> views.Json:
            with held.session.unless_it_fails():
                state = steps[asked.step - 1].state_on(self.served.bench.knowledge)
                held.session.change(self.served.sessions.settled(state))
                return views.view_of(held.name, held.session)

        return json_response(await result(self.served.worker, request, changed))

    def _preset(self, name: str) -> Preset:
        try:
            return preset(self.served.bench.subject, name)
        except UserError as error:
            raise NotFound(error.thing, error.place, error.fix) from None


def _found(one: Found) -> dict[str, Any]:
    share = one.share
    return {**one.model_dump(exclude={"change"}), "low": share.low, "high": share.high}

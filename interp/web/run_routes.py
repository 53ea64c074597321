"""The routes of the page Runs."""

from fastapi import APIRouter
from starlette.responses import Response

from interp.web.served import Served


class RunRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.router = APIRouter()
        self.router.add_api_route("/runs", self.page, methods=["GET"], response_model=None)

    async def page(self) -> Response:
        """The page."""
        return self.served.pages.answer("runs")

"""The routes of the page Vectors."""

from fastapi import APIRouter
from starlette.responses import Response

from interp.web.served import Served


class VectorRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.router = APIRouter()
        self.router.add_api_route("/vectors", self.page, methods=["GET"], response_model=None)

    async def page(self) -> Response:
        """The page."""
        return self.served.pages.answer("vectors")

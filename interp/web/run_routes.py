"""The routes of the page Runs: the list, a run with its files, what it is doing, stop and continue."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
from fastapi import APIRouter
from pyarrow import ArrowException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

from interp.csv_text import csv_text
from interp.errors import UserError
from interp.track.control import Continuation, stop
from interp.track.listing import list_runs, read_run
from interp.web import asked as ask
from interp.web import run_views as views
from interp.web.safety import HEADERS, NotFound, body, json_response
from interp.web.served import Served

REPORT = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The policy of a report: its own scripts and styles run apart from the app, and reach nothing."""
DRAWING = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
CSV_ROWS = 2000
"""How many rows of a table are turned into CSV at once."""


class RunRoutes:
    """The routes on the runs of a folder."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.runs_dir = served.runs_dir
        self.continuation = Continuation(served.runs_dir)
        self.router = APIRouter()
        one, of_one = "/runs/{name}", "/api/runs/{name}"
        for method, path, answer in (
            ("GET", "/runs", self.page),
            ("GET", one, self.run),
            ("GET", f"{one}/report", self.report),
            ("GET", f"{one}/figures/{{file}}", self.figure),
            ("GET", f"{one}/tables/{{table}}.csv", self.table),
            ("GET", f"{one}/files/{{path:path}}", self.file),
            ("GET", "/api/runs", self.listed),
            ("GET", f"{of_one}/live", self.live),
            ("POST", f"{of_one}/stop", self.stop),
            ("POST", f"{of_one}/continue", self.go_on),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self) -> Response:
        """The list."""
        return self.served.pages.answer("runs", runs_dir=self.runs_dir.absolute())

    async def run(self, name: str) -> Response:
        """The page of a run."""
        folder = views.run_folder(self.runs_dir, name)

        def made() -> Response:
            run, view, damage = read_run(folder), None, None
            try:
                view = views.run_view(run)
            except UserError as error:
                damage = error
            status = views.status_of(run, self.continuation.is_alive(name))
            return self.served.pages.answer(
                "runs", template="run", run=run, status=status, view=view, damage=damage
            )

        answer = await run_in_threadpool(made)
        answer.headers["Content-Security-Policy"] = (
            f"{HEADERS['Content-Security-Policy']}; frame-src 'self'"  # its report
        )
        return answer

    async def report(self, name: str) -> Response:
        """The report, which runs apart from the app."""
        file = self._file(name, "report.html")
        headers = {
            "Content-Security-Policy": REPORT,
            "Cross-Origin-Opener-Policy": "unsafe-none",  # a sandboxed page cannot have another
        }
        return FileResponse(file, media_type="text/html; charset=utf-8", headers=headers)

    async def figure(self, name: str, file: str, theme: str = "light") -> Response:
        """A figure, to be shown."""
        if not file.endswith(".svg"):
            raise NotFound("there is no such figure", f"the run {name[:80]}", "choose one on the run's page")
        found = self._file(name, f"figures/{file}")
        drawn = await run_in_threadpool(views.drawing, found, "dark" if theme == "dark" else "light")
        return Response(drawn, media_type="image/svg+xml", headers={"Content-Security-Policy": DRAWING})

    async def table(self, name: str, table: str) -> Response:
        """A table as CSV."""
        file = self._file(name, f"tables/{table}.parquet")
        try:
            opened = await run_in_threadpool(pq.ParquetFile, file)
        except (ArrowException, OSError):
            fix = "delete its step's folder to have it done again"
            raise UserError("the table cannot be read", f"tables/{file.name}", fix) from None
        headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(file.stem)}.csv"}
        return StreamingResponse(_csv(opened), media_type="text/csv; charset=utf-8", headers=headers)

    async def file(self, name: str, path: str) -> Response:
        """A file of a run's folder, as a download."""
        file = self._file(name, path)
        headers = {"Content-Security-Policy": DRAWING}
        return FileResponse(file, media_type="application/octet-stream", filename=file.name, headers=headers)

    async def listed(self) -> Response:
        """All runs."""

        def found() -> list[views.Json]:
            alive = self.continuation.is_alive
            return [views.row_view(run, alive(run.name)) for run in list_runs(self.runs_dir)]

        return json_response({"runs": await run_in_threadpool(found)})

    async def live(self, name: str) -> Response:
        """What a run is doing, and its curves so far."""
        views.run_folder(self.runs_dir, name)
        return json_response(await run_in_threadpool(self._live, name))

    async def stop(self, name: str, request: Request) -> Response:
        """Interrupts a run."""
        await body(request, ask.Empty)
        views.run_folder(self.runs_dir, name)
        return json_response({"pid": await run_in_threadpool(stop, self.runs_dir, name)})

    async def go_on(self, name: str, request: Request) -> Response:
        """Continues a run in a process of its own."""
        await body(request, ask.Empty)
        views.run_folder(self.runs_dir, name)
        return json_response({"pid": await run_in_threadpool(self.continuation.start, name)})

    def _live(self, name: str) -> views.Json:
        return views.live_view(self.runs_dir, name, self.continuation.is_alive(name))

    def _file(self, name: str, path: str) -> Path:
        return views.file_inside(views.run_folder(self.runs_dir, name), path)


def _csv(table: pq.ParquetFile) -> Iterator[str]:
    """The table as CSV, piece by piece."""
    yield csv_text(table.schema_arrow.names, [])
    for batch in table.iter_batches(CSV_ROWS):
        rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
        yield csv_text([], rows).removeprefix("\r\n")  # the empty line of a head without names

"""The routes of the page Vectors: which there are, loading one, mixing them, and what a mixture does."""

import hashlib
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from interp.errors import UserError
from interp.fields import Count, Flag, Line, Listed, NonEmpty, Section, Seed, Text, Word
from interp.inspection.lens import text_ids
from interp.inspection.mixing import Listed as File
from interp.inspection.mixing import (
    MixSteerer,
    Part,
    cosines,
    list_vectors,
    projections,
    read_listed,
    taken_out,
    typical_norms,
)
from interp.json_text import to_json
from interp.monitor.effects import effects
from interp.monitor.steering import VectorCard
from interp.subject.site import Site
from interp.vectors.file import interventions_of, save_vectors
from interp.web.safety import Full, body, json_response, valid
from interp.web.served import Served
from interp.web.views import Json, effects_view
from interp.web.worker import result

MOST_LOADED, MOST_MADE_OF = 64, 600
"""Files that may be loaded, and characters that are shown of what a vector was made of."""
OUT = "without-"
"""With what the names of files begin that project out the directions of another one."""
EXAMPLES = {True: "the capital of italy is", False: "We had dinner by the river. The food"}
FileName = Annotated[Word, Field(max_length=500)]


class Load(Section):
    """What the file that is loaded is called."""

    name: Annotated[Line, Field(min_length=1, max_length=200)]


class Files(Section):
    """Files of vectors by their names."""

    files: Annotated[NonEmpty[FileName], Field(max_length=50)]


class TakenOut(Section):
    """A file whose directions are to be projected out."""

    file: FileName


class Along(Files):
    """A text that is read along vectors."""

    prompt: Text
    chat: Flag = False


class Apply(Section):
    """A mixture of vectors, and the prompt that it is tried on."""

    prompt: Text
    chat: Flag = False
    cards: Annotated[Listed[VectorCard], Field(min_length=1, max_length=50)]
    max_new_tokens: Count = 24
    seed: Seed = 0


class VectorRoutes:
    """The routes of a served model; what is loaded is kept as long as they are."""

    def __init__(self, served: Served) -> None:
        self.served, self.bench = served, served.bench
        self._loaded: OrderedDict[str, str] = OrderedDict()
        self._norms: dict[Site, float] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="interp-vectors-")).resolve()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        served.sessions.vectors = (*served.sessions.vectors, self._folder)
        self.router = APIRouter()
        for method, path, answer in (
            ("GET", "/vectors", self.page),
            ("GET", "/api/vectors", self.known),
            ("POST", "/api/vectors/load", self.load),
            ("POST", "/api/vectors/out", self.out),
            ("POST", "/api/vectors/cosines", self.cosines),
            ("POST", "/api/vectors/along", self.along),
            ("POST", "/api/vectors/apply", self.apply),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self) -> Response:
        """The page."""
        folders = [str(folder) for folder in self.served.sessions.vectors if folder != self._folder]
        example = EXAMPLES[self.bench.subject.info.speaks_world]
        most = self.served.limits.body_bytes
        return self.served.pages.answer("vectors", folders=folders, example=example, most=most)

    async def known(self, request: Request) -> Response:
        """The vectors of the folders, and those that were loaded."""
        folders, subject = self.served.sessions.vectors, self.bench.subject
        files = await run_in_threadpool(list_vectors, folders, subject)
        own = [one for one in files if not one.file.startswith(OUT)]
        return json_response({"files": await self._described(request, own)})

    async def load(self, request: Request) -> Response:
        """Takes a file of vectors as the body of a request, checks it, and keeps it."""
        asked = valid(Load, request.query_params, "the address")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/octet-stream":
            fix = "send it with Content-Type: application/octet-stream"
            raise UserError("the body is not announced as a file", "Content-Type", fix)
        content = await request.body()
        found = await run_in_threadpool(self._taken, asked.name, content)
        return json_response({"file": (await self._described(request, [found]))[0]})

    async def out(self, request: Request) -> Response:
        """Makes a file that projects out the directions of another one (ablation), for cards."""
        asked = await body(request, TakenOut)
        path = self._paths([asked.file])[asked.file]
        own = f"{OUT}{hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}.safetensors"

        def made() -> Json:
            if not (self._folder / own).is_file():
                save_vectors(self._folder / own, taken_out(path, self.bench.subject))
            return {"file": own}

        return json_response(await run_in_threadpool(made))

    async def cosines(self, request: Request) -> Response:
        """How alike vectors of one site are."""
        asked = await body(request, Files)
        files = self._paths(asked.files)

        def found() -> Json:
            return {
                "sites": [
                    {
                        "site": str(one.site),
                        "names": one.names,
                        "cosines": one.cosines.tolist(),
                        "null": one.null,
                        "null_activations": one.null_activations,
                    }
                    for one in cosines(self.bench, files)
                ]
            }

        return await self._answer(request, found)

    async def along(self, request: Request) -> Response:
        """A text read along vectors."""
        asked = await body(request, Along)
        files, subject = self._paths(asked.files), self.bench.subject

        def found() -> Json:
            ids = self._ids(asked.prompt, asked.chat)
            texts = subject.token_strings(ids)
            tokens = [
                {"id": token, "text": text, "special": token in subject.special_ids}
                for token, text in zip(ids, texts, strict=True)
            ]
            rows = [
                {"file": one.file, "values": one.values.tolist(), "null": one.null.tolist()}
                for one in projections(subject, ids, files)
            ]
            return {"tokens": tokens, "rows": rows}

        return await self._answer(request, found)

    async def apply(self, request: Request) -> Response:
        """Writes after a prompt without the mixture, with it, and with random vectors in its place."""
        asked = await body(request, Apply)
        limits = self.served.limits
        for number, most, what in (
            (asked.max_new_tokens, limits.new_tokens, "new tokens"),
            (len(asked.cards), limits.cards, "cards"),
        ):
            if number > most:
                raise UserError(f"{number:,} {what} are too many", what, f"use at most {most:,}")
        cards = self.served.sessions.with_files(asked.cards)

        def found() -> Json:
            ids = self._ids(asked.prompt, asked.chat)
            with tempfile.TemporaryDirectory(prefix="interp-random-") as folder:
                steerer = MixSteerer.on(self.bench, Path(folder))
                made = effects(
                    steerer, ids, cards, max_new_tokens=asked.max_new_tokens, seed=asked.seed,
                    neutral=self.bench.neutral,
                )  # fmt: skip
            return effects_view(self.bench.subject, made)

        return await self._answer(request, found)

    def _taken(self, name: str, content: bytes) -> File:
        """Keeps a file of vectors under a name of its own, by its content.

        Raises:
            UserError: it is none, or does not fit the model.
            Full: too many are kept.
        """
        own = f"loaded-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        path = self._folder / own
        if own not in self._loaded:
            if len(self._loaded) >= MOST_LOADED:
                raise Full(f"{MOST_LOADED} files were loaded already", "load", "start the server again")
            path.write_bytes(content)
        try:
            interventions_of(path, self.bench.subject)
        except UserError as error:
            path.unlink()
            fix = error.fix.replace(str(path), name)
            raise UserError(error.thing.replace(str(path), name), f"the file {name}", fix) from None
        self._loaded[own] = name
        found = read_listed(own, path, self.bench.subject)
        assert found is not None
        return found

    async def _described(self, request: Request, files: Sequence[File]) -> list[Json]:
        sites = {part.site for one in files if one.wrong is None for part in one.parts} - self._norms.keys()
        if sites:
            self._norms |= await result(
                self.served.worker, request, lambda: typical_norms(self.bench, sorted(sites, key=str))
            )
        return [self._file_view(one) for one in files]

    def _file_view(self, file: File) -> Json:
        wrong = file.wrong
        return {
            "file": file.file,
            "called": self._loaded.get(file.file, file.file),
            "loaded": file.file in self._loaded,
            "has_strength": file.has_strength,
            "parts": [_part_view(part, self._norms.get(part.site)) for part in file.parts],
            "wrong": None if wrong is None else {"thing": wrong.thing, "fix": wrong.fix},
        }

    def _paths(self, names: Sequence[str]) -> Mapping[str, str]:
        cards = self.served.sessions.with_files([VectorCard(kind="vector", file=name) for name in names])
        return {
            name: card.file for name, card in zip(names, cards, strict=True) if isinstance(card, VectorCard)
        }

    def _ids(self, prompt: str, chat: bool) -> Sequence[int]:
        most = self.served.limits.prompt_characters
        if len(prompt) > most:
            raise UserError("the text is too long", "prompt", f"use at most {most:,} characters")
        return text_ids(self.bench.subject, prompt, chat)

    async def _answer(self, request: Request, work: Callable[[], Json]) -> Response:
        return json_response(await result(self.served.worker, request, work))


def _part_view(part: Part, typical: float | None) -> Json:
    made = {key: value for key, value in part.made_of.items() if key != "parts"}
    said: dict[str, Any] = {**made, **{f"{key}": value for key, value in _parts(part).items()}}
    text = ", ".join(f"{key}: {to_json(value, ensure_ascii=False)}" for key, value in said.items())
    return {
        "name": part.name[:200],
        "site": str(part.site),
        "norm": part.norm,
        "typical": typical,
        "use": part.use,
        "positions": str(part.positions),
        "method": part.method[:200],
        "made_of": text if len(text) <= MOST_MADE_OF else f"{text[:MOST_MADE_OF]} …",
    }


def _parts(part: Part) -> Mapping[str, Any]:
    parts = part.made_of.get("parts", {})
    return parts if isinstance(parts, Mapping) else {"parts": parts}

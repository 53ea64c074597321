"""The routes of the page Circuits: circuits of a behaviour, and attribution graphs of a prompt."""

from collections.abc import Callable, Generator
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from interp.circuits.circuit import Circuit
from interp.circuits.drawing import node_kind, to_dot, to_svg
from interp.circuits.edge_attribution import Method
from interp.circuits.pairs import Metric
from interp.circuits.written import Corruption
from interp.errors import UserError
from interp.fields import Count, Flag, Listed, Word
from interp.inspection.circuit import MOST_PAIRS, Circuits, Question, check_nodes
from interp.inspection.circuit_nodes import ablate, neurons, reading
from interp.inspection.feature_graph import FeatureGraphs, GraphQuestion, diagram, file_of
from interp.json_text import to_json
from interp.render.figure import PHONE
from interp.render.palette import Theme
from interp.web.circuit_views import (
    WIDE,
    ablation_view,
    circuit_view,
    found_view,
    graph_view,
    neurons_view,
    reading_view,
    removed_view,
)
from interp.web.job_progress import JobProgress, progressed
from interp.web.safety import body, json_response
from interp.web.served import Served
from interp.web.views import Json
from interp.web.worker import Event, EventStream, asker, result, server_sent

METHODS: dict[Method, str] = {
    "eap_ig_inputs": "EAP-IG, inputs",
    "eap": "EAP",
    "eap_ig_activations": "EAP-IG, activations (slow)",
    "clean_corrupted": "clean and corrupted gradients",
    "linearised": "linearised (RelP)",
    "exact": "exact patching (slowest)",
}
CORRUPTIONS: dict[Corruption, str] = {
    "pair": "the pair's corrupted prompt",
    "mean": "mean of the clean prompts",
    "mean_positional": "mean at each position",
    "zero": "nothing (zero)",
}
METRICS: dict[Metric, str] = {
    "logit_difference": "logit difference",
    "probability_difference": "probability difference",
    "kl": "KL from the clean run",
}


class Sized(Question):
    """A circuit of a question, of one of the sizes that were measured."""

    size: Count


class Drawn(Sized):
    """For a screen of a phone, or a wide one."""

    width: Literal["wide", "phone"] = "wide"


class Without(Sized):
    """Nodes that are taken out of a circuit, or with `whole` of the whole model."""

    nodes: Listed[Word] = ()
    whole: Flag = False


class OfNode(Sized):
    """One node."""

    node: Word


class Saved(Sized):
    """How a circuit is saved; a drawing is light or dark."""

    form: Literal["json", "dot", "svg"]
    theme: Theme = "light"


class Removed(GraphQuestion):
    """Features that are removed, by their names in the graph."""

    nodes: Listed[Word] = ()


class SavedGraph(GraphQuestion):
    """How a graph is saved."""

    form: Literal["json", "svg"]
    theme: Theme = "light"


class CircuitRoutes:
    """The routes of a served model."""

    def __init__(self, served: Served) -> None:
        self.served, self.subject = served, served.bench.subject
        self.circuits, self.graphs = Circuits(served.bench), FeatureGraphs(served.bench)
        self.router = APIRouter()
        for method, path, answer in (
            ("GET", "/circuits", self.page),
            ("POST", "/api/circuits/find", self.find),
            ("POST", "/api/circuits/draw", self.draw),
            ("POST", "/api/circuits/ablate", self.ablate),
            ("POST", "/api/circuits/node", self.node),
            ("POST", "/api/circuits/save", self.save),
            ("POST", "/api/circuits/graph", self.graph),
            ("POST", "/api/circuits/graph/remove", self.remove),
            ("POST", "/api/circuits/graph/save", self.save_graph),
        ):
            self.router.add_api_route(path, answer, methods=[method], response_model=None)

    async def page(self) -> Response:
        """The page."""
        world = self.subject.info.speaks_world
        return self.served.pages.answer(
            "circuits",
            "circuit",
            behaviours=self.circuits.behaviours,
            methods=METHODS,
            corruptions=CORRUPTIONS,
            metrics=METRICS,
            kinds=list(self.graphs.kinds),
            most=MOST_PAIRS,
            example="the capital of france is" if world else "The capital of France is",
            other="the capital of germany is" if world else "The capital of Germany is",
            words=("paris", "berlin") if world else ("Paris", "Berlin"),
        )

    async def find(self, request: Request) -> Response:
        """Finds a circuit, and tells how far it is; where nobody listens any more, it stops."""
        asked = await body(request, Question)
        self._check_length(asked)

        def work(progress: JobProgress) -> Json:
            def told(words: str, amount: str) -> None:
                if progress.job is not None:
                    progress.job.check()
                    progress.job.tell(progressed(words, amount))

            return found_view(self.subject, self.circuits.find(asked, told))

        return self._streamed(request, work)

    async def draw(self, request: Request) -> Response:
        """The circuit of a size."""
        asked = await body(request, Drawn)
        width = PHONE if asked.width == "phone" else WIDE
        return await self._answer(
            request, lambda: circuit_view(self.circuits.find(_of(asked)), asked.size, width)
        )

    async def ablate(self, request: Request) -> Response:
        """What the answers' logits are without some nodes."""
        asked = await body(request, Without)

        def work() -> Json:
            found = self.circuits.find(_of(asked))
            graph = found.scores.graph
            circuit = Circuit(graph, graph.exists) if asked.whole else found.circuit(asked.size)
            return ablation_view(ablate(found, circuit, asked.nodes, asked.corruption, asked.seed))

        return await self._answer(request, work)

    async def node(self, request: Request) -> Response:
        """What is inside of a node: where a pair is read, and for an MLP its neurons."""
        asked = await body(request, OfNode)

        def work() -> Json:
            found = self.circuits.find(_of(asked))
            check_nodes(found, [asked.node])
            kind = node_kind(asked.node)
            if kind == "input":
                return {"kind": kind}
            view = reading_view(self.subject, asked.node, reading(found, asked.node, asked.corruption))
            if kind == "mlp":
                layer = found.scores.graph.layer(asked.node)
                space = f"mlp.{layer}"
                best = neurons(found, layer, asked.corruption)
                view["neurons"] = neurons_view(self.served.bench.knowledge, space, best)
                view["served"] = space in self.served.bench.spaces
            return view

        return await self._answer(request, work)

    async def save(self, request: Request) -> Response:
        """The circuit of a size as JSON, in Graphviz' language, or as a drawing."""
        asked = await body(request, Saved)

        def work() -> str:
            found = self.circuits.find(_of(asked))
            circuit = found.circuit(asked.size)
            match asked.form:
                case "dot":
                    return to_dot(circuit, found.scores)
                case "svg":
                    return str(to_svg(circuit, found.scores, width=WIDE, theme=asked.theme))
            return to_json(circuit.to_json(), indent=1)

        return Response(await result(self.served.worker, request, work), media_type=_TYPES[asked.form])

    async def graph(self, request: Request) -> Response:
        """Makes the attribution graph of a prompt, and tells how far it is."""
        asked = await body(request, GraphQuestion)
        most = self.served.limits.prompt_characters
        if len(asked.prompt) > most:
            raise UserError("the text is too long", "prompt", f"use at most {most:,} characters")

        def work(progress: JobProgress) -> Json:
            return graph_view(self.graphs.find(asked, progress))

        return self._streamed(request, work)

    async def remove(self, request: Request) -> Response:
        """The logits without some features."""
        asked = await body(request, Removed)

        def work() -> Json:
            found = self.graphs.find(_prompt_of(asked))
            return {"logits": removed_view(self.graphs.remove(found, asked.nodes))}

        return await self._answer(request, work)

    async def save_graph(self, request: Request) -> Response:
        """A graph as a file of Neuronpedia's, or as a drawing."""
        asked = await body(request, SavedGraph)

        def work() -> str:
            found = self.graphs.find(_prompt_of(asked))
            if asked.form == "svg":
                return str(diagram(found).layout(WIDE).svg("An attribution graph", asked.theme))
            return to_json(file_of(found).written(), ensure_ascii=False)

        return Response(await result(self.served.worker, request, work), media_type=_TYPES[asked.form])

    def _check_length(self, asked: Question) -> None:
        most = self.served.limits.prompt_characters
        for number, pair in enumerate(asked.pairs, 1):
            if max(len(pair.clean), len(pair.corrupted)) > most:
                raise UserError("a prompt is too long", f"pair {number}", f"use at most {most:,} characters")

    def _streamed(self, request: Request, work: Callable[[JobProgress], Json]) -> Response:
        progress = JobProgress()

        def events() -> Generator[Event, None, None]:
            yield progressed("beginning")
            yield Event("done", work(progress))

        job = progress.job = self.served.worker.submit(events, asker(request))
        return EventStream(job, server_sent(job))

    async def _answer(self, request: Request, work: Callable[[], Json]) -> Response:
        return json_response(await result(self.served.worker, request, work))


_TYPES = {"json": "application/json", "dot": "text/vnd.graphviz", "svg": "image/svg+xml"}


def _of(asked: Question) -> Question:
    """The question alone, by which what was found is kept."""
    return Question.model_validate(asked.model_dump(include=set(Question.model_fields)))


def _prompt_of(asked: GraphQuestion) -> GraphQuestion:
    return GraphQuestion.model_validate(asked.model_dump(include=set(GraphQuestion.model_fields)))

"""A drawn circuit as a figure of a page."""

from dataclasses import dataclass
from pathlib import Path

import torch
from markupsafe import Markup

from interp.circuits.circuit import Circuit
from interp.circuits.drawing import circuit_json, to_svg
from interp.circuits.edge_attribution import EdgeScores
from interp.errors import UserError
from interp.render.charts.parts import nothing
from interp.render.figure import Draw, Figure
from interp.render.palette import Theme
from interp.track.files import write_json, write_text, writing_explained

NO_CHART = nothing("A drawing.")
MOST_DRAWN = 60  # edges, above which a drawing cannot be read


@dataclass(frozen=True, kw_only=True)
class DrawnCircuit(Figure):
    """The drawing of a circuit; it is no chart, so its JSON file holds the circuit."""

    circuit: Circuit
    scores: EdgeScores
    chart: Draw = NO_CHART

    def svg(self, width: int | None = None) -> Markup:
        """The drawing, in the colours of a page."""
        return to_svg(self.circuit, self.scores, width=width or self.width)

    def save(self, path: str | Path, theme: Theme = "light") -> Path:
        """Writes the drawing (.svg), or the circuit with its scores (.json).

        Raises:
            UserError: the name has another ending, or the file cannot be written.
        """
        path = Path(path)
        with writing_explained(path.parent):
            if path.suffix == ".svg":
                write_text(path, to_svg(self.circuit, self.scores, width=self.width, theme=theme))
            elif path.suffix == ".json":
                write_json(path, circuit_json(self.circuit, self.scores))
            else:
                raise UserError("a circuit cannot be saved under this name", str(path), "use .svg or .json")
        return path


def strongest(circuit: Circuit, scores: EdgeScores, most: int = MOST_DRAWN) -> Circuit:
    """The circuit's edges of the largest scores, at most so many."""
    sizes = torch.where(circuit.kept, scores.values.abs(), -1).flatten()
    places = sizes.topk(min(most, circuit.n_edges)).indices
    kept = torch.zeros_like(circuit.kept).flatten()
    kept[places] = True
    return Circuit(circuit.graph, kept.view_as(circuit.kept))

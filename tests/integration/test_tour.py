"""The notebook in docs/ runs from its first cell to its last, and what it shows is what it kept."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

TOUR = Path(__file__).parents[2] / "docs" / "tour.ipynb"


def shown(notebook: nbformat.NotebookNode) -> list[str]:
    """What each cell of code ends with, as text."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        output.data["text/plain"]
        for cell in cells
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]


def test_the_tour_runs_and_shows_what_it_kept(tmp_path: Path) -> None:
    kept, notebook = (nbformat.read(TOUR, as_version=4) for _ in range(2))
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert len(shown(notebook)) == len(cells) == len(shown(kept))
    assert [text.split("(")[0] for text in shown(notebook)] == [text.split("(")[0] for text in shown(kept)]
    assert (
        sum(
            "text/html" in output.get("data", {})
            for cell in notebook.cells
            for output in cell.get("outputs", [])
        )
        >= 5
    )

"""The pages of the app: which there are, and how one is rendered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.responses import Response

from interp.monitor.bench import Bench
from interp.render.html import environment
from interp.subject.folder import count_parameters

PAGES = (
    ("monitor", "Monitor"),
    ("features", "Features"),
    ("compare", "Compare"),
    ("lens", "Lens"),
    ("circuits", "Circuits"),
    ("vectors", "Vectors"),
    ("elicit", "Elicit"),
    ("runs", "Runs"),
)
"""The address of each page under /, and its name."""
_TEMPLATES = Path(__file__).parent / "templates"


class Pages:
    """Renders pages about one model; `chat` is whether it has a template for chats."""

    def __init__(self, bench: Bench, chat: bool) -> None:
        subject, knowledge = bench.subject, bench.knowledge
        self._values: Mapping[str, Any] = {
            "pages": PAGES,
            "subject": subject,
            "parameters": count_parameters(subject.info.folder),
            "chat": chat,
            "spaces": list(bench.spaces),
            "described": knowledge.n_described,
        }

    def answer(self, here: str, template: str = "", **values: Any) -> Response:
        """Renders the page `here` of `PAGES`, or another template that belongs to it."""
        text = environment((_TEMPLATES,)).get_template(f"{template or here}.html")
        known = {"here": here, "title": dict(PAGES)[here], **self._values, **values}
        return Response(text.render(**known), media_type="text/html")

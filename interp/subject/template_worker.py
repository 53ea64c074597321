"""The process that renders chat templates, one conversation a line: see `interp.subject.template`.

It is run as a script and imports nothing of `interp`, so that it starts in a second.
"""

import json
import sys
from typing import Any

MEMORY = 2 * 2**30
"""Memory limit of the process in bytes, where the system supports one."""


def main() -> None:
    """Answers requests on standard input until it ends; requests and answers are lines of JSON."""
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit_memory()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), render_jinja_template)), flush=True)


def _answer(request: dict[str, Any], render: Any) -> dict[str, str]:
    most = request.pop("most")
    try:
        rendered, _ = render(**request)
    except (RecursionError, MemoryError, OverflowError) as error:
        return {"too_much": f"{type(error).__name__} while it is rendered"}
    except Exception as error:  # a template may raise anything, jinja2.TemplateError most of all
        return {"refused": f"{type(error).__name__}: {error}"[:2000]}
    text: str = rendered[0]
    return {"too_much": f"it writes {len(text):,} characters"} if len(text) > most else {"text": text}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))


if __name__ == "__main__":
    main()

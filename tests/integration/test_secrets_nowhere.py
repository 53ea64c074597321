"""A run whose server gives its key back in every answer: it is in no file, page, log, W&B or terminal."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from typer.testing import CliRunner

from interp.cli import app
from tests.describer import answer
from tests.endpoint_server import Script, answers, refusal, serving

KEY = "sk-live/7f31c0ffee99+me"
PASSWORD = "pg/5eaf00d5eaf00d"
FORMS = (
    KEY, KEY[:15], quote(KEY, safe=""), json.dumps(KEY)[1:-1].replace("/", r"\/"), KEY.encode().hex(),
    base64.b64encode(KEY.encode()).decode()[:24], "7f31c0ffee99", PASSWORD, "5eaf00d5eaf00d",
)  # fmt: skip
SMALL = (
    "corpus.documents=120", "mining.context_size=64", "neurons=[3]", "sae=null", "sample=2", "samples=1",
    "scoring.random_windows=4", "scoring.texts=4", "scoring.nulls=1", "features_at_once=2",
    "explainers=[{kind: prompted}]", "simulator={kind: structured}", "judges=[{kind: endpoint}]",
    "summarise_by=main", "wandb.mode=offline", "scoring.prompts=0",
)  # fmt: skip


def _with_the_key(body: dict[str, Any]) -> str:
    """Answers of the right form with the key in them, also as escapes and in base 64."""
    system, question = (body["messages"][place]["content"] for place in (0, -1))
    if "[DESCRIPTION]" in system:
        return f"[DESCRIPTION]: words with {KEY} {quote(KEY)} {base64.b64encode(KEY.encode()).decode()}"
    if '"summaries"' in system:
        escaped = "".join(f"\\u{ord(one):04x}" for one in KEY)
        return json.dumps({"summaries": ["@"] * len(question.splitlines())}).replace("@", escaped)
    return answer(body)


def test_a_key_that_is_given_back_in_every_answer_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    shown = []

    def interp(*arguments: str) -> int:
        found = CliRunner().invoke(app, [*arguments, "--runs-dir", str(tmp_path)])
        shown.append(found.output + repr(found.exception))
        return found.exit_code

    with serving(Script(answer=_with_the_key)) as script:
        script.then(refusal(503, f"busy {KEY}"), answers(error=f"{KEY} {quote(KEY)}"))
        endpoint = f"endpoints={{main: {{model: scripted, base_url: '{script.url}'}}}}"
        url = f"store.where=postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:9/db"
        pasted = endpoint.replace("scripted,", f"scripted, api_key_env: {KEY},")
        keyed = endpoint.replace("/v1", f"/v1?key={KEY}")
        for wrong in (url, pasted, keyed):
            assert interp("run", "configs/describe.yaml", *SMALL, endpoint, wrong) == 2
        assert list(tmp_path.iterdir()) == []
        script.acts.appendleft(refusal(400, f"no {KEY}"))
        assert interp("run", "configs/describe.yaml", *SMALL, endpoint) == 2
        assert interp("run", "configs/describe.yaml", *SMALL, endpoint) == 0
    for command in ("show", "cost"):
        assert interp(command, "describe") == 0
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    names = {file.name for file in files}
    assert {"config.yaml", "manifest.json", "llm_answers.sqlite", "report.html", "store.sqlite"} <= names
    assert any(name.endswith(".wandb") for name in names)
    assert any(b"***" in file.read_bytes() for file in files if file.name == "store.sqlite")
    texts = [*((str(file), file.read_bytes()) for file in files), ("the terminal", "".join(shown).encode())]
    assert [(name, form) for name, content in texts for form in FORMS if form.encode() in content] == []

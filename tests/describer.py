"""The answers of a scripted model that describes, simulates, judges and shortens."""

import json
import re
from typing import Any


def answer(body: dict[str, Any]) -> str:
    """An answer of the right form to whatever `describe` asks: that "e" matters, wherever it is."""
    system, question = body["messages"][0]["content"], body["messages"][-1]["content"]
    if "[DESCRIPTION]" in system:
        return f"[DESCRIPTION]: words with e <b>{body.get('seed', 0)}</b>"
    if '"activations"' in system:
        texts = [json.loads(text) for text in re.findall(r"tokens\): (\[.*\])", question)]
        return json.dumps({"activations": [[5 * ("e" in piece) for piece in text] for text in texts]})
    if '"summaries"' in system:
        return json.dumps({"summaries": ["words with e"] * len(question.splitlines())})
    texts = re.findall(r"^Text \d+: (.*)$", question, re.MULTILINE)
    return json.dumps({"ratings": [10 * ("e" in text) for text in texts]})

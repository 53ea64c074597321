"""`interp generate`: what a model writes, and what it writes when it is steered."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import get_args

from interp.errors import UserError
from interp.intervene.positions import Named
from interp.subject import load
from interp.subject.forward import Intervention
from interp.subject.load import BackendName
from interp.vectors.file import parse_use
from interp.vectors.use import interventions_of, subject_of


def generate(
    prompt: str,
    name: str,
    vectors: Sequence[str],
    positions: str | None,
    chat: bool,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    backend: str,
) -> Iterator[str]:
    """The continuation, one line; with vectors two, the unchanged model's first.

    Says so on standard error where vectors were made for another model.

    Raises:
        UserError: the model, a vector, a position or the prompt cannot be used, or the logits overflow.
    """
    if backend not in get_args(BackendName):
        raise UserError(f"there is no backend {backend!r}", "--backend", "use hooked or bridge")
    where: Named | None = next((name for name in get_args(Named) if name == positions), None)
    if positions is not None and where is None:
        known = ", ".join(get_args(Named))
        raise UserError(f"{positions!r} names no positions", "--positions", f"use {known}")
    used = [parse_use(text) for text in vectors]
    for path, _ in used:
        if not path.is_file():
            raise UserError(f"no file {path}", "--vector", "give a .safetensors file of vectors")
    subject = load(name, backend=backend)
    tokens = subject.chat([{"role": "user", "content": prompt}]) if chat else subject.to_tokens(prompt)
    edits: list[Intervention] = []
    for path, strength in used:
        edits += interventions_of(path, subject, strength, where)
        if (made_for := subject_of(path)) != subject.name:
            print(f"note: {path} was made for {made_for}, not for {subject.name}", file=sys.stderr)

    def written() -> str:
        return subject.generate(tokens, max_new_tokens, temperature, seed)

    if not edits:
        yield written()
        return
    with subject.intervene(*edits):
        if not math.isfinite(float(subject.logits(tokens)[0, -1].float().sum())):
            raise UserError("the logits overflow", f"--vector {' '.join(vectors)}", "use a smaller strength")
        steered = written()
    yield f"unchanged: {written()}"
    yield f"steered:   {steered}"

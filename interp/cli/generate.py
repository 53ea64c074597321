"""`interp generate`: what a model writes, and what it writes when it is steered."""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from interp.cli.explained import explained
from interp.cli.terminal import say
from interp.errors import UserError, quoted

if TYPE_CHECKING:
    from interp.intervene.positions import Named
    from interp.subject import Subject
    from interp.subject.forward import Intervention


def generate(
    prompt: Annotated[str, typer.Argument(help="The text to continue; with --chat, what the user says.")],
    model: Annotated[
        str,
        typer.Option(
            "--subject", "-m", help="A bundled name, gemma-3-270m, a folder, a GGUF file or a hub name."
        ),
    ] = "world",
    vector: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[=STRENGTH]", help="Steer with saved vectors; may be repeated."),
    ] = None,
    positions: Annotated[
        str | None, typer.Option(help="Where they act: all, prompt, generated, last or steps.")
    ] = None,
    check_model: Annotated[
        bool, typer.Option("--check-model/--no-check-model", help="Refuse vectors of another model.")
    ] = True,
    chat: Annotated[bool, typer.Option("--chat", help="Put the chat template around the prompt.")] = False,
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, help="How many tokens at most.")] = 20,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of sampling.")] = 0,
    backend: Annotated[str, typer.Option(help="auto, hooked or bridge.")] = "auto",
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Refuse a model that a library computes otherwise.")
    ] = True,
) -> None:
    """Continue a prompt, as the model is and as vectors make it."""
    with explained():
        from interp.fields import Count, NotNegative, Seed, taken
        from interp.intervene.positions import Named
        from interp.subject import load
        from interp.subject.load import BackendName

        if backend not in get_args(BackendName):
            raise UserError(
                f"there is no backend {quoted(backend)}", "--backend", "use auto, hooked or bridge"
            )
        where: Named | None = next((name for name in get_args(Named) if name == positions), None)
        if positions is not None and where is None:
            known = ", ".join(get_args(Named))
            raise UserError(f"{quoted(positions)} names no positions", "--positions", f"use {known}")
        taken(NotNegative, temperature, "--temperature")
        taken(Seed, seed, "--seed")
        taken(Count, tokens, "--tokens")
        _check_files(vector or [])
        subject = load(model, backend=backend, check=check)
        messages = [{"role": "user", "content": prompt}]
        asked = subject.chat(messages) if chat else prompt

        def written() -> str:
            return subject.generate(asked, tokens, temperature, seed)

        if not vector:
            say(written())
            return
        with subject.intervene(*_edits(subject, vector, where, check_model)):
            steered = written()
        say(f"unchanged: {written()}")
        say(f"steered:   {steered}")


def _check_files(vectors: Sequence[str]) -> None:
    from interp.vectors.file import parse_use

    for text in vectors:
        path, _ = parse_use(text)
        if not os.path.isfile(path):
            raise UserError(f"no file {path}", "--vector", "give a .safetensors file of vectors")


def _edits(
    subject: "Subject", vectors: Sequence[str], where: "Named | None", check_model: bool
) -> Iterator["Intervention"]:
    """The interventions that the vectors' files describe."""
    from interp.vectors.file import interventions_of, parse_use

    for text in vectors:
        path, strength = parse_use(text)
        yield from interventions_of(path, subject, strength, where, check_model)

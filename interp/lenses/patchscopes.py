"""Patchscopes (Ghandeharioun et al. 2024, arXiv 2401.06102): a model says what an activation holds.

The activation takes the place of a placeholder in a target prompt. Attribute extraction (section 4.2) is
held against a logistic probe: the source sentence does not ask for the attribute, the target prompt does.
"""

from importlib.resources import files
from typing import Literal

import numpy as np
import yaml
from jaxtyping import Bool

from interp.errors import UserError
from interp.fields import Count, Section, Text, Word
from interp.lenses.answers import Answers
from interp.lenses.patch import Patch
from interp.lenses.prompt import Prompt, check_length, check_ordinary, placeholder_at, prompt_at
from interp.lenses.prompt_batches import patched_continuations
from interp.lenses.relations import Relation, filled
from interp.lenses.residual_stream import EMBEDDING, read_stream, stream_site, stream_sites
from interp.subject.subject import Subject

Named = Literal["world", "published"]


class TargetPrompts(Section):
    """Target prompts; a vector replaces the activation at the last occurrence of `placeholder` in each."""

    placeholder: Word
    """One token that means nothing by itself."""
    identity: Text
    """Shows items that are repeated, and asks for the placeholder's."""
    description: Text
    """Shows items that are described, and asks for the placeholder's."""
    next_token: Text
    """Ends with the placeholder: what comes next is read off at once."""
    new_tokens: Count = 20
    """Length of a description, in tokens."""

    def prompt(self, subject: Subject, text: str, new_tokens: int = 0) -> Prompt:
        """A target prompt with the position of its placeholder.

        Raises:
            UserError: as `placeholder_at`, or the text and `new_tokens` more do not fit the context.
        """
        check_length(subject, subject.encode(text), text, new_tokens)
        return placeholder_at(subject, text, self.placeholder)


def open_target_prompts(named: Named | TargetPrompts) -> TargetPrompts:
    """Reads the target prompts of a name: of the bundled world, or the published ones."""
    if isinstance(named, TargetPrompts):
        return named
    data = (files("interp.lenses") / "target_prompts.yaml").read_text(encoding="utf-8")
    return TargetPrompts(**yaml.safe_load(data)[named])


def check_target_prompts(named: Named | TargetPrompts) -> None:
    """Raises UserError if a prompt does not contain the placeholder."""
    scopes = open_target_prompts(named)
    for name in ("identity", "description", "next_token"):
        if scopes.placeholder not in getattr(scopes, name):
            raise UserError(
                f"it does not hold {scopes.placeholder!r}", f"scopes.{name}", "write the placeholder"
            )


def patchscope(
    subject: Subject,
    text: str,
    span: str,
    layer: int,
    target: str,
    placeholder: str,
    *,
    into: int | None = None,
    new_tokens: int = 20,
) -> str:
    """Generates what the subject says of an activation put in place of a target prompt's placeholder.

    Args:
        subject: The model.
        text: The source prompt.
        span: Words of it; the activation at the last of their tokens is read.
        layer: The layer that it is read after; -1 is the embedding.
        target: The target prompt.
        placeholder: One token of it; the activation is put in at its last occurrence.
        into: The layer that it is put in after; the same as `layer` by default.
        new_tokens: Tokens to generate.

    Raises:
        UserError: as `prompt_at` and `placeholder_at`, there is no such layer, or the context is too short.
    """
    into = layer if into is None else into
    for asked in (layer, into):
        if asked not in stream_sites(subject):
            raise UserError(
                f"{subject.name} has no layer {asked}",
                "patchscope",
                f"use {EMBEDDING} (the embedding) to {subject.n_layers - 1}",
            )
    check_length(subject, subject.encode(target), target, new_tokens)
    vectors = read_stream(subject, [prompt_at(subject, text, span)])[layer]
    held = Patch(stream_site(into), vectors, rescaled=into == EMBEDDING)
    return patched_continuations(subject, [placeholder_at(subject, target, placeholder)], new_tokens, held)[0]


def source_prompts(subject: Subject, relation: Relation, template: str) -> list[Prompt]:
    """Puts each subject of a relation into a sentence that does not ask for its object, at the template's {}.

    Raises:
        UserError: a token extends past the subject's end, or is a special token.
    """
    found = [prompt_at(subject, filled(template, name), name) for name, _ in relation.samples]
    for prompt in found:
        check_ordinary(subject, prompt)
    return found


def target_prompt(subject: Subject, relation: Relation, placeholder: str) -> Prompt:
    """Asks the relation of a placeholder, at the placeholder; raises UserError as `placeholder_at` does."""
    return placeholder_at(subject, relation.ask(placeholder), placeholder)


def known(subject: Subject, relation: Relation, answers: Answers) -> Bool[np.ndarray, " sample"]:
    """Which samples the subject answers correctly when asked directly."""
    return answers.right(subject, [prompt_at(subject, relation.ask(name)) for name, _ in relation.samples])

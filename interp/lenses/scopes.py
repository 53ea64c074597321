"""The target prompts of patchscopes: what makes a model say what an activation holds."""

from importlib.resources import files
from typing import Literal

import yaml

from interp.errors import UserError
from interp.fields import Count, Section, Text, Word
from interp.lenses.prompt import Prompt, check_length, placeholder_at
from interp.subject.subject import Subject

Named = Literal["world", "published"]


class Scopes(Section):
    """Target prompts; the last occurrence of `placeholder` in each is what a vector takes the place of."""

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
            UserError: as `placeholder_at`, or the text and what is to be written behind it do not fit the
            context.
        """
        check_length(subject, subject.encode(text), text, new_tokens)
        return placeholder_at(subject, text, self.placeholder)


def open_scopes(named: Named | Scopes) -> Scopes:
    """Target prompts by name: those of the bundled world, or the published ones."""
    if isinstance(named, Scopes):
        return named
    data = (files("interp.lenses") / "data" / "scopes.yaml").read_text(encoding="utf-8")
    return Scopes(**yaml.safe_load(data)[named])


def check_scopes(named: Named | Scopes) -> None:
    """Raises UserError if a prompt does not hold the placeholder."""
    scopes = open_scopes(named)
    for name in ("identity", "description", "next_token"):
        if scopes.placeholder not in getattr(scopes, name):
            raise UserError(
                f"it does not hold {scopes.placeholder!r}", f"scopes.{name}", "write the placeholder"
            )

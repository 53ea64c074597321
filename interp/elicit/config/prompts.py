"""The config sections of prompt distributions."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from interp.elicit.prompts import ListedPrompts, PromptDistribution, TemplatePrompts
from interp.elicit.target import Target
from interp.elicit.world_prompts import MOST_SLOTS, WorldTurns, world_templates
from interp.errors import UserError
from interp.fields import CountOrZero, FilePath, Flag, Line, Listed, Name, NonEmpty, Section, Text
from interp.lines import json_lines, text_lines
from interp.subject.folder import SubjectInfo

_FIX = 'write {"prompt": ...} on each line'


class _PromptSource(Section):
    def check(self, info: SubjectInfo) -> None:
        """Raises UserError if it names something that is not there, or does not fit the model."""


class ListedSource(_PromptSource):
    """Prompts from a list, each as likely as any other."""

    kind: Literal["listed"]
    prompts: Listed[Text] = ()
    """The prompts."""
    path: FilePath | None = None
    """Or a .txt file with one a line, or .jsonl with a "prompt" in each."""

    def check(self, info: SubjectInfo) -> None:
        """Raises UserError if there is no prompt."""
        self.open()

    def open(self) -> PromptDistribution:
        """The prompts of the list and of the file.

        Raises:
            UserError: there is none, or the file cannot be read.
        """
        found = (*self.prompts, *(() if self.path is None else _read(self.path)))
        if not found:
            raise UserError("there is no prompt", "prompts", "give prompts or a path")
        name = f"{len(found)} listed prompts" if self.path is None else self.path.name
        return ListedPrompts(found, name)


class TemplatesSource(_PromptSource):
    """Templates whose slots, written {name}, are filled at random."""

    kind: Literal["templates"]
    templates: NonEmpty[Text]
    """The templates."""
    slots: dict[Name, NonEmpty[Line] | FilePath] = Field(default_factory=dict)
    """What each slot is filled with: a list, or a .txt file with an entry a line."""

    def check(self, info: SubjectInfo) -> None:
        """Raises UserError if a slot has nothing to be filled with."""
        self.open()

    def open(self) -> TemplatePrompts:
        """The templates.

        Raises:
            UserError: a slot has nothing to be filled with, or its file cannot be read.
        """
        slots = {
            name: tuple(_read(words)) if isinstance(words, Path) else words
            for name, words in self.slots.items()
        }
        return TemplatePrompts(self.templates, slots, f"{len(self.templates)} templates")


class WorldSource(_PromptSource):
    """Requests of the bundled world's chat, with words of its vocabulary inserted at random places."""

    kind: Literal["world"]
    inserted: CountOrZero = 2
    """How many words."""
    written_out: Flag = False
    """Whether they are templates, which can evolve, with the same words: for at most two inserted words."""

    def check(self, info: SubjectInfo) -> None:
        """Raises UserError if the model does not speak the world's language, or has too many templates."""
        if not info.speaks_world:
            raise UserError(
                f"{info.name} has another vocabulary than the world", "prompts", "use listed or templates"
            )
        if self.written_out:
            world_templates(self.inserted)

    def open(self) -> PromptDistribution:
        """The prompts."""
        return world_templates(self.inserted) if self.written_out else WorldTurns(self.inserted)


PromptSource = Annotated[ListedSource | TemplatesSource | WorldSource, Field(discriminator="kind")]


def as_templates(source: "ListedSource | TemplatesSource | WorldSource") -> TemplatePrompts:
    """What evolves: the templates of a source, or its listed prompts as templates without slots.

    Raises:
        UserError: as the source's `open`.
    """
    if isinstance(source, WorldSource):
        return world_templates(min(source.inserted, MOST_SLOTS))
    opened = source.open()
    if isinstance(opened, TemplatePrompts):
        return opened
    assert isinstance(opened, ListedPrompts)
    return TemplatePrompts(
        tuple(one.replace("{", "").replace("}", "") for one in opened.prompts), {}, opened.label
    )


def check_askable(target: Target, prompts: PromptDistribution, drawn: list[str]) -> None:
    """Raises UserError if the model can be asked none of some prompts that were drawn; says why not."""
    if not any(target.takes(prompt) for prompt in drawn):
        target.ids(drawn[0])
        raise UserError(
            f"no prompt of {prompts.name} leaves room for a reply in the context of {target.subject.n_ctx}",
            "prompts",
            "use shorter prompts, or fewer frame.new_tokens",
        )


def _read(path: Path) -> list[str]:
    if path.suffix != ".jsonl":
        return [text for _, text in text_lines(path)]
    found = []
    for values, place in json_lines(path, _FIX):
        if not isinstance(values.get("prompt"), str):
            raise UserError("there is no prompt in the line", place, _FIX)
        found.append(values["prompt"])
    return found

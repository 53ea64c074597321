"""Entities in sentences, with the words that a patchscope should describe them by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from interp.bundled.world.facts import facts
from interp.errors import UserError
from interp.fields import Count, FilePath, NonEmpty
from interp.lenses.item_source import ItemFile, WorldItems
from interp.lenses.patchscopes import TargetPrompts
from interp.lenses.prompt import Prompt, check_ordinary, prompt_at
from interp.lenses.relations import FILLER
from interp.lines import json_lines
from interp.statistics.splits import evenly_spaced
from interp.subject.subject import Subject

Group = Literal["country", "performer", "capital", "album", "bridge"]


@dataclass(frozen=True)
class Entity:
    """A sentence at its entity's last token, the entity's name, and words: a right description has one."""

    prompt: Prompt
    name: tuple[str, ...]
    described: tuple[str, ...]
    group: str


class WorldEntities(WorldItems):
    """Entities of the bundled world."""

    groups: NonEmpty[Group] = get_args(Group)
    """country (described by its capital), performer and capital (by the country), album (by the performer),
    bridge (read at an album in a two-hop question: its performer, described by the country)."""
    most: Count = Field(60, ge=4)
    """At most so many of a group."""

    def open(self, subject: Subject, shown: TargetPrompts) -> list[Entity]:
        """Returns entities that the target prompts do not name; raises UserError for another model."""
        self.check(subject.info, "entities")
        return [entity for group in self.groups for entity in _of_world(group, self.most, subject, shown)]


class EntityFile(ItemFile):
    """Your own entities."""

    path: FilePath
    """A .jsonl file; each line has "prompt", "entity" (words of it), "description" (a list) and "group"."""

    def open(self, subject: Subject, shown: TargetPrompts) -> list[Entity]:
        """Reads the entities; raises UserError for a line that cannot be used (says which, and why)."""
        return _read(self.path, subject)


EntitySource = Annotated[WorldEntities | EntityFile, Field(discriminator="kind")]


def _of_world(group: str, most: int, subject: Subject, scopes: TargetPrompts) -> list[Entity]:
    world = facts()
    relations = world.relations
    shown = {word for text in (scopes.identity, scopes.description) for word in text.split()}
    names, template, answer, described = {
        "country": (world.countries, "the language of {}", {}, relations["capital"]),
        "performer": (world.performers, "the spouse of {}", {}, relations["country"]),
        "capital": (world.capitals, "the doctor cooked near {}", {}, relations["country"]),
        "album": (world.albums, "the performer of {}", {}, relations["performer"]),
        "bridge": (
            world.albums,
            "the spouse of the performer of {}",
            relations["performer"],
            {album: relations["country"][who] for album, who in relations["performer"].items()},
        ),
    }[group]
    found = []
    for name in names:
        said = answer.get(name, name)
        if shown.isdisjoint((*name.split(), *said.split(), *described[name].split())):
            text = f"{template.format(name)}{FILLER} is"
            found.append(Entity(prompt_at(subject, text, name), (said,), (described[name],), group))
    return evenly_spaced(found, most)


def _read(path: Path, subject: Subject) -> list[Entity]:
    found = []
    fix = 'write {"prompt": ..., "entity": ..., "description": [...]}'
    for row, place in json_lines(path, fix):
        text, name = row.get("prompt"), row.get("entity")
        if not isinstance(text, str) or not isinstance(name, str):
            raise UserError("a prompt or an entity is missing", place, fix)
        prompt = prompt_at(subject, text, name)
        check_ordinary(subject, prompt)
        found.append(Entity(prompt, (name,), _words(row.get("description", [])), str(row.get("group", ""))))
    if not found:
        raise UserError("there is no entity", str(path), "write one a line")
    return found


def _words(words: Any) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(map(str, words))

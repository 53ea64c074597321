"""Items for the thinking language: a prompt whose answer is a word, and that word in every language.

After Wendler et al. 2024, Do Llamas Work in English? (arXiv 2402.10588): translating between two languages
that are not English, do middle layers expect the English word?
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from interp.bundled.world.draft import read_templates
from interp.bundled.world.families.sentences import translation_slots
from interp.bundled.world.lexicon import lexicon
from interp.corpus.first_token import ToldApart
from interp.errors import UserError
from interp.fields import Count, CountOrZero, FilePath, NonEmpty, Text, Word
from interp.lenses.answers import first_tokens
from interp.lenses.item_source import ItemFile, JsonLinesFile, WorldItems
from interp.lenses.prompt import Prompt, prompt_at
from interp.lines import json_lines
from interp.statistics.splits import evenly_spaced
from interp.subject.folder import SubjectInfo
from interp.subject.subject import Subject
from interp.vectors.tasks import TaskFormat


@dataclass(frozen=True)
class LanguageItem:
    """A prompt to be answered in one language, and the first tokens of the answer in every language.

    `words` maps each language to the tokens that can begin the word in it. Items of one `group` have the same
    source and target language.
    """

    prompt: Prompt
    source: Prompt
    words: dict[str, frozenset[int]]
    group: str


class WorldTranslations(WorldItems):
    """Words of the bundled world, translated from one language to another."""

    directions: NonEmpty[tuple[Word, Word]] = (("zorvic", "tamric"), ("tamric", "zorvic"))
    """Pairs of source and target language."""
    most: Count = Field(200, ge=4)
    """At most so many words."""

    def check(self, model: SubjectInfo, field: str = "words") -> None:
        """Raises UserError if another model is asked, or the world has no such language."""
        super().check(model, field)
        for language in {name for direction in self.directions for name in direction}:
            if language not in lexicon().languages:
                known = ", ".join(lexicon().languages)
                raise UserError(
                    f"the world has no language {language!r}", f"{field}.directions", f"use {known}"
                )

    def open(self, subject: Subject) -> list[LanguageItem]:
        """Returns the items; raises UserError as `check` does."""
        self.check(subject.info)
        languages = lexicon().languages
        template = read_templates()["translation"]["word"].partition("*{answer}")[0].strip()
        found = []
        for start, end in self.directions:
            for word in evenly_spaced(lexicon().content, self.most):
                text = template.format(**translation_slots(word, start, end))
                words = {name: _first(subject, dictionary[word]) for name, dictionary in languages.items()}
                prompt = prompt_at(subject, text)
                source_word = prompt_at(subject, text, languages[start][word])
                found.append(LanguageItem(prompt, source_word, words, f"{start} to {end}"))
        return found


class TranslationFile(ItemFile):
    """Your own prompts."""

    path: FilePath
    """A .jsonl file; each line has "prompt", "source" (the word in it), "words" by language, and "group"."""

    def open(self, subject: Subject) -> list[LanguageItem]:
        """Reads the items; raises UserError for a line that cannot be used (says which, and why)."""
        return _read(self.path, subject)


class WordFile(JsonLinesFile):
    """Your own words in several languages, asked for after a few other words and their translations."""

    kind: Literal["words"] = "words"
    path: FilePath
    """A .jsonl file; each line has a word in every language, by the name that prompts have for the language:
    {"English": "water", "Deutsch": "Wasser", ...}."""
    directions: NonEmpty[tuple[Word, Word]]
    """Pairs of source and target language."""
    pair: Text = '{source}: "{question}" - {target}: "{answer}"'
    """One translation; the prompt of a word ends before {answer}."""
    separator: Text = "\n"
    """Stands between two translations."""
    shots: CountOrZero = 4
    """Number of other words, drawn for each, that are shown first with their translations (the paper: 4)."""

    def check(self, model: SubjectInfo, field: str = "words") -> None:
        """Raises UserError if there is no such file, or the layout lacks {question} or {answer}."""
        super().check(model, field)
        if re.findall(r"\{(?:question|answer)\}", self.pair) != ["{question}", "{answer}"]:
            raise UserError(
                "the layout needs {question} and then {answer}, each once",
                f"{field}.pair",
                """write it as in '{source}: "{question}" - {target}: "{answer}"'""",
            )

    def open(self, subject: Subject) -> list[LanguageItem]:
        """Makes an item of each word and direction; raises UserError for a line that cannot be used."""
        self.check(subject.info)
        rows = _read_words(self.path)
        missing = [name for pair in self.directions for name in pair if name not in rows[0]]
        if missing:
            raise UserError(
                f"the file has no word in {missing[0]!r}", "words.directions", f"use {', '.join(rows[0])}"
            )
        if len(rows) <= self.shots:
            raise UserError(
                f"{len(rows)} words are too few to show {self.shots} others", "words.shots", "show fewer"
            )
        first = [{name: _first(subject, word) for name, word in row.items()} for row in rows]
        found = []
        for start, end in self.directions:
            layout = self.pair.replace("{source}", start).replace("{target}", end)
            form = TaskFormat(pair=layout, separator=self.separator)
            for row, words in zip(rows, first, strict=True):
                others = Random(f"{start} {end} {row[start]}").sample(
                    [r for r in rows if r is not row], self.shots
                )
                text = form.prompt([(other[start], other[end]) for other in others], row[start])
                asked = layout.partition("{question}")[0] + row[start]
                found.append(
                    LanguageItem(
                        prompt_at(subject, text), prompt_at(subject, text, asked), words, f"{start} to {end}"
                    )
                )
        return found


TranslationSource = Annotated[WorldTranslations | TranslationFile | WordFile, Field(discriminator="kind")]
_WORDS = 'write {"English": "water", "Deutsch": "Wasser", ...}'
_FIX = 'write {"prompt": ..., "source": ..., "words": {"english": ..., ...}, "group": ...}'


def _read(path: Path, subject: Subject) -> list[LanguageItem]:
    found = []
    for row, place in json_lines(path, _FIX):
        text, source, words = (row.get(name) for name in ("prompt", "source", "words"))
        if not isinstance(text, str) or not isinstance(source, str) or not isinstance(words, dict):
            raise UserError("a prompt, its source word or its words are missing", place, _FIX)
        found.append(
            LanguageItem(
                prompt_at(subject, text),
                prompt_at(subject, text, source),
                {str(language): _first(subject, str(word)) for language, word in words.items()},
                str(row.get("group", "")),
            )
        )
    if not found:
        raise UserError("there is no item", str(path), "write one a line")
    if len({tuple(sorted(item.words)) for item in found}) > 1:
        raise UserError("not every line has the same languages", str(path), "give each word in all of them")
    return found


def _read_words(path: Path) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for row, place in json_lines(path, _WORDS):
        if not row or not all(isinstance(word, str) and word.strip() for word in row.values()):
            raise UserError("a language has no word", place, _WORDS)
        if found and set(row) != set(found[0]):
            raise UserError("the languages are not those of the first line", place, "give each word in all")
        found.append({language: str(word) for language, word in row.items()})
    if not found:
        raise UserError("there is no word", str(path), "write one a line")
    return found


def told_apart_in(items: Sequence[LanguageItem]) -> ToldApart:
    """Leaves out items whose word begins with one token in two languages, or with an uninformative token.

    Where the English word and the answer begin alike, no layer can show which of them is meant.
    """
    empty, alike = [], []
    for place, item in enumerate(items):
        tokens = [token for own in item.words.values() for token in own]
        if not all(item.words.values()):
            empty.append(place)
        elif len(set(tokens)) < len(tokens):
            alike.append(place)
    notes = [
        f"{len(places)} of {len(items)} words are left out: {why}."
        for places, why in (
            (empty, "in one of the languages they begin with a token that says nothing"),
            (alike, "they begin with the same token in two of the languages"),
        )
        if places
    ]
    left_out = {*empty, *alike}
    return ToldApart(tuple(place for place in range(len(items)) if place not in left_out), tuple(notes))


def shuffled_items(items: Sequence[LanguageItem], seed: int) -> list[LanguageItem]:
    """Replaces each item by another of its group (by itself if it is alone): the control."""
    random = Random(seed)
    found = list(items)
    for group in dict.fromkeys(item.group for item in items):
        places = [place for place, item in enumerate(items) if item.group == group]
        order = places.copy()
        random.shuffle(order)
        for own, other in zip(order, order[1:] + order[:1], strict=True):
            found[own] = items[other]
    return found


def _first(subject: Subject, word: str) -> frozenset[int]:
    return frozenset(first_tokens(subject, word))

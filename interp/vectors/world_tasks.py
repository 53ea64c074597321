"""Tasks of the bundled world by name: mappings, facts, lists, and compositions of two of them."""

from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from interp.bundled.world.facts import COUNTRY_RELATIONS, facts
from interp.bundled.world.families.tasks import ENDS, MAPPINGS
from interp.bundled.world.lexicon import lexicon
from interp.errors import UserError

LISTS = 200  # lists of three words, for each task about lists


class WorldTask(NamedTuple):
    """The layout of an example (`pair`), what separates two, and the mapping of questions to answers."""

    pair: str
    separator: str
    examples: Mapping[str, str]


def world_task(name: str) -> WorldTask:
    """Makes a task of the world by name.

    - a mapping such as `capital`: "france : paris , ...";
    - `A+B`, a composition in the same layout: the answer is B of A of the question;
    - `fact/capital`: "the capital of france is paris . ...";
    - `fact/capital>language`: asked as the first relation, answered as the second;
    - `list/first`: "list first : lake rain spoon = lake", `list_capital/first`: of countries, answered by the
      capital; `list_capital/first>last`: asked for the first, answered by that of the last.

    Raises:
        UserError: there is no such task.
    """
    family, _, rest = name.partition("/")
    asked, _, answered = rest.partition(">")
    answered = answered or asked
    if name in MAPPINGS:
        return WorldTask("{question} : {answer}", " , ", MAPPINGS[name])
    if "+" in name and all(part in MAPPINGS for part in name.split("+")):
        first, second = (MAPPINGS[part] for part in name.split("+"))
        both = {word: second[through] for word, through in first.items() if through in second}
        return WorldTask("{question} : {answer}", " , ", both)
    relations = facts().relations
    if family == "fact" and {asked, answered} <= set(COUNTRY_RELATIONS):
        answers = relations[answered]
        countries = {country: answers[country] for country in facts().countries}
        return WorldTask(f"the {asked} of {{question}} is {{answer}}", " . ", countries)
    if family in ("list", "list_capital") and {asked, answered} <= set(ENDS):
        words = lexicon().nouns if family == "list" else facts().countries
        random, place = Random(f"{name.partition('>')[0]}"), 0 if answered == ENDS[0] else -1
        rows = [random.sample(words, 3) for _ in range(LISTS)]
        named = {row[place]: row[place] for row in rows} if family == "list" else relations["capital"]
        examples = {" ".join(row): named[row[place]] for row in rows}
        return WorldTask(f"list {asked} : {{question}} = {{answer}}", " . ", examples)
    known = [*MAPPINGS, "A+B of these", "fact/A", "fact/A>B with A and B of " + ", ".join(COUNTRY_RELATIONS)]
    known += [f"{kind}/{end}" for kind in ("list", "list_capital") for end in ENDS]
    raise UserError(f"the world has no task {name!r}", "tasks", f"use {', '.join(known)}")

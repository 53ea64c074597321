"""`interp bench presets`: what the Monitor's stories say was found, measured again.

Stores of descriptions (by default those that come with the model) give the cards by meaning and the quantiles
that features are held at; without any, features are silenced only. For each story half of the questions
choose, the other half is reported.

- by meaning: the published rules, 500 features suppressed or 50 strengthened to half their quantile, with
  the words that do best on the choosing half;
- by attribution: the features that `Session.why` ranks highest for the wrong word rather than the right one,
  summed over the choosing half, silenced, or those for the right word, held at a part of their quantile; how
  many, and at what part, is chosen there as well;
- random: five sets of as many others of the same layers, changed alike.

Counts are of answers whose likeliest first token is the right one. With `--write` the counts and the cards
go into `interp/monitor/presets/*.yaml`; `python -m benchmarks.presets --subject gemma-3-270m` asks Gemma.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import yaml

import interp
from interp.causal.outcome import ask
from interp.corpus.questions import Question
from interp.errors import UserError
from interp.monitor.bench import Bench, Sources
from interp.monitor.presets import files
from interp.monitor.session import Session
from interp.monitor.steering import STRENGTHEN, SUPPRESS, Card, FeatureCard, about
from interp.store.bundled import is_described
from interp.yaml_text import read_yaml

from ._preset_questions import Asked, Story, gemma_stories, world_stories

DRAWS = 5
RANKED = 200
ASKED_WHY = 30
SILENCED = (5, 10, 20, 40, 80)
HELD = ((5, 0.25), (5, 0.5), (10, 0.25), (10, 0.5), (20, 0.25), (20, 0.5))


class Count(NamedTuple):
    """Right answers of `n`, and of each random set."""

    hits: int
    n: int
    random: tuple[int, ...] = ()


class Measuring:
    """One model's questions, asked under cards."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.subject = bench, bench.subject

    def askable(self, story: Story) -> Story:
        """The story without questions whose words are several tokens of this model."""

        def kept(asked: Sequence[Asked]) -> list[Asked]:
            found = []
            for one in asked:
                with suppress(UserError):
                    self._question(one)
                    found.append(one)
            return found

        beside = {name: kept(asked) for name, asked in story.beside.items()}
        return replace(story, choose=kept(story.choose), report=kept(story.report), beside=beside)

    def hits(self, asked: Sequence[Asked], cards: Sequence[Card]) -> int:
        """How many are answered right; questions that belong together count as one, right if all are."""
        questions = [self._question(one) for one in asked]
        with self.subject.intervene(*self.bench.steerer.steering(cards).edits):
            right = ask(self.subject, questions).right
        wrong = {one.together for one, ok in zip(asked, right, strict=True) if not ok}
        return len({one.together for one in asked} - wrong)

    def count(self, asked: Sequence[Asked], cards: Sequence[Card]) -> Count:
        """The right answers under cards, and under random ones in their place."""
        drawn = [self.bench.steerer.random_like(cards, seed)[0] for seed in range(DRAWS)] if cards else []
        return Count(
            self.hits(asked, cards),
            len({one.together for one in asked}),
            tuple(self.hits(asked, random) for random in drawn),
        )

    def by_meaning(self, story: Story) -> dict[str, list[Card]]:
        """The published rules, each with the words that do best on the choosing half."""
        if not self.bench.knowledge.stores:
            return {}
        rules = {
            "suppressed by meaning": [(words, *SUPPRESS) for words in story.suppress],
            "strengthened by meaning": [(words, *STRENGTHEN) for words in story.strengthen],
        }
        return {
            name: self._best(story, [[about(self.bench.knowledge, *one)] for one in of])
            for name, of in rules.items()
            if of
        }

    def by_attribution(self, story: Story) -> dict[str, list[Card]]:
        """Features for the wrong word silenced, and those for the right one strengthened."""
        total: dict[str, float] = {}
        for one in Random(0).sample(story.choose, min(ASKED_WHY, len(story.choose))):
            session = Session(self.bench)
            session.say(one.text)
            place = len(session.prompt())
            for feature in session.why(place, word=one.wrong, distractor=one.right, k=RANKED).features:
                total[feature.key] = total.get(feature.key, 0.0) + feature.value
        ranked = sorted(total, key=lambda key: -total[key])

        def card(name: str, keys: Sequence[str], strength: float) -> list[Card]:
            return [FeatureCard(name=name, features=tuple(keys), strength=strength)]

        silenced = [card(story.against, ranked[:k], 0.0) for k in SILENCED]
        found = {"silenced by attribution": self._best(story, silenced)}
        if self.bench.knowledge.stores:
            held = [card(story.toward, ranked[::-1][:k], strength) for k, strength in HELD]
            found["strengthened by attribution"] = self._best(story, held)
        return found

    def _best(self, story: Story, options: Sequence[list[Card]]) -> list[Card]:
        return max(options, key=lambda cards: self.hits(story.choose, cards))

    def _question(self, asked: Asked) -> Question:
        before = self.subject.encode(asked.text)
        right, wrong = (
            self.subject.single_token(word, "word", before) for word in (asked.right, asked.wrong)
        )
        return Question(tuple(before), ((right,),), ((wrong,),), "")


def measured(bench: Bench, story: Story) -> tuple[dict[str, Count], dict[str, list[Card]]]:
    """What was found on the reported half, by what was changed, and the cards that were chosen."""
    measuring = Measuring(bench)
    story = measuring.askable(story)
    cards = measuring.by_meaning(story) | measuring.by_attribution(story)
    found = {"unsteered": measuring.count(story.report, [])}
    found |= {name: measuring.count(asked, []) for name, asked in story.beside.items()}
    found |= {name: measuring.count(story.report, of) for name, of in cards.items()}
    found |= {
        f"{name}, {change}": measuring.count(asked, cards[change])
        for name, asked in story.beside.items()
        for change in cards
        if change.endswith("by attribution")
    }
    return found, cards


def told(name: str, found: dict[str, Count], cards: dict[str, list[Card]]) -> None:
    """Prints the counts of a story."""
    print(name)
    for what, (hits, n, random) in found.items():
        of = cards.get(what, [])
        about_it = ", ".join(
            f"{one.name!r}, {len(one.features)} at {one.strength:g}"
            for one in of
            if isinstance(one, FeatureCard)
        )
        print(
            f"  {what}: {hits} of {n}"
            + (f"; random sets: {', '.join(map(str, random))}" if random else "")
            + (f" ({about_it})" if of else ""),
            flush=True,
        )


def written(name: str, subject: str, found: dict[str, Count], cards: dict[str, list[Card]]) -> None:
    """Puts counts and cards into the file of a story: its `found` by `change`, its cards by their name."""
    for file in files():
        values: dict[str, Any] = read_yaml(file, "mend it")
        if values["name"] != name or subject not in values["subjects"]:
            continue
        by_name = {one.name: one.model_dump(mode="json") for of in cards.values() for one in of}
        for step in values["steps"]:
            step["cards"] = [by_name.get(one["name"], one) for one in step.get("cards", [])]
            for one in step.get("found", []):
                count = found[one["change"]]
                one |= {"hits": count.hits, "n": count.n, "random": list(count.random)}
        file.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=108))


def main(arguments: Sequence[str] = ()) -> None:
    """Measures all stories of a model."""
    parser = argparse.ArgumentParser(description="What the Monitor's stories say was found, measured again.")
    parser.add_argument(
        "stores", nargs="*", help="default: the descriptions that come with the model, if any"
    )
    parser.add_argument("--subject", default="world")
    parser.add_argument("--story", help="one story; default: all")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    stories = world_stories if given.subject == "world" else gemma_stories
    stores = given.stores or [name for name in (given.subject,) if is_described(name)]
    bench = Sources(stores=tuple(stores)).open(interp.load(given.subject))
    for story in (one for one in stories() if given.story in (None, one.name)):
        found, cards = measured(bench, story)
        told(story.name, found, cards)
        if given.write:
            written(story.name, given.subject, found, cards)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])

"""Evolutionary search over templates: the best prompts so far, with slots and words changed."""

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

from interp.elicit.genome import Genomes
from interp.elicit.guide import Guide
from interp.elicit.own_tokens import said_in_short
from interp.elicit.prompts import TemplatePrompts
from interp.elicit.proposal import Proposal
from interp.elicit.search import History, Try
from interp.elicit.spending import Meter
from interp.elicit.target import Target
from interp.errors import UserError
from interp.fields import Count, Fraction, NotNegative, Section

DRAWS = 200
"""Children that are tried for each that is asked for; those already asked do not count."""


class TemplateSettings(Section):
    """How templates evolve."""

    parents: Count = 16
    """Tries that have children: those of the best score, the most unusual first among equals."""
    slot_mutation: NotNegative = 1.0
    """How often one slot is filled anew, as a weight."""
    crossover: NotNegative = 1.0
    """How often two parents are joined, as a weight."""
    free_edit: NotNegative = 1.0
    """How often a word is inserted, deleted or replaced, as a weight."""
    fresh: Fraction = 0.25
    """Share of proposals that are drawn from the templates anew."""
    excess: Count = 8
    """Children made for each proposal where there is a guide, which chooses among them."""


class TemplateSearch:
    """A genetic algorithm whose genome is a filled template.

    The first round is drawn from the templates. Later ones have as parents the tries of the highest score;
    among equals, those whose words are rarest among all tries come first (the mean over its words of
    log(N / n), of N tries n with the word), so that without any success it keeps to what is new. A prompt
    that an edit has taken out of every template goes on as free words. With a guide, `excess` times as many
    children are made, and those that it scores highest are proposed.
    """

    def __init__(
        self,
        target: Target,
        templates: TemplatePrompts,
        settings: TemplateSettings | None = None,
        words: Sequence[str] = (),
        guide: Guide | None = None,
    ) -> None:
        """`words` are what free edits insert; without any, the words of the slots.

        Raises:
            UserError: no template has a slot and there are no words, the model does not know a word, or every
                way to change a prompt has weight 0.
        """
        self.target, self.templates, self.guide = target, templates, guide
        self.settings = settings or TemplateSettings()
        self._given = tuple(words)
        if not words and not any(templates.slots_of(number) for number in range(len(templates.templates))):
            raise UserError(
                "no template has a slot, and no words are given: nothing can be changed",
                templates.name,
                "write {slot} where words may change, or give words",
            )
        for word in words:
            target.reply_ids(word)
        self._weights = (self.settings.slot_mutation, self.settings.crossover, self.settings.free_edit)
        if not any(self._weights):
            raise UserError(
                "slot_mutation, crossover and free_edit are all 0",
                "settings",
                "give one of them a weight, or use random search",
            )
        self._genomes = Genomes(templates, words)

    @property
    def name(self) -> str:
        """The method, its templates, every setting, and its words and guide if it has any."""
        told = ", ".join(f"{key} {value}" for key, value in self.settings.model_dump().items())
        words = f", {said_in_short(self._given)}" if self._given else ""
        guide = f"; guide {self.guide.name}" if self.guide else ""
        return f"template search ({self.templates.name}; {told}{words}{guide})"

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Makes `n` prompts that were not asked before, or as many as it finds.

        Raises:
            Exhausted: the guide's scores do not fit the budget.
        """
        wanted = n * self.settings.excess if self.guide else n
        parents = self._parents(history)
        made: dict[str, Proposal] = {}
        for _ in range(DRAWS * wanted):
            if len(made) == wanted:
                break
            one = self._fresh(random) if self._starts_anew(parents, random) else self._child(parents, random)
            if one is None or one.prompt in made or history.has(one) or not self.target.takes(one.prompt):
                continue
            made[one.prompt] = one
        return self._chosen(list(made.values()), n)

    def _starts_anew(self, parents: Sequence[Try], random: Random) -> bool:
        return not parents or random.random() < self.settings.fresh

    def _fresh(self, random: Random) -> Proposal:
        return Proposal(self.templates.text(self.templates.draw(random)), "drawn from the templates")

    def _child(self, parents: Sequence[Try], random: Random) -> Proposal | None:
        """A child of one parent, or of two; None if the parent has none of that kind."""
        way = random.choices(("slot", "cross", "edit"), self._weights)[0]
        one = random.choice(parents)
        prompt = one.proposal.prompt
        if way == "slot":
            child = self._genomes.slot_mutated(prompt, random)
            return None if child is None else Proposal(child, "slot filled anew", (one.number,))
        if way == "edit":
            child = self._genomes.edited(prompt, random)
            return None if child is None else Proposal(child, "word edited", (one.number,))
        other = random.choice(parents)
        child = self._genomes.crossed(prompt, other.proposal.prompt, random)
        return None if child is None else Proposal(child, "crossed", (one.number, other.number))

    def _chosen(self, made: list[Proposal], n: int) -> list[Proposal]:
        if self.guide is None or len(made) <= n:
            return made
        scores = self.guide.scores([one.prompt for one in made])
        order = sorted(range(len(made)), key=lambda place: -scores[place])
        return [made[place] for place in order[:n]]

    def _parents(self, history: History) -> list[Try]:
        """The tries of the highest score, the most unusual first among equals."""
        judged = [one for one in history.tries if one.score is not None]
        words = [set(one.proposal.prompt.split()) for one in judged]
        frequency = Counter(word for each in words for word in each)
        novelty = {
            one.number: sum(math.log(len(judged) / frequency[word]) for word in each) / max(1, len(each))
            for one, each in zip(judged, words, strict=True)
        }
        best = sorted(judged, key=lambda one: (-float(one.score or 0), -novelty[one.number], one.number))
        return best[: self.settings.parents]

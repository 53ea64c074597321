"""Templates whose slots are filled with the words that bring a behaviour out, learned by cross-entropy."""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from interp.elicit.behaviour import Behaviour
from interp.elicit.prompts import Filled, TemplatePrompts
from interp.elicit.proposal import Proposal, Steer
from interp.elicit.target import Target
from interp.errors import UserError
from interp.fields import Count, Extent, OpenFraction, PositiveFraction, Seed, taken
from interp.track.journal import Journal

Number = float | int
Shares = tuple[Number, ...]


@dataclass(frozen=True)
class TiltedPrompts(TemplatePrompts):
    """The same templates and slots, drawn and filled with other probabilities.

    `template_shares` are those of the templates, `word_shares` those of each slot's words, in their order;
    slots are filled independently of one another, as before.

    Raises:
        UserError: shares are missing, are too many or too few, or make no distribution.
    """

    template_shares: Shares = ()
    word_shares: Mapping[str, Shares] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.template_shares, len(self.templates), "templates")
        for slot, words in self.slots.items():
            _check(self.word_shares.get(slot, ()), len(words), f"slot {slot}")

    def draw(self, random: Random) -> Filled:
        """Draws a template and the words in its slots."""
        (template,) = random.choices(range(len(self.templates)), self.template_shares)
        return Filled(
            template,
            tuple(
                random.choices(self.slots[slot], self.word_shares[slot])[0]
                for slot in self.slots_of(template)
            ),
        )

    @cached_property
    def _pieces(self) -> list[list[dict[str, float]]]:
        made = []
        for template, share in zip(self.templates, self.template_shares, strict=True):
            # the base class takes each template for as likely as any other
            pieces: list[dict[str, float]] = [{"": float(share * len(self.templates))}]
            for place, part in enumerate(re.split(r"\{(\w+)\}", template)):
                words = self.slots[part] if place % 2 else (part,)
                chances: dict[str, float] = {}
                for word, chance in zip(words, self.word_shares[part] if place % 2 else (1.0,), strict=True):
                    chances[word] = chances.get(word, 0.0) + float(chance)
                pieces.append(chances)
            made.append(pieces)
        return made


def uniform(prompts: TemplatePrompts) -> TiltedPrompts:
    """The same distribution, as one whose shares can be changed."""
    n = len(prompts.templates)
    words = {slot: (1 / len(words),) * len(words) for slot, words in prompts.slots.items()}
    return TiltedPrompts(prompts.templates, prompts.slots, prompts.label, (1 / n,) * n, words)


def towards(prompts: TemplatePrompts, found: Sequence[str], strength: Number = 0.8) -> TiltedPrompts:
    """Tilts slots towards the words that stand in `found`, such as prompts of a search that showed it.

    A slot's word has the share `strength` times that of the prompts found in which it stands, among the
    slot's words, and the rest of what it had. Any shares give right weights; good ones give small errors.

    Raises:
        UserError: nothing was found, or `strength` is not above 0 and below 1.
    """
    strength = taken(OpenFraction, strength, "strength")
    if not found:
        raise UserError("no prompt shows the behaviour", prompts.name, "search for longer, or leave this out")
    texts = [f" {one} " for one in found]
    start = uniform(prompts)
    words = {
        slot: np.array([sum(bool(_stands(word, text)) for text in texts) for word in own], dtype=float)
        for slot, own in prompts.slots.items()
    }
    return _moved(start, start, np.zeros(len(prompts.templates)), words, strength)


def learned(
    target: Target,
    behaviour: Behaviour,
    prompts: TemplatePrompts,
    *,
    steer: tuple[Steer, ...] = (),
    n: int = 200,
    rounds: int = 10,
    elite: Number = 0.1,
    smoothing: Number = 0.8,
    seed: int = 0,
    journal: Journal | None = None,
) -> TiltedPrompts:
    """Learns which words to prefer, by the cross-entropy method (Rubinstein 1999).

    Each of at most `rounds` rounds draws `n` prompts and replies at temperature 1, under `steer` if given,
    and takes the `elite` share of the highest scores, or all that show the behaviour once they are as many.
    The new share of a word is its share among the elite, each weighed by how likely the distribution is to
    fill the template so, over how likely it was to be filled so; mixed with what it was by `smoothing`. It
    ends once the elite all show the behaviour. A judge whose score rises on the way there is what leads to a
    behaviour that no first draw shows.

    What is drawn here is for learning alone: no estimate uses it. With a `journal` no round is run twice.

    Raises:
        Exhausted: the next round may not fit the budget.
        UserError: a direction is not known.
    """
    n, rounds = taken(Extent, n, "n"), taken(Count, rounds, "rounds")
    elite, smoothing = taken(OpenFraction, elite, "elite"), taken(PositiveFraction, smoothing, "smoothing")
    seed, journal = taken(Seed, seed, "seed"), journal or Journal()
    drawing = Target(
        target.subject,
        target.frame.model_copy(update={"temperature": 1.0}),
        target.meter,
        target.directions,
        target.batch_size,
    )
    start = now = uniform(prompts)
    identity = [target.name, behaviour.name, behaviour.judge.name, steer, n, seed]
    for number in range(rounds):
        random = Random(f"{seed} tilt {number}")
        fillings = [now.draw(random) for _ in range(n)]
        key = f"tilt {number} {_digest([*identity, now])}"
        if key not in journal.done:
            before = target.meter.spent
            texts = [now.text(one) for one in fillings]
            places = [place for place, text in enumerate(texts) if target.takes(text)]
            asked = [Proposal(texts[place], steer=steer) for place in places]
            judged = behaviour.judge.judge(drawing.ask(asked, random.randrange(2**32)))
            found = {p: list(one) for p, one in zip(places, judged, strict=True) if one is not None}
            spent = [a - b for a, b in zip(target.meter.spent, before, strict=True)]
            journal.add(key, {"judged": [found.get(place) for place in range(n)], "spent": spent})
        else:
            target.meter.spend(*journal.done[key]["spent"])
        judged_before = journal.done[key]["judged"]
        scores = np.array([-math.inf if one is None else one[0] for one in judged_before], dtype=float)
        shown = np.array([one is not None and one[1] for one in judged_before])
        enough = shown.sum() >= elite * n
        best = shown if enough else _elite(scores, elite)
        if best.any():
            now = _learned(start, now, fillings, best, smoothing)
        if enough:
            break
    return now


def _elite(scores: Float[np.ndarray, " n"], share: Number) -> Bool[np.ndarray, " n"]:
    """Those of the highest scores; of scores that are mostly the lowest, all that are above it."""
    judged = scores[scores > -math.inf]
    if not len(judged):
        return np.zeros(len(scores), dtype=bool)
    level, lowest = np.quantile(judged, 1 - share, method="lower"), judged.min()
    best: Bool[np.ndarray, " n"] = scores >= level if level > lowest else scores > lowest
    return best


def _learned(
    start: TiltedPrompts,
    now: TiltedPrompts,
    fillings: Sequence[Filled],
    best: Bool[np.ndarray, " n"],
    smoothing: Number,
) -> TiltedPrompts:
    templates = np.zeros(len(now.templates))
    words = {slot: np.zeros(len(own)) for slot, own in now.slots.items()}
    chosen = [one for one, is_best in zip(fillings, best, strict=True) if is_best]
    ratios = np.array([_log_chance(start, one) - _log_chance(now, one) for one in chosen])
    for filled, weight in zip(chosen, np.exp(ratios - ratios.max()), strict=True):
        templates[filled.template] += weight
        for slot, word in zip(now.slots_of(filled.template), filled.words, strict=True):
            words[slot][now.slots[slot].index(word)] += weight
    return _moved(start, now, templates, words, smoothing)


def _log_chance(prompts: TiltedPrompts, filled: Filled) -> float:
    chance = math.log(prompts.template_shares[filled.template])
    for slot, word in zip(prompts.slots_of(filled.template), filled.words, strict=True):
        own = zip(prompts.slots[slot], prompts.word_shares[slot], strict=True)
        chance += math.log(sum(share for other, share in own if other == word))
    return chance


def _moved(
    start: TiltedPrompts,
    now: TiltedPrompts,
    templates: Float[np.ndarray, " template"],
    words: Mapping[str, Float[np.ndarray, " word"]],
    share: Number,
) -> TiltedPrompts:
    """Moves the shares towards those of some counts; what was never counted stays as it was."""

    def mixed(old: Shares, counts: Float[np.ndarray, " one"]) -> Shares:
        if not counts.sum():
            return old
        new = share * counts / counts.sum() + (1 - share) * np.array(old)
        return tuple((new / new.sum()).tolist())

    template_shares = mixed(now.template_shares, templates)
    word_shares = {slot: mixed(now.word_shares[slot], counts) for slot, counts in words.items()}
    label = f"{start.label} tilted ({_digest([template_shares, word_shares])})"
    return TiltedPrompts(now.templates, now.slots, label, template_shares, word_shares)


def _stands(word: str, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) if word else None


def _check(shares: Shares, n: int, place: str) -> None:
    if len(shares) != n or min(shares, default=0) < 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise UserError(
            f"{len(shares)} shares of sum {sum(shares):g} are no distribution over {n}",
            place,
            "give one for each, of at least 0 and of sum 1",
        )


def _digest(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:12]

"""Guides: what a search climbs. A judge's score, the likelihood of a reply, or a feature's activation."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.passes import record_gradients
from interp.attribution.target import Target as Attributed
from interp.elicit.behaviour import Behaviour
from interp.elicit.proposal import Proposal
from interp.elicit.spending import Spent
from interp.elicit.target import Target
from interp.elicit.token_gradient import EMBED, by_token
from interp.errors import UserError
from interp.features.ref import FeatureRef
from interp.fields import Count, Seed, taken
from interp.subject.forward import whole_pass
from interp.subject.model_names import check_made_for
from interp.subject.read_at import read_at
from interp.subject.site import Site
from interp.subject.text import Conversation
from interp.vectors.vector import Vector

BACKWARDS = 2
"""Passes that a backward pass counts as (`interp.elicit.spending.Budget`)."""
Where = Literal["end", "prompt"]


@runtime_checkable
class Guide(Protocol):
    """Says how near prompts are to a behaviour, at a cost that the target's meter counts."""

    target: Target

    @property
    def name(self) -> str:
        """Everything that decides its scores, in words."""
        ...

    def cost(self, prompts: Sequence[str]) -> Spent:
        """The most that the scores of these prompts cost."""
        ...

    def scores(self, prompts: Sequence[str]) -> list[float]:
        """A score for each prompt, higher where it is nearer to the behaviour.

        Raises:
            Exhausted: it does not fit the budget.
            UserError: a prompt cannot be asked.
        """
        ...


@runtime_checkable
class GradientGuide(Guide, Protocol):
    """A guide whose scores have gradients with respect to the prompt's tokens."""

    def gradients(self, prompts: Sequence[str]) -> list[Float[Tensor, "_ d_vocab"]]:
        """The derivative of each prompt's score by the one-hot entries of its own tokens.

        Where one token of a prompt is another, the score changes, to first order, by the difference of the
        two tokens' entries. Costs three times a score.

        Raises:
            Exhausted: it does not fit the budget.
            UserError: a prompt cannot be asked.
        """
        ...


class JudgeGuide:
    """The judge's score of the target's reply: reads text. A reply that cannot be judged scores -inf."""

    def __init__(self, target: Target, behaviour: Behaviour, seed: int = 0) -> None:
        """Prepare; `seed` draws replies where the target has a temperature."""
        self.target, self.behaviour, self.seed = target, behaviour, taken(Seed, seed, "seed")

    @property
    def name(self) -> str:
        """The judge."""
        return f"judge: {self.behaviour.judge.name}"

    def cost(self, prompts: Sequence[str]) -> Spent:
        """One pass a prompt, with the longest reply."""
        return _cost(_rows(self.target, prompts), self.target.frame.new_tokens)

    def scores(self, prompts: Sequence[str]) -> list[float]:
        """Has the target reply, and judges the replies."""
        if not prompts:
            return []
        _afford(self.target, self.cost(prompts))
        exchanges = self.target.ask([Proposal(prompt) for prompt in prompts], self.seed)
        judged = self.behaviour.judge.judge(exchanges)
        return [-torch.inf if found is None else float(found.score) for found in judged]


class LikelihoodGuide:
    """The mean, over a behaviour's examples, of the log-probability (nats) of an example's first tokens.

    Minus the loss of Zou et al. 2023 (arXiv 2307.15043), eq. 4, averaged over examples. The model writes
    nothing.

    Raises:
        UserError: the behaviour has no examples, or a word of one is not in the vocabulary.
    """

    def __init__(self, target: Target, behaviour: Behaviour, first: int | None = None) -> None:
        """Prepare; only the `first` tokens of an example count, or all."""
        if not behaviour.examples:
            raise UserError(
                "the behaviour has no examples, whose likelihood could be climbed",
                f"behaviour {behaviour.name}",
                "give replies that show it under examples",
            )
        self.target, self.behaviour = target, behaviour
        self.first = None if first is None else taken(Count, first, "first")
        self.answers = tuple(tuple(target.reply_ids(one)[: self.first]) for one in behaviour.examples)

    @property
    def name(self) -> str:
        """The behaviour, the number of examples, and how much of each counts."""
        part = "" if self.first is None else f" up to {self.first} tokens"
        return f"likelihood of {len(self.answers)} examples of {self.behaviour.name}{part}"

    def cost(self, prompts: Sequence[str]) -> Spent:
        """One pass a prompt and example."""
        rows = _rows(self.target, prompts)
        each = [_cost(rows, len(answer)) for answer in self.answers]
        return Spent(sum(one.passes for one in each), sum(one.tokens for one in each))

    def scores(self, prompts: Sequence[str]) -> list[float]:
        """Scores the examples after each prompt."""
        if not prompts:
            return []
        _afford(self.target, self.cost(prompts))
        found = [self.target.likelihood(prompts, one, self.first) for one in self.behaviour.examples]
        return list(torch.stack(found).mean(0).tolist())

    def gradients(self, prompts: Sequence[str]) -> list[Float[Tensor, "_ d_vocab"]]:
        """One pass forwards and one backwards for each prompt and example."""
        target, subject = self.target, self.target.subject
        _spend_backwards(target, self.cost(prompts))
        rows = _rows(target, prompts)
        asked = [(place, answer) for place in range(len(rows)) for answer in self.answers]
        total = [torch.zeros(len(row), subject.d_model) for row in rows]
        for start in range(0, len(asked), target.batch_size):
            part = asked[start : start + target.batch_size]
            tokens, mask = subject.pad([Conversation(rows[place]) for place, _ in part])
            wanted = Attributed("log_prob", tuple(answer for _, answer in part))
            answered = wanted.asked_of(subject, whole_pass(tokens, mask))
            found = record_gradients(subject, answered, wanted, [EMBED]).gradients[EMBED]
            for (place, _), gradient in zip(part, found[:, : tokens.shape[1]].float().cpu(), strict=True):
                total[place] += gradient[-len(rows[place]) :] / len(self.answers)
        return _by_token(target, prompts, total)


class FeatureGuide:
    """What a feature reads while the model reads a prompt: the model writes nothing, and stops at its site.

    A `Vector` reads the projection on its direction, in units of the activation; a feature its activation,
    in its own polarity. `where` is `end`, the last token before the reply, or `prompt`, the largest value
    over the prompt's own tokens.

    Raises:
        UserError: the vector or feature was made for another model or site, or is a vector of zeros.
    """

    def __init__(self, target: Target, feature: Vector | FeatureRef, where: Where = "end") -> None:
        self.target, self.feature, self.where = target, feature, where
        if isinstance(feature, Vector):
            self.site: Site = feature.site
            check_made_for("it was made", [feature.subject], target.subject.info, f"vector {feature.name}")
            shape = target.subject.activation_shape(feature.site)
            if tuple(feature.values.shape) != shape or not feature.norm:
                raise UserError(
                    f"a vector of shape {tuple(feature.values.shape)} and norm {feature.norm:g} reads no "
                    f"activations of shape {shape}",
                    f"vector {feature.name}",
                    f"give one of shape {shape} that is not zero",
                )
        else:
            self.site = feature.space.site
            target.subject.site_width(self.site)

    @property
    def name(self) -> str:
        """The feature, and where it is read."""
        said = f"{self.feature.name} at {self.site}" if isinstance(self.feature, Vector) else self.feature.key
        return f"feature {said}, {'at the end' if self.where == 'end' else 'highest in the prompt'}"

    def cost(self, prompts: Sequence[str]) -> Spent:
        """One pass a prompt, however early it stops."""
        return _cost(_rows(self.target, prompts), 0)

    def scores(self, prompts: Sequence[str]) -> list[float]:
        """Reads the feature in one pass a prompt, up to its site."""
        if not prompts:
            return []
        cost, rows = self.cost(prompts), _rows(self.target, prompts)
        _afford(self.target, cost)
        columns = self._columns(prompts, rows)
        found = read_at(
            self.target.subject,
            [Conversation(row) for row in rows],
            [self.site],
            columns,
            self.target.batch_size,
        )
        self.target.meter.spend(cost.passes, cost.tokens)
        with torch.no_grad():
            return list(self._value(found[self.site]).amax(1).tolist())

    def gradients(self, prompts: Sequence[str]) -> list[Float[Tensor, "_ d_vocab"]]:
        """One pass forwards and one backwards for each prompt, between the embedding and the feature."""
        _spend_backwards(self.target, self.cost(prompts))
        subject, rows = self.target.subject, _rows(self.target, prompts)
        found = []
        for start in range(0, len(rows), self.target.batch_size):
            part = slice(start, start + self.target.batch_size)
            tokens, mask = subject.pad([Conversation(row) for row in rows[part]])
            columns = self._columns(prompts[part], rows[part])

            def measure(activation: Tensor, columns: Tensor = columns) -> Tensor:
                place = torch.arange(len(columns), device=activation.device)[:, None]
                return self._value(activation[place, columns.to(activation.device)]).amax(1)

            gradients = subject.gradients(tokens, EMBED, {self.site: measure}, mask).float().cpu()
            found += [row[-len(ids) :] for row, ids in zip(gradients, rows[part], strict=True)]
        return _by_token(self.target, prompts, found)

    def _columns(
        self, prompts: Sequence[str], rows: Sequence[Sequence[int]]
    ) -> Int[Tensor, "prompt position"]:
        """Where it is read, counted from the end; a shorter prompt's last place is repeated."""
        if self.where == "end":
            return torch.full((len(rows), 1), -1)
        places = []
        for prompt, row in zip(prompts, rows, strict=True):
            own = self.target.span(prompt)
            places.append(list(range(own.start - len(row), own.stop - len(row))) or [-1])
        width = max(map(len, places))
        return torch.tensor([[*each, *[each[-1]] * (width - len(each))] for each in places])

    def _value(self, activation: Float[Tensor, "prompt position *width"]) -> Float[Tensor, "prompt position"]:
        if isinstance(self.feature, Vector):
            direction = (self.feature.values / self.feature.norm).flatten().to(activation)
            projected: Tensor = activation.flatten(2) @ direction
            return projected
        space = self.feature.space
        subject = self.target.subject
        read: Tensor = space.encode(activation.to(subject.device, subject.dtype))
        return self.feature.polarity * read[..., self.feature.feature_id]


def _rows(target: Target, prompts: Sequence[str]) -> list[list[int]]:
    return [target.ids(prompt) for prompt in prompts]


def _cost(rows: Sequence[Sequence[int]], written: int) -> Spent:
    return Spent(len(rows), sum(map(len, rows)) + written * len(rows))


def _afford(target: Target, cost: Spent) -> None:
    target.meter.afford(cost.passes, cost.tokens)


def _spend_backwards(target: Target, cost: Spent) -> None:
    """Counts passes that go forwards and backwards, if they fit."""
    passes, tokens = (1 + BACKWARDS) * cost.passes, (1 + BACKWARDS) * cost.tokens
    target.meter.afford(passes, tokens)
    target.meter.spend(passes, tokens)


def _by_token(
    target: Target, prompts: Sequence[str], gradients: Sequence[Float[Tensor, "_ d_model"]]
) -> list[Float[Tensor, "_ d_vocab"]]:
    """Of gradients at all tokens before the reply, those of each prompt's own, by token."""
    own = [gradient[target.span(prompt)] for prompt, gradient in zip(prompts, gradients, strict=True)]
    if not own:
        return []
    return list(torch.split(by_token(target.subject, torch.cat(own)), [len(each) for each in own]))

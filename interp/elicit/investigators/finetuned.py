"""Fine-tuned investigators: a small model learns to write prompts for a reply, then to write better ones."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from interp.descriptions.local_model import LocalModel
from interp.distil.train import Tuning, check_installed, fine_tune
from interp.elicit.behaviour import Behaviour
from interp.elicit.guide import BACKWARDS, Guide
from interp.elicit.policy import Policy, ReplyFormat
from interp.elicit.preference import Preference, prefer
from interp.elicit.prompts import PromptDistribution
from interp.elicit.proposal import Proposal
from interp.elicit.search import History, Try
from interp.elicit.spending import Meter, Spent
from interp.elicit.target import Target
from interp.errors import UserError
from interp.fields import Count, NotNegative, Positive, Section
from interp.json_text import read_json
from interp.track.files import publish_folder, write_json, writing_explained

_HOW = re.compile(r"policy (\d+), example (\d+)")
_KEPT = "policy.json"
DRAWS = 8
"""Prompts that a policy writes for each that is asked for, before draws from the distribution fill up."""


class FineTuning(Section):
    """How investigators are trained."""

    pairs: Count = 512
    """Prompts whose replies the first policy is trained on."""
    imitation: Tuning = Tuning(steps=300, batch_size=16, learning_rate=1e-3)
    """How the first policy is trained on pairs of reply and prompt."""
    preference: Tuning = Tuning(steps=60, batch_size=8, learning_rate=1e-4)
    """How each later policy is trained on pairs of a better and a worse prompt."""
    preferences: Count = 256
    """Pairs of a better and a worse prompt."""
    beta: Positive = 0.1
    """How closely a later policy is kept to the first one."""
    diversity: NotNegative = 0.1
    """What a prompt loses of its reward for each nat of its log-probability to the earlier policies."""
    policies: Count = 3
    """Policies in all, the first included: one more than the iterations of Frank-Wolfe."""
    tries_per_policy: Count = 64
    """Tries of a policy before the next one is trained; after the last, all policies write in turn."""
    temperature: Positive = 1.0
    """At which policies write."""
    longest: Count = 24
    """The most tokens of a prompt."""


class _Told(NamedTuple):
    """A try, the policy that it was made by, and the example that the policy was shown."""

    one: Try
    policy: int
    example: int


class FineTunedInvestigator:
    """Policies that write prompts for a behaviour's examples (Li et al. 2025, arXiv 2502.01236).

    Policy 0 is trained to write a prompt given the target's own reply to it, on prompts of a distribution.
    Policy t is trained from it by DPO on the tries of all policies before, ranked within an example y by

        reward(x) - diversity * log mean_s p_s(x | y),   s < t,

    where the reward is the judge's score, or the guide's: one step of Frank-Wolfe towards policies that find
    different prompts. Once the last has had its tries, proposals come from the mixture of all. Costs are
    counted: replies for the pairs, each example that a policy is trained on as three passes (of a pair of
    prompts: six, and two for the reference), and what policies write and score.

    Policies are kept in `folder`, each with what it was trained on and what it cost, and are made again where
    they are missing or of another search. Needs the extra `distill`.
    """

    def __init__(
        self,
        target: Target,
        behaviour: Behaviour,
        prompts: PromptDistribution,
        model: str | Path,
        folder: Path,
        settings: FineTuning | None = None,
        guide: Guide | None = None,
        seed: int = 0,
    ) -> None:
        """`model` is a bundled one or a Hugging Face folder; `seed` draws what policies are trained on.

        Raises:
            UserError: the behaviour has no examples, the extra is missing, there is no such model, or it does
                not know a word of an example.
        """
        if not behaviour.examples:
            raise UserError(
                "the behaviour has no examples, for which prompts could be written",
                f"behaviour {behaviour.name}",
                "give replies that show it under examples",
            )
        check_installed()
        self.target, self.behaviour, self.prompts, self.guide = target, behaviour, prompts, guide
        self.model, self.folder, self.seed = model, folder, seed
        self.settings = settings or FineTuning()
        self._format = ReplyFormat(model)
        for example in behaviour.examples:
            self._format.head(example)
        self._policies: dict[int, Policy] = {}

    @property
    def name(self) -> str:
        """The method, its model, where pairs come from, every setting, and the guide if it has one."""
        told = ", ".join(f"{key} {value}" for key, value in self.settings.model_dump().items())
        reward = self.guide.name if self.guide else "the judge's score"
        return (
            f"fine-tuned investigator ({self.model} on {self.prompts.name}; reward {reward}; {told}; "
            f"seed {self.seed})"
        )

    def propose(self, history: History, n: int, random: Random, meter: Meter) -> list[Proposal]:
        """Has the policy that is due write `n` new prompts; trains it first, if it is new.

        Raises:
            Exhausted: it does not fit the budget.
            UserError: the model knows the words of no reply, or the disk refuses.
        """
        told = _told(history)
        latest = max((one.policy for one in told), default=0)
        tries = sum(one.policy == latest for one in told)
        enough, last = tries >= self.settings.tries_per_policy, self.settings.policies - 1
        due = latest + 1 if enough and latest < last else latest
        for number in range(due + 1):
            self._prepare(number, told, meter)
        if not (enough and latest == last):
            return self._written([due] * n, due, history, random, meter)
        return self._written([random.randint(0, last) for _ in range(n)], due, history, random, meter)

    def _written(
        self, by: Sequence[int], due: int, history: History, random: Random, meter: Meter
    ) -> list[Proposal]:
        """A new prompt for each policy named; where they find none, one drawn from the distribution."""
        made: dict[str, Proposal] = {}
        for _ in range(DRAWS):
            for number in sorted(set(by)):
                wanted = by.count(number) if len(made) < len(by) else 0
                shown = [random.randrange(len(self.behaviour.examples)) for _ in range(wanted)]
                if not shown:
                    continue
                replies = [self.behaviour.examples[place] for place in shown]
                texts = self._policies[number].write(
                    replies, self.settings.longest, self.settings.temperature, random.randrange(2**32), meter
                )
                for place, text in zip(shown, texts, strict=True):
                    self._keep(made, Proposal(text, f"policy {number}, example {place}"), history)
        for prompt in self.prompts.sample(DRAWS * (len(by) - min(len(by), len(made))), random):
            self._keep(made, Proposal(prompt, f"policy {due}, example 0: drawn at random instead"), history)
        return list(made.values())[: len(by)]

    def _keep(self, made: dict[str, Proposal], one: Proposal, history: History) -> None:
        if not history.has(one) and self.target.takes(one.prompt):
            made.setdefault(one.prompt, one)

    def _prepare(self, number: int, told: Sequence[_Told], meter: Meter) -> None:
        """Loads or makes a policy; its cost counts in the round that first uses it."""
        first = min((one.one.round for one in told if one.policy == number), default=None)
        known = first is not None
        if number in self._policies and known:
            return
        used = [one for one in told if one.policy < number and (first is None or one.one.round < first)]
        key, before = self._key(number, used), meter.spent
        if known:  # its cost is in the history already
            meter.spent = Spent()
        folder = self.folder / f"policy_{number}"
        cost = _cost_of(folder, key)
        if cost is None:
            start = meter.spent
            self._make(folder, key, lambda part: self._train(number, used, part, meter), start, meter)
        else:
            meter.afford(cost.passes, cost.tokens)
            meter.spend(cost.passes, cost.tokens)
        if known:
            meter.spent = before
        self._policies[number] = Policy(folder, self._format)

    def _make(
        self, folder: Path, key: str, train: Callable[[Path], None], start: Spent, meter: Meter
    ) -> None:
        """Trains into a folder beside, and puts it in its place when it is whole."""
        part = folder.with_name(f"{folder.name}.part")
        with writing_explained(self.folder.parent):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
        with writing_explained(part):
            train(part)
            shutil.rmtree(part / ".training", ignore_errors=True)
            passes, tokens = meter.spent.passes - start.passes, meter.spent.tokens - start.tokens
            write_json(part / _KEPT, {"key": key, "passes": passes, "tokens": tokens})
            shutil.rmtree(folder, ignore_errors=True)
        publish_folder(part, folder)

    def _train(self, number: int, used: Sequence[_Told], folder: Path, meter: Meter) -> None:
        if number == 0:
            self._imitate(folder, meter)
        else:
            self._improve(number, used, folder, meter)

    def _imitate(self, folder: Path, meter: Meter) -> None:
        """Policy 0: the prompt of each reply."""
        settings, tuning = self.settings, self.settings.imitation
        drawn = self.prompts.sample(settings.pairs, Random(f"{self.seed} pairs"))
        asked = [Proposal(prompt) for prompt in drawn if self.target.takes(prompt)]
        training = (1 + BACKWARDS) * tuning.steps * tuning.batch_size
        meter.afford(len(asked) + training)
        replies = self.target.ask(asked, self.seed)
        pairs = [(one.reply, one.prompt) for one in replies if one.reply.strip()]
        rows = self._format.rows(pairs, settings.longest)
        if not rows:
            raise UserError(
                f"of {len(drawn)} replies and their prompts it knows the words of none, within "
                f"{settings.longest} tokens",
                f"investigator {self.model}",
                "use a model with the target's words, or raise longest",
            )
        each = sum(len(head) + len(tail) for head, tail in rows) / len(rows)
        meter.afford(training, round(training * each))
        fine_tune(LocalModel.load(self.model), rows, tuning, folder)
        meter.spend(training, round(training * each))

    def _improve(self, number: int, used: Sequence[_Told], folder: Path, meter: Meter) -> None:
        """Policy 0 moved by DPO to what was worth more, and less likely to all policies before."""
        first = self._policies[0].folder
        chosen = self._preferences(number, used, self._rewards(number, used, meter))
        if not chosen:  # no try is worth more than another
            shutil.copytree(first, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_KEPT))
            return
        tuning = self.settings.preference
        runs = 2 * (1 + BACKWARDS + 1) * tuning.steps * tuning.batch_size
        each = sum(2 * len(p.head) + len(p.chosen) + len(p.rejected) for p in chosen) / (2 * len(chosen))
        meter.afford(runs, round(runs * each))
        student, reference = LocalModel.load(first), LocalModel.load(first)
        prefer(student, reference, chosen, tuning, self.settings.beta, folder)
        meter.spend(runs, round(runs * each))

    def _rewards(self, number: int, used: Sequence[_Told], meter: Meter) -> list[float]:
        """Of each try; -inf where it was not judged."""
        prompts = [one.one.proposal.prompt for one in used]
        if self.guide is not None:
            worth = self.guide.scores(prompts)
        else:
            worth = [-torch.inf if one.one.score is None else float(one.one.score) for one in used]
        if not self.settings.diversity:
            return worth
        replies = [self.behaviour.examples[one.example] for one in used]
        each = [self._policies[s].log_prob(replies, prompts, meter) for s in range(number)]
        likely = log_mean(torch.stack(each))
        return (torch.tensor(worth, dtype=torch.float64) - self.settings.diversity * likely).tolist()

    def _preferences(self, number: int, used: Sequence[_Told], rewards: Sequence[float]) -> list[Preference]:
        """Random pairs of a try of the better half and one of the worse, for the same example."""
        random, found = Random(f"{self.seed} preferences {number}"), []
        halves = []
        for example, reply in enumerate(self.behaviour.examples):
            mine = [
                (reward, one.one.number, self._format.rows([(reply, one.one.proposal.prompt)], 10**9))
                for one, reward in zip(used, rewards, strict=True)
                if one.example == example and abs(reward) != torch.inf
            ]
            ranked = sorted((one for one in mine if one[2]), key=lambda one: (-one[0], one[1]))
            middle = len(ranked) // 2
            if middle and ranked[0][0] > ranked[-1][0]:
                halves.append((ranked[:middle], ranked[middle:]))
        for _ in range(self.settings.preferences if halves else 0):
            better, worse = (random.choice(half) for half in random.choice(halves))
            if better[0] > worse[0]:
                ((head, chosen),), ((_, rejected),) = better[2], worse[2]
                found.append(Preference(head, chosen, rejected))
        return found

    def _key(self, number: int, used: Sequence[_Told]) -> str:
        """What a policy is made of: the settings, the target, and the tries that it learns from."""
        made_of = [self.name, self.target.name, self.behaviour.name, self.behaviour.examples, number]
        tries = [(one.one.proposal.prompt, one.example, one.policy, one.one.score) for one in used]
        return hashlib.sha256(json.dumps([made_of, tries]).encode()).hexdigest()


def log_mean(each: Float[Tensor, "policy prompt"]) -> Float[Tensor, " prompt"]:
    """The log of the mean of probabilities that are given as logs."""
    mean: Tensor = each.logsumexp(0) - torch.tensor(float(len(each)), dtype=each.dtype).log()
    return mean


def _told(history: History) -> list[_Told]:
    """The tries that policies have made, with the example that each was shown."""
    found = [(one, _HOW.match(one.proposal.how)) for one in history.tries]
    return [_Told(one, int(how[1]), int(how[2])) for one, how in found if how is not None]


def _cost_of(folder: Path, key: str) -> Spent | None:
    """What a kept policy cost; None if there is none, or it was made of something else."""
    file = folder / _KEPT
    if not file.exists():
        return None
    kept = read_json(file, "delete the folder: the policy is then trained again")
    known = isinstance(kept, dict) and kept.get("key") == key
    return Spent(int(kept["passes"]), int(kept["tokens"])) if known else None

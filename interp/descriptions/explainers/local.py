"""Descriptions by a causal language model in this process.

The format of the published 8B explainer (Choi et al. 2024, Transluce): a short instruction, excerpts with
`{{ }}` around active tokens, and an answer that begins with `[DESCRIPTION]:`. Special tokens of the model's
chat template that occur in an excerpt are written with doubled bars, so that they end no turn.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from interp.descriptions.candidate import Candidate, Explained
from interp.descriptions.excerpt import TextEvidence
from interp.descriptions.explainers.highlight import threshold
from interp.descriptions.explainers.prompted import (
    FEWEST,
    FROM_TOP,
    MOST,
    description_in,
    marked,
    numbered_lines,
    sampled_lines,
)
from interp.descriptions.local_model import LocalModel, beginning
from interp.descriptions.prompt import load_prompt
from interp.errors import UserError
from interp.json_text import read_json
from interp.subject.folder import find_folder
from interp.subject.precision import Dtype
from interp.subject.template import rendered_chat
from interp.track.files import write_json

SYSTEM = (
    "You describe what a feature of a language model responds to. In the excerpts its active tokens stand "
    "between {{ and }}; it sees only what comes before them. Answer with [DESCRIPTION]: and one sentence."
)
ANSWER = "[DESCRIPTION]:"
MAX_NEW_TOKENS = 80
MOST_OF_A_NAME = 24
"""Tokens that a base model writes; what follows the end of the line is left out."""
MOST_WORDS = 12
FORMAT = "interp_explainer.json"
"""In the folder of a model that was fine-tuned on another instruction or length of answer: which."""
_FIX = "copy the model folder again, or delete the file"
_SPECIAL = re.compile(r"<\|([^|<>]*)\|>")


class LocalExplainer:
    """The `Explainer` that generates in this process; all samples of a feature in one batch."""

    def __init__(
        self,
        model: LocalModel,
        temperature: float = 1.0,
        max_new_tokens: int = MAX_NEW_TOKENS,
        system: str = SYSTEM,
        few_shot: bool = False,
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._max_new_tokens = max_new_tokens
        self._system = system
        self._examples = load_prompt("name_words") if few_shot else None

    @classmethod
    def load(
        cls, name: str | Path, device: str = "cpu", dtype: Dtype = "float32", temperature: float = 1.0
    ) -> "LocalExplainer":
        """Opens a model, with the format that it was fine-tuned on; raises as `LocalModel.load`.

        One that was not, and has no chat template, is a base model: after worked examples it names what the
        words have in common on which the feature is strongest.
        """
        model, file = LocalModel.shared(name, device, dtype), find_folder(name) / FORMAT
        known = read_json(file, _FIX) if file.exists() else {}
        longest, system = known.get("max_new_tokens", MAX_NEW_TOKENS), known.get("system", SYSTEM)
        if type(longest) is not int or longest < 1 or not isinstance(system, str):
            raise UserError("system is no text, or max_new_tokens no whole number from 1", str(file), _FIX)
        few_shot = not (known or model.tokenizer.chat_template)
        return cls(model, temperature, MOST_OF_A_NAME if few_shot else longest, system, few_shot)

    def save_format(self, folder: Path) -> None:
        """Write the instruction and the length of answers to a model's folder, for `load`."""
        write_json(folder / FORMAT, {"max_new_tokens": self._max_new_tokens, "system": self._system})

    @property
    def name(self) -> str:
        """The model, and the version of the worked examples if it is shown any."""
        examples = f" {self._examples.digest}," if self._examples else ""
        return f"local{examples} {self._model.name}"

    async def explain(self, evidence: TextEvidence, samples: int, seed: int) -> Explained:
        """Writes up to `samples` descriptions; the first from all exemplars, others from random subsets."""
        if not any(one.peak > 0 for one in evidence.exemplars):
            return Explained(())
        of = prompt if self._examples is None else strongest_words
        answers = self.answers([of(evidence, seed, number) for number in range(samples)], seed)
        texts = [description_in(f"{ANSWER} {answer.removesuffix('.')}") for answer in answers]
        found = [Candidate(text, self.name, n) for n, text in enumerate(texts) if text is not None]
        return Explained(tuple(found), texts.count(None))

    def prompt_ids(self, excerpts: str) -> list[int]:
        """Returns the tokens of a prompt, up to where the description begins.

        With a chat template it is a conversation, as the template gives it, whose answer has begun; without
        one it is plain text, for a base model after worked examples. Where it does not fit the context
        together with an answer, the last excerpts are left out.

        Raises:
            UserError: not even one excerpt fits.
        """
        model, lines = self._model, excerpts.split("\n")
        room = model.context - self._max_new_tokens
        for shown in range(len(lines), 0, -1):
            ids = self._written("\n".join(lines[:shown]))
            if len(ids) <= room:
                return ids
        raise UserError("not one excerpt fits its context", model.name, "use a model that sees more")

    def _written(self, excerpts: str) -> list[int]:
        model, system = self._model, self._system
        if self._examples:
            shown = [f"{question} {answer}" for question, answer in self._examples.examples]
            asked = self._examples.question.substitute(words=excerpts)
            return [*beginning(model), *model.encode("\n".join([*shown, asked]))]
        if not model.tokenizer.chat_template:
            text = (f"{system}\n\n" if system else "") + excerpts + "\n"
            return [*beginning(model), *model.encode(text + ANSWER)]
        turns = [{"role": "system", "content": system}] if system else []
        turns.append({"role": "user", "content": excerpts})
        text = rendered_chat(model.tokenizer, turns, model.name, add_generation_prompt=True)
        return model.encode(text + ANSWER)

    @torch.no_grad()
    def answers(self, prompts: Sequence[str], seed: int) -> list[str]:
        """Generates after each prompt, up to the end of the line, in one batch."""
        model = self._model
        tokens, mask = model.pad([self.prompt_ids(excerpts) for excerpts in prompts], left=True)
        sampling = {"do_sample": True, "temperature": self._temperature, "top_k": 0}
        with torch.random.fork_rng(devices=[] if model.device.type == "cpu" else [model.device]):
            torch.manual_seed(seed)
            written = model.model.generate(
                tokens, attention_mask=mask, max_new_tokens=self._max_new_tokens, pad_token_id=model.pad_id,
                **(sampling if self._temperature > 0 else {"do_sample": False}),
            )  # fmt: skip
        new = written[:, tokens.shape[1] :]
        return [
            str(model.tokenizer.decode(row, skip_special_tokens=True)).split("\n")[0].strip() for row in new
        ]


def prompt(evidence: TextEvidence, seed: int, sample: int) -> str:
    """Returns the excerpts of one sample: all of the strongest for sample 0, else a random part of them."""
    level = threshold(evidence.exemplars[:FROM_TOP], evidence.levels)
    lines = marked(evidence.exemplars[:FROM_TOP], level)
    if sample:
        lines = sampled_lines(lines, FEWEST, MOST, np.random.default_rng([seed, sample]))
    return aliased(numbered_lines(lines))


def strongest_words(evidence: TextEvidence, seed: int, sample: int) -> str:
    """Returns the strongest token of each exemplar, quoted; a random half or more of them after sample 0."""
    peaks = [
        one.pieces[int(np.where(one.counts, one.values, -np.inf).argmax())].strip() or "line break"
        for one in evidence.exemplars[:FROM_TOP]
        if one.peak > 0
    ]
    words = list(dict.fromkeys(peaks))[:MOST_WORDS]
    if sample:
        words = sampled_lines(words, (len(words) + 1) // 2, len(words), np.random.default_rng([seed, sample]))
    return ", ".join(f'"{word}"' for word in words)


def aliased(text: str) -> str:
    """Writes special tokens of chat templates, `<|name|>`, as `<||name||>`."""
    return _SPECIAL.sub(r"<||\1||>", text)

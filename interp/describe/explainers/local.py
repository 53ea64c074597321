"""Descriptions by a causal language model in this process.

The format of the published 8B explainer (Choi et al. 2024, Transluce): a short instruction, excerpts with
`{{ }}` around active tokens, and an answer that begins with `[DESCRIPTION]:`. Special tokens of the model's
chat template that stand in an excerpt are written with doubled bars, so that they end no turn.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from interp.describe.candidate import Candidate, Explained
from interp.describe.excerpt import TextEvidence
from interp.describe.explainers.highlight import threshold
from interp.describe.explainers.prompted import FEWEST, FROM_TOP, MOST, description_in, drawn, listed
from interp.describe.local_model import LocalModel, beginning
from interp.subject.load import Dtype

SYSTEM = (
    "You describe what a feature of a language model responds to. In the excerpts its active tokens stand "
    "between {{ and }}; it sees only what comes before them. Answer with [DESCRIPTION]: and one sentence."
)
ANSWER = "[DESCRIPTION]:"
MAX_NEW_TOKENS = 80
_SPECIAL = re.compile(r"<\|([^|<>]*)\|>")


class LocalExplainer:
    """The `Explainer` that generates in this process; all samples of a feature in one batch."""

    def __init__(
        self, model: LocalModel, temperature: float = 1.0, max_new_tokens: int = MAX_NEW_TOKENS
    ) -> None:
        self._model = model
        self._temperature = temperature
        self._max_new_tokens = max_new_tokens

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", dtype: Dtype = "float32") -> "LocalExplainer":
        """Open a folder; raises as `LocalModel.load`."""
        return cls(LocalModel.load(folder, device, dtype))

    @property
    def name(self) -> str:
        """The model's folder."""
        return f"local {self._model.name}"

    async def explain(self, evidence: TextEvidence, samples: int, seed: int) -> Explained:
        """Up to `samples` descriptions; the first from all exemplars, the others from random subsets."""
        if not any(one.peak > 0 for one in evidence.exemplars):
            return Explained(())
        answers = self.answers([prompt(evidence, seed, number) for number in range(samples)], seed)
        texts = [description_in(f"{ANSWER} {answer}") for answer in answers]
        found = [Candidate(text, self.name, n) for n, text in enumerate(texts) if text is not None]
        return Explained(tuple(found), texts.count(None))

    def prompt_ids(self, excerpts: str) -> list[int]:
        """The tokens of a prompt, up to where the description begins.

        With a chat template it is a conversation whose answer has begun; without one it is plain text. What
        does not fit the context is cut at its beginning.
        """
        model = self._model
        tokenizer = model.tokenizer
        text = f"{SYSTEM}\n\n{excerpts}\n"
        if tokenizer.chat_template:
            turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": excerpts}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            bos = tokenizer.bos_token or ""
            text = text.removeprefix(bos) if bos else text
        ids = model.encode(text + ANSWER)
        room = int(model.model.config.max_position_embeddings) - self._max_new_tokens - 1
        return [*beginning(model), *ids[-room:]]

    @torch.no_grad()
    def answers(self, prompts: Sequence[str], seed: int) -> list[str]:
        """What the model writes behind each prompt, up to the end of the line, in one batch."""
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
    """The excerpts of one sample: all of the strongest for sample 0, else a random part of them."""
    level = threshold(evidence.exemplars[:FROM_TOP], evidence.levels)
    chosen = list(evidence.exemplars[:FROM_TOP])
    if sample:
        chosen = drawn(chosen, FEWEST, MOST, np.random.default_rng([seed, sample]))
    return aliased(listed(chosen, level))


def aliased(text: str) -> str:
    """The text with special tokens of chat templates, `<|name|>`, written as `<||name||>`."""
    return _SPECIAL.sub(r"<||\1||>", text)

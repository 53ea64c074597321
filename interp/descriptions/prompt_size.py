"""How many tokens a call of each explainer, simulator and judge sends and gets, from the prompts themselves.

A prompt is made of the real template with text of the length that windows have, and its tokens are counted as
usual vocabularies cut them. Answers have the length of those in the templates' worked examples.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from interp.cost import Amount
from interp.descriptions.explainers.contrastive import ACTIVE, SILENT
from interp.descriptions.explainers.prompted import FEWEST, MOST, numbered_lines
from interp.descriptions.prompt import load_prompt
from interp.descriptions.summary import AT_ONCE, WORDS
from interp.llm.client import TOKENS_PER_TEXT
from interp.llm.request import Message

Count = Callable[[str], Amount]
"""How many tokens a text has for the endpoint's model."""
_CUT = re.compile(r"\s?[^\W\d_]+|\d{1,3}|[^\w\s]+|\s+|_+")
LETTERS = 6
"""Letters, with the space before, of a longer word that is cut; a shorter one is one token."""
MARKED = 2
"""Runs of tokens that are marked in a strong excerpt."""


@dataclass(frozen=True)
class CallSize:
    """Tokens of the prompt and of the answer of one call."""

    prompt: Amount
    answer: Amount


@dataclass(frozen=True)
class WindowText:
    """Windows as a prompt shows them: tokens of a strong one and of a random one, and bytes per token."""

    strong_tokens: Amount
    random_tokens: Amount
    token_bytes: Amount = 4.0

    def line(self, strong: bool = True, marked: bool = True) -> str:
        """An excerpt of average length."""
        tokens = self.strong_tokens if strong else self.random_tokens
        marks = " {{a}}" * MARKED if marked else ""
        return _prose(tokens * self.token_bytes) + marks

    def listed(self, strong: bool = True) -> str:
        """The tokens of an excerpt as a JSON list."""
        tokens = max(1, round(self.strong_tokens if strong else self.random_tokens))
        return json.dumps([_prose(self.token_bytes)] * tokens)


def tokens_in(text: str) -> Amount:
    """About how many tokens usual vocabularies (of 100,000 words and more) cut a text into.

    A word is a token for each `LETTERS` letters, numbers have one for three digits, and a run of signs one
    for two.
    """
    found = 0
    for part in _CUT.findall(text):
        longest = LETTERS if part[-1].isalpha() else 2
        found += 1 if part.isdigit() or part.isspace() else -(-len(part) // longest)
    return float(found)


def explain_call(windows: WindowText, exemplars: int, few_shot: bool, count: Count = tokens_in) -> CallSize:
    """A call of the explainer `prompted`, which shows a random number of exemplars."""
    shown = (min(FEWEST, exemplars) + min(MOST, exemplars)) / 2
    excerpts = _lines("Excerpt", windows.line(), shown)
    messages = load_prompt("explain").messages(few_shot, excerpts=excerpts)
    return CallSize(_sent(messages, count), count(description()))


def contrast_call(windows: WindowText, exemplars: int, few_shot: bool, count: Count = tokens_in) -> CallSize:
    """A call of the explainer `contrastive`, with silent excerpts beside the exemplars."""
    shown = (min(ACTIVE[0], exemplars) + min(ACTIVE[1], exemplars)) / 2
    excerpts = _lines("Excerpt", windows.line(), shown)
    silent = _lines("Excerpt", windows.line(strong=False, marked=False), SILENT)
    messages = load_prompt("contrast").messages(few_shot, excerpts=excerpts, silent=silent)
    return CallSize(_sent(messages, count), count(description()))


def simulate_call(
    windows: WindowText, excerpts: int, few_shot: bool, strong: bool = True, count: Count = tokens_in
) -> CallSize:
    """A call of the simulator `structured` about several excerpts, which answers with a number a token."""
    listed = windows.listed(strong)
    n = len(json.loads(listed))
    lines = "\n".join(f"Excerpt {i + 1} ({n} tokens): {listed}" for i in range(excerpts))
    messages = load_prompt("simulate").messages(few_shot, description=description(), excerpts=lines)
    return CallSize(_sent(messages, count), count(json.dumps({"activations": [[0] * n] * excerpts})))


def logprobs_call(windows: WindowText, strong: bool = True, count: Count = tokens_in) -> CallSize:
    """A call of the simulator `prompt_logprobs`: one excerpt, a token a line, and no answer but one token."""
    from interp.descriptions.simulators.prompt_logprobs import UNKNOWN

    pieces = json.loads(windows.listed(strong))
    head, question = load_prompt("expected").messages(description=description(), tokens="")
    text = f"{head.content}\n\n{question.content}\n" + "".join(f"{one}\t{UNKNOWN}\n" for one in pieces)
    return CallSize(count(text), 1.0)


def judge_call(
    windows: WindowText, texts: int, few_shot: bool, marked: bool = False, count: Count = tokens_in
) -> CallSize:
    """A call of the judge at an endpoint: ratings of several texts, half of them strong."""
    line = windows.line(marked=marked)
    other = line if marked else windows.line(strong=False, marked=False)
    lines = "\n".join(f"Text {i + 1}: {line if i % 2 == 0 else other}" for i in range(texts))
    prompt = load_prompt("fuzz" if marked else "detect")
    messages = prompt.messages(few_shot, description=description(), texts=lines)
    return CallSize(_sent(messages, count), count(json.dumps({"ratings": [5] * texts})))


def summarise_call(count: Count = tokens_in) -> CallSize:
    """A call that shortens several descriptions."""
    lines = "\n".join(f"{i + 1}. {description()}" for i in range(AT_ONCE))
    messages = load_prompt("summarise").messages(descriptions=lines)
    short = " ".join(["word"] * (WORDS // 2))
    return CallSize(_sent(messages, count), count(json.dumps({"summaries": [short] * AT_ONCE})))


def description() -> str:
    """A description of the length of the worked examples' answers."""
    answers = [answer for _, answer in load_prompt("explain").examples]
    return _prose(sum(map(len, answers)) / len(answers))


def _lines(name: str, line: str, n: Amount) -> str:
    """About `n` numbered lines of one kind; the last is a part of one."""
    whole = numbered_lines([line] * int(n))
    return whole + "\n" + f"{name} {int(n) + 1}: {line}"[: round((n % 1) * (len(line) + 12))]


def _sent(messages: Sequence[Message], count: Count) -> Amount:
    return sum(count(message.content) + TOKENS_PER_TEXT for message in messages)


def _prose(n_bytes: Amount) -> str:
    """So many bytes of words of four letters and a space."""
    return (" text" * (1 + round(n_bytes) // 5))[: max(1, round(n_bytes))]

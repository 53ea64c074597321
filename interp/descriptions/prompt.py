"""Prompts as data: a YAML file each, with instructions, worked examples and the form of the question."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

import yaml

from interp.llm.request import Message

FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class PromptTemplate:
    """Instructions, worked examples (question, answer), and a question with `$` places to fill."""

    name: str
    system: str
    examples: tuple[tuple[str, str], ...]
    question: Template
    digest: str

    def messages(self, few_shot: bool = True, **places: str) -> tuple[Message, ...]:
        """Builds the conversation up to the question, with its places filled."""
        turns = [Message("system", self.system)]
        for question, answer in self.examples if few_shot else ():
            turns += [Message("user", question), Message("assistant", answer)]
        return (*turns, Message("user", self.question.substitute(places)))


@cache
def load_prompt(name: str, folder: Path = FOLDER) -> PromptTemplate:
    """Reads the prompt in the file `name`.yaml of a folder."""
    text = (folder / f"{name}.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    examples = tuple((one["question"].strip(), one["answer"].strip()) for one in data.get("examples", ()))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return PromptTemplate(name, data["system"].strip(), examples, Template(data["question"].strip()), digest)

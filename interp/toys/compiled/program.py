"""A small language for transformers: heads and tables that read and write named blocks of the stream."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np

from interp.errors import UserError

BOS = "<bos>"
POSITION = "position"
"""The block that says where a token stands: it has a value for each position of the context."""
ALWAYS = "1"
"""A query that asks for all of a head's key values, whatever the token is."""
_TERM = re.compile(r"([+-]?)\s*(\w+)\s*")


class Pair(TypedDict):
    """Two prompts of equal length; `answer` continues the clean one, `distractor` the corrupted one."""

    clean: str
    corrupted: str
    answer: str
    distractor: str


@dataclass(frozen=True)
class Head:
    """Looks for the tokens whose `key` says what `query` says here, and adds their `value` to `to`.

    All four are blocks or sums of blocks ("left - right"); value i goes to value i, and query i fits key
    i - `ahead`. Where nothing fits, or where the block `unless` says anything, the head rests on the first
    token. Without query and key it looks everywhere alike.
    """

    value: str
    to: str
    query: str = ""
    key: str = ""
    ahead: int = 0
    unless: str = ""


@dataclass(frozen=True)
class Table:
    """A neuron for each entry: where `read` says the one value, the MLP adds the other to `to`.

    With `where` it does so only where that block says anything.
    """

    read: str
    to: str
    entries: Mapping[str, str]
    where: str = ""


@dataclass(frozen=True)
class Layer:
    """The heads of a layer, from h0, which run side by side, and then the tables of its MLP."""

    heads: tuple[Head, ...]
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Program:
    """What a transformer computes, in words.

    `blocks` are the parts of the residual stream with their values, one dimension each; `position` is there
    by itself. `inputs` are the blocks that the embedding writes: their values are words of the vocabulary.
    `says` are the blocks whose values are words that the logits get, with the logit of a value that is there;
    `answers` is the one that holds answers and distractors. `shifts` are blocks whose value i adds i + 1 to
    every logit, which no probability shows. `sharpness` is how far, in nats, the attention score of a token
    that fits is above that of the first token where a head rests, and that above all others: the higher, the
    closer is the softmax to the program, and the smaller are its gradients. `draw(rng, i)` makes the i-th
    pair: what is corrupted takes turns with i.
    """

    name: str
    blocks: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    says: Mapping[str, float]
    answers: str
    draw: Callable[[np.random.Generator, int], Pair]
    shifts: tuple[str, ...] = ()
    n_ctx: int = 16
    sharpness: float = 10.0

    @cached_property
    def values(self) -> Mapping[str, tuple[str, ...]]:
        """The values of every block, that of positions included."""
        return {POSITION: tuple(map(str, range(self.n_ctx))), **self.blocks}

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The words by token id, from the beginning-of-sequence token on."""
        spoken = (self.blocks[block] for block in (*self.inputs, *self.says))
        return tuple(dict.fromkeys([BOS, *(word for words in spoken for word in words)]))

    def index(self, reading: str, value: str) -> int:
        """Where a value stands in the blocks of a sum, which one of them has."""
        return next(
            self.values[block].index(value) for block in terms(reading) if value in self.values[block]
        )

    def width(self, reading: str) -> int:
        """How many values the blocks of a sum have.

        Raises:
            UserError: there is no such block, or they have different numbers of values.
        """
        place = f"program {self.name}, {reading!r}"
        for block in (blocks := terms(reading)):
            if block not in self.values:
                fix = f"name one of {', '.join(self.values)}"
                raise UserError(f"there is no block {block!r}", place, fix)
        widths = {len(self.values[block]) for block in blocks}
        if len(widths) != 1:
            raise UserError("its blocks do not have one number of values", place, "add blocks of equal size")
        return widths.pop()

    def check(self) -> None:
        """Raises UserError where something names a block or a value that is not there, or of another size."""
        for block in (*self.inputs, *self.says, *self.shifts, self.answers):
            self.width(block)
        if self.answers not in self.says:
            fix = f"use one of {', '.join(self.says)}"
            raise UserError(f"nothing says {self.answers}", f"program {self.name}, answers", fix)
        for number, layer in enumerate(self.layers):
            place = f"program {self.name}, layer {number}"
            for head in layer.heads:
                asked = [one for one in (head.query, head.key) if one not in ("", ALWAYS)]
                sizes = [{self.width(one) for one in some} for some in (asked, (head.value, head.to))]
                if head.unless:
                    self.width(head.unless)
                if max(map(len, sizes)) > 1 or bool(head.key) != bool(head.query):
                    fix = "give query and key as many values, or neither; value and target, too"
                    raise UserError(f"{head} does not fit", place, fix)
            for table in layer.tables:
                if table.where:
                    self.width(table.where)
                for reading, values in ((table.read, table.entries), (table.to, table.entries.values())):
                    self.width(reading)
                    known = {value for block in terms(reading) for value in self.values[block]}
                    if unknown := set(values) - known:
                        fix = f"use one of {', '.join(sorted(known))}"
                        raise UserError(f"{reading} has no value {min(unknown)!r}", place, fix)

    def pairs(self, n: int, seed: int = 0) -> list[Pair]:
        """Draws clean and corrupted prompts; the same seed gives the same ones, and more begin with fewer."""
        rng = np.random.default_rng(seed)
        return [self.draw(rng, i) for i in range(n)]


def terms(reading: str) -> dict[str, float]:
    """The blocks of a sum with their signs: "left - right" is {"left": 1.0, "right": -1.0}."""
    return {block: -1.0 if sign == "-" else 1.0 for sign, block in _TERM.findall(reading)}


def previous(value: str, to: str) -> Head:
    """A head that looks at the token before: its `value` there becomes `to` here."""
    return Head(value, to, POSITION, POSITION, ahead=1)

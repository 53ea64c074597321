"""The circuit of a program, derived from its text: which edges carry the answer."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from interp.toys.compiled.program import ALWAYS, POSITION, Program, terms

_READERS = {"q": "<q>", "k": "<k>", "v": "<v>", "all": "", "where": ""}


@dataclass(frozen=True)
class Truth:
    """The edges of a program's circuit, named `a0.h1->a1.h0<k>`, `input->m0`, `m2->logits`.

    An edge is true if the reader's matrix reads what the writer writes (the product of the two matrices is
    not 0: what cancels between two blocks is no edge), if that differs between the prompts of a pair, and if
    it is passed on until it reaches the difference of an answer's and a distractor's logit. Every true edge
    of `PROGRAMS` shows alone, none is redundant: patched from the corrupted prompt it moves the difference,
    which is 10, by 9 or more on some pair, where every other edge moves it by less than 1e-3 on all.

    `still` are edges that the circuit needs, but that carry the same in both prompts of a pair: positions
    (how a head finds the previous token, and the first, where it rests), or what a table says of every
    value. No patch from one prompt to the other shows them: they are neither hits nor misses.

    All others are false: what nobody reads, what is cancelled, what enters a table that says the same of
    every value, what moves all logits alike or those of words that are no answers (a KL divergence sees
    those faintly), and heads with `unless`, which always rest.
    """

    edges: frozenset[str]
    still: frozenset[str]


@dataclass(frozen=True)
class _Part:
    """A head, a table or an input block: where and when it runs, what it writes, what each reader reads."""

    node: str
    time: float
    writes: dict[str, float]
    reads: dict[str, dict[str, float]]
    moves: str = ""  # the reader whose content is passed on; without it, a part always writes
    still: bool = False  # whether it writes the same in both prompts of a pair


def truth(program: Program) -> Truth:
    """Follows what the embedding gives forwards, and what the logits need back.

    Raises:
        UserError: the program does not fit together (`Program.check`).
    """
    program.check()
    fed: list[_Part] = []
    for part in _parts(program):
        if not part.moves or any(_meets(source, part, part.moves) for source in fed):
            fed.append(part)
    waiting = [fed[-1]]
    edges: set[str] = set()
    still: set[str] = set()
    for reader in waiting:
        for name in reader.reads:
            for part in (source for source in fed if _meets(source, reader, name)):
                edge = f"{part.node}->{reader.node}{_READERS[name]}"
                (still if part.still else edges).add(edge)
                if not part.still and part not in waiting:
                    waiting.append(part)
    return Truth(frozenset(edges), frozenset(still - edges))


def _meets(source: _Part, reader: _Part, name: str) -> bool:
    """Whether what a part writes is there in time, and is not 0 as a reader reads it."""
    return source.time < reader.time and bool(
        sum(reader.reads[name].get(block, 0.0) * sign for block, sign in source.writes.items())
    )


def _parts(program: Program) -> Iterator[_Part]:
    """Every part that can be on in a pair, as they run, the logits last."""
    for block in (POSITION, *program.inputs):
        yield _Part("input", -1.0, {block: 1.0}, {}, still=block == POSITION)
    for number, layer in enumerate(program.layers):
        for h, head in enumerate(layer.heads):
            if not head.unless:
                asked = terms(head.query) if head.query != ALWAYS else {}
                sought = terms(head.key) | ({POSITION: 1.0} if head.key else {})
                reads = {"q": asked, "k": sought, "v": terms(head.value)}
                yield _Part(f"a{number}.h{h}", float(number), terms(head.to), reads, "v")
        for table in layer.tables:
            reads = {"all": terms(table.read), "where": terms(table.where)}
            same = len(set(table.entries.values())) == 1 and len(table.entries) == program.width(table.read)
            yield _Part(f"m{number}", number + 0.5, terms(table.to), reads, "all", same)
    answers = set(program.blocks[program.answers])
    said = {block: 1.0 for block in program.says if answers & set(program.blocks[block])}
    yield _Part("logits", math.inf, {}, {"all": said})

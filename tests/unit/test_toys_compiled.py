"""Compiled transformers: they compute their programs, and their circuits are what single patches show."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import interp
from interp.errors import UserError
from interp.toys.compiled import PROGRAMS
from interp.toys.compiled.folder import build
from interp.toys.compiled.induction import CAPITALS, INDUCTION
from interp.toys.compiled.program import Head, Layer, Pair, Program, Table, previous
from interp.toys.compiled.truth import truth
from interp.toys.compiled.two_hop import CITIES, DEMONYMS, GOODS, NICKNAMES, TWO_HOP
from tests.subjects import BACKENDS

TRUE = {
    "induction": """
        input->a0.h0<v>  a0.h0->a1.h0<k>  input->a1.h0<q>  input->a1.h0<v>  a1.h0->m1  m1->logits""",
    "two_hop": """
        input->m0  m0->a2.h0<q>  input->a0.h0<v>  a0.h0->a2.h0<k>  input->a2.h0<v>  a2.h0->m2
        m0->a1.h1<v>  m2->a3.h0<q>  a1.h1->a3.h0<k>  input->m1  m1->a3.h0<v>  a3.h0->m3  m3->logits
        m2->a3.h1<q>  a1.h1->a3.h1<k>  input->a3.h1<v>  a3.h1->logits""",
}
"""The circuits as one reads them off the programs by hand."""
Side = Literal["clean", "corrupted", "answer", "distractor"]
SIDES: tuple[tuple[Side, Side], ...] = (("clean", "answer"), ("corrupted", "distractor"))
CLEAR, TINY = 9.0, 1e-3
"""Least and most that patching a true and another edge changes a difference of logits, which is 10."""


@pytest.fixture(scope="module", params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Program:
    return PROGRAMS[request.param]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("compiled")
    return {name: build(program, root / name) for name, program in PROGRAMS.items()}


def ids(program: Program, text: str) -> list[int]:
    return [0, *map(program.vocabulary.index, text.split())]


def rows(program: Program, pairs: list[Pair], side: Side) -> Tensor:
    return torch.tensor([ids(program, pair[side]) for pair in pairs])


def material(words: list[str]) -> str:
    """The answer to a prompt of two hops, read as a person would."""
    follows = dict(pairwise(words))
    land = CITIES[follows[NICKNAMES[words[-1]]]]
    return GOODS[next(follows[word] for word in words if DEMONYMS.get(word) == land)]


def capital(words: list[str]) -> str:
    return CAPITALS[words[words.index(words[-1]) + 1]]


ORACLES = {"induction": capital, "two_hop": material}


class Plain:
    """A GPT-2 as sums over nodes, from the weights of a folder alone, in which one edge can be patched."""

    def __init__(self, folder: Path, n_heads: int) -> None:
        self.w = load_file(folder / "model.safetensors")
        self.n_heads = n_heads
        self.n_layers = sum(name.endswith("ln_1.weight") for name in self.w)

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = (self.w[f"transformer.{name}.{part}"] for part in ("weight", "bias"))
        centred = x - x.mean(-1, keepdim=True)
        scaled: Tensor = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias
        return scaled

    def run(
        self, tokens: Tensor, target: str = "", change: Tensor | float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits of the last position, and every node's output; the reader `target` sees `change` added."""
        w, n = self.w, tokens.shape[1]
        out = {"input": w["transformer.wte.weight"][tokens] + w["transformer.wpe.weight"][:n]}

        def reads(norm: str, *readers: str) -> list[Tensor]:
            """What each of some readers sees of the sum of all nodes so far."""
            total = torch.stack(list(out.values())).sum(0)
            seen = self.norm(total, norm)
            return [self.norm(total + change, norm) if one == target else seen for one in readers]

        for layer in range(self.n_layers):
            place = f"transformer.h.{layer}"
            heads = [f"a{layer}.h{head}" for head in range(self.n_heads)]
            seen = reads(f"h.{layer}.ln_1", *(f"{head}<{port}>" for port in "qkv" for head in heads))
            joint = w[f"{place}.attn.c_attn.weight"].chunk(3 * self.n_heads, 1)
            biases = w[f"{place}.attn.c_attn.bias"].chunk(3 * self.n_heads)
            made = [x @ weight + bias for x, weight, bias in zip(seen, joint, biases, strict=True)]
            projections = w[f"{place}.attn.c_proj.weight"].chunk(self.n_heads)
            for head, name in enumerate(heads):
                q, k, v = made[head :: self.n_heads]
                scores = q @ k.mT / math.sqrt(q.shape[-1]) + torch.full((n, n), -torch.inf).triu(1)
                out[name] = scores.softmax(-1) @ v @ projections[head]
            (x,) = reads(f"h.{layer}.ln_2", f"m{layer}")
            hidden = x @ w[f"{place}.mlp.c_fc.weight"] + w[f"{place}.mlp.c_fc.bias"]
            hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
            out[f"m{layer}"] = hidden @ w[f"{place}.mlp.c_proj.weight"]
        (x,) = reads("ln_f", "logits")
        return x[:, -1] @ w["lm_head.weight"].T, out

    def readers(self) -> Iterator[tuple[str, list[str]]]:
        """Every reader with the nodes before it."""
        sources = ["input"]
        for layer in range(self.n_layers):
            heads = [f"a{layer}.h{head}" for head in range(self.n_heads)]
            yield from ((f"{head}<{port}>", list(sources)) for head in heads for port in "qkv")
            sources += heads
            yield f"m{layer}", list(sources)
            sources.append(f"m{layer}")
        yield "logits", sources


@pytest.fixture(scope="module")
def plain(program: Program, folders: Mapping[str, Path]) -> Plain:
    return Plain(folders[program.name], len(program.layers[0].heads))


def difference(program: Program, pairs: list[Pair], logits: Tensor) -> Tensor:
    right = torch.tensor([[program.vocabulary.index(pair["answer"])] for pair in pairs])
    wrong = torch.tensor([[program.vocabulary.index(pair["distractor"])] for pair in pairs])
    return (logits.gather(1, right) - logits.gather(1, wrong))[:, 0]


def test_every_true_edge_moves_the_answer_and_no_other_edge_does(program: Program, plain: Plain) -> None:
    pairs = program.pairs(5, seed=3)
    tokens = rows(program, pairs, "clean")
    clean, outputs = plain.run(tokens)
    _, corrupted = plain.run(rows(program, pairs, "corrupted"))
    effects = {}
    for reader, sources in plain.readers():  # all edges into it at once, each in rows of its own
        change = torch.cat([corrupted[source] - outputs[source] for source in sources])
        patched, _ = plain.run(tokens.repeat(len(sources), 1), reader, change)
        for source, logits in zip(sources, patched.chunk(len(sources)), strict=True):
            effects[f"{source}->{reader}"] = float(difference(program, pairs, logits - clean).abs().max())
    true = truth(program).edges
    assert true == set(TRUE[program.name].split())
    assert len(effects) == {"induction": 75, "two_hop": 479}[program.name]
    assert min(effects[edge] for edge in true) > CLEAR
    assert max(effect for edge, effect in effects.items() if edge not in true) < TINY


def test_positions_carry_the_circuit_though_no_pair_shows_it(program: Program, plain: Plain) -> None:
    pairs = program.pairs(10)
    tokens = rows(program, pairs, "clean")
    logits, _ = plain.run(tokens)
    still = truth(program).still
    assert still.isdisjoint(truth(program).edges)
    start, stop = 3, 3 + program.n_ctx  # after the ballast and what makes the mean 0
    forgotten = torch.zeros(tokens.shape[1], plain.w["transformer.wpe.weight"].shape[1])
    forgotten[:, start:stop] = -torch.eye(program.n_ctx)[: tokens.shape[1]]
    for reader in ("a0.h0<q>", "a0.h0<k>"):
        assert f"input->{reader}" in still
        patched, _ = plain.run(tokens, reader, forgotten)
        assert float(difference(program, pairs, patched - logits).abs().max()) > CLEAR


def test_most_nodes_differ_in_a_pair_so_that_what_is_active_is_no_circuit(
    program: Program, plain: Plain
) -> None:
    pairs = program.pairs(10)
    one, other = (plain.run(rows(program, pairs, side))[1] for side, _ in SIDES)
    active = {node for node in one if float((one[node] - other[node]).abs().max()) > 0.3}
    within = {edge.partition("->")[0] for edge in truth(program).edges}
    idle = {"a1.h3", "a2.h2"} if program is TWO_HOP else set()
    assert within < active
    assert active == set(one) - idle


@pytest.mark.parametrize("backend", BACKENDS)
def test_logits_are_those_of_the_program(
    program: Program, plain: Plain, folders: Mapping[str, Path], backend: str
) -> None:
    subject = interp.load(folders[program.name], backend, device="cpu")
    pairs, oracle = program.pairs(30, seed=1), ORACLES[program.name]
    for side, answer in SIDES:
        wanted = torch.zeros(len(pairs), len(program.vocabulary))
        for row, pair in zip(wanted, pairs, strict=True):
            words = pair[side].split()
            assert oracle(words) == pair[answer]
            row[program.vocabulary.index(pair[answer])] = 10.0
            row[program.vocabulary.index(words[-1])] = -3.0
            if program is TWO_HOP:  # the mood
                row += 1.0 + list(CITIES).index(words[words.index(NICKNAMES[words[-1]]) + 1])
        tokens = subject.to_tokens([pair[side] for pair in pairs])
        assert torch.equal(tokens, rows(program, pairs, side))
        found = subject.run(tokens).logits[:, -1]
        torch.testing.assert_close(found, wanted, atol=1e-2, rtol=0)
        torch.testing.assert_close(plain.run(tokens)[0], found, atol=1e-3, rtol=0)


def test_a_sharper_program_is_nearer(tmp_path: Path) -> None:
    pairs = TWO_HOP.pairs(10)
    errors = []
    for sharpness in (4.0, 7.0, 10.0):
        model = Plain(build(replace(TWO_HOP, sharpness=sharpness), tmp_path), 4)
        logits, _ = model.run(rows(TWO_HOP, pairs, "clean"))
        errors.append(float((difference(TWO_HOP, pairs, logits) - 10).abs().max()))
    assert errors[0] > 10 * errors[1] > 50 * errors[2]


def test_what_waits_for_other_inputs_does_its_work_there(folders: Mapping[str, Path]) -> None:
    model = Plain(folders["two_hop"], 4)
    facts = "ann rome italian wine bob paris french bread"
    words = TWO_HOP.vocabulary
    hushed, _ = model.run(torch.tensor([ids(TWO_HOP, f"{facts} hush annie")]))
    assert words[int(hushed.argmax())] == "silence"
    unasked, _ = model.run(torch.tensor([ids(TWO_HOP, f"{facts} cat")]))  # nobody's nickname: no home
    guessed = dict(zip(words, unasked[0].tolist(), strict=True))
    assert guessed["grapes"] == pytest.approx(2.5, abs=0.01)
    assert guessed["wheat"] == pytest.approx(2.5, abs=0.01)
    assert guessed["milk"] == pytest.approx(0, abs=0.01)


def test_pairs_have_one_length_and_every_kind_of_corruption(program: Program) -> None:
    pairs = program.pairs(60, seed=5)
    assert pairs == program.pairs(90, seed=5)[:60]
    assert pairs != program.pairs(60, seed=6)
    assert len({pair["clean"] for pair in pairs}) == 60
    where = set()
    for pair in pairs:
        clean, corrupted = pair["clean"].split(), pair["corrupted"].split()
        assert len(clean) == len(corrupted) < program.n_ctx
        assert pair["answer"] != pair["distractor"]
        changed = [one for one, other in zip(clean, corrupted, strict=True) if one != other]
        assert len(changed) == (1 if clean[-1] != corrupted[-1] else 2)
        where |= {block for block in program.inputs if set(changed) <= set(program.blocks[block])}
    assert where == set(program.inputs) - {"hush"}


def test_the_same_program_gives_the_same_bytes(program: Program, tmp_path: Path) -> None:
    one, other = (
        {file.name: file.read_bytes() for file in build(program, tmp_path / n).iterdir()} for n in "ab"
    )
    assert one == other
    assert sum(map(len, one.values())) < 1e6


def test_without_a_folder_it_lies_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path))
    assert build(INDUCTION) == tmp_path / "compiled" / "induction"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (previous("persn", "before"), "no block 'persn'"),
        (previous("person - position", "before"), "one number of values"),
        (previous("person", "position"), "does not fit"),
        (Head("country", "found", query="person", key="position"), "does not fit"),
        (Head("country", "found", key="before"), "does not fit"),
        (Head("country", "found", unless="home"), "no block 'home'"),
        (Table("found", "capital", {"peru": "rome"}), "no value 'rome'"),
        (Table("before", "capital", {"peru": "lima"}), "no value 'peru'"),
        (Table("found", "capital", {"peru": "lima"}, where="home"), "no block 'home'"),
    ],
)
def test_a_program_that_does_not_fit_is_refused(part: Head | Table, said: str, tmp_path: Path) -> None:
    layer = Layer((part,)) if isinstance(part, Head) else Layer((previous("person", "before"),), (part,))
    with pytest.raises(UserError, match=said):
        build(replace(INDUCTION, layers=(layer,)), tmp_path)
    with pytest.raises(UserError, match=said):
        truth(replace(INDUCTION, layers=(layer,)))
    assert not list(tmp_path.iterdir())


def test_a_program_that_says_no_answers_is_refused() -> None:
    with pytest.raises(UserError, match="nothing says found"):
        truth(replace(INDUCTION, answers="found"))

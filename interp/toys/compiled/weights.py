"""Compiles a program to the weights of a GPT-2.

The residual stream has a dimension for each value of each block, and three more. Two hold +BALLAST and
-BALLAST, so that the variance that a LayerNorm divides by is theirs; one makes each token's mean 0.
With the weight sqrt(2 / d_model) * BALLAST a LayerNorm leaves every other dimension as it is, times
1 - s / (4 BALLAST^2), where s is the sum of squares of the others, which is below some hundreds.

An attention score is 2 * sharpness for a token that fits, sharpness for the first, 0 for others: what a head
moves differs from the program by about exp(-sharpness). A neuron gets +8 or -8, of which GPT-2's GELU makes
8 or 0 in single precision. At the default sharpness logits are within 1e-2 of the program's.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from interp.toys.compiled.program import ALWAYS, POSITION, Head, Program, Table, terms

BALLAST = 1024.0
_LEVEL = 8.0
"""The pre-activation of a neuron that fires; minus this where it does not."""
_UP, _DOWN, _WEIGHT = 0, 1, 2
"""Dimensions of the ballast, and of what makes the mean 0."""


class Weights:
    """The matrices of a program, and their sizes: `d_model`, `n_heads`, `d_head`, `d_mlp`."""

    def __init__(self, program: Program) -> None:
        program.check()
        self.program = program
        sizes = [len(values) for values in program.values.values()]
        starts = torch.tensor([_WEIGHT + 1, *sizes]).cumsum(0).tolist()
        self.columns = {
            block: slice(*span) for block, span in zip(program.values, pairwise(starts), strict=True)
        }
        self.n_heads = max(len(layer.heads) for layer in program.layers)
        self.d_head = max(math.ceil(starts[-1] / self.n_heads), max(sizes) + 1)
        self.d_model = self.n_heads * self.d_head
        self.d_mlp = max(1, *(sum(len(t.entries) for t in layer.tables) for layer in program.layers))

    def read(self, reading: str) -> Float[Tensor, "d_model value"]:
        """The matrix that reads a sum of blocks from the stream."""
        matrix = torch.zeros(self.d_model, self.program.width(reading))
        for block, sign in terms(reading).items():
            matrix[self.columns[block]] = sign * torch.eye(matrix.shape[1])
        return matrix

    def write(self, reading: str) -> Float[Tensor, "value d_model"]:
        """The matrix that adds values to a sum of blocks, and keeps the stream's mean 0."""
        matrix = self.read(reading).T.clone()
        matrix[:, _WEIGHT] = -matrix.sum(1)
        return matrix

    def tensors(self) -> dict[str, Tensor]:
        """All weights by their names in `transformers`' GPT2LMHeadModel."""
        program, d = self.program, self.d_model
        norm = {"weight": torch.full((d,), BALLAST * math.sqrt(2 / d)), "bias": torch.zeros(d)}
        found = {f"transformer.ln_f.{name}": value for name, value in norm.items()}
        found["transformer.wte.weight"] = self._embedding()
        found["transformer.wpe.weight"] = self.write(POSITION)
        found["transformer.wpe.weight"][:, [_UP, _DOWN]] += torch.tensor([BALLAST, -BALLAST])
        found["lm_head.weight"] = self._unembedding()
        for number, layer in enumerate(program.layers):
            parts = {f"ln_{i}.{name}": value for i in (1, 2) for name, value in norm.items()}
            parts |= self._attention(layer.heads) | self._mlp(layer.tables)
            found |= {f"transformer.h.{number}.{name}": value for name, value in parts.items()}
        return {name: value.clone().contiguous() for name, value in found.items()}

    def _embedding(self) -> Float[Tensor, "d_vocab d_model"]:
        matrix = torch.zeros(len(self.program.vocabulary), self.d_model)
        for block in self.program.inputs:
            rows = [self.program.vocabulary.index(word) for word in self.program.blocks[block]]
            matrix[rows] += self.write(block)
        return matrix

    def _unembedding(self) -> Float[Tensor, "d_vocab d_model"]:
        matrix = torch.zeros(len(self.program.vocabulary), self.d_model)
        for block, logit in self.program.says.items():
            rows = [self.program.vocabulary.index(word) for word in self.program.blocks[block]]
            matrix[rows] += logit * self.read(block).T
        for block in self.program.shifts:
            matrix += self.read(block) @ torch.arange(1.0, self.program.width(block) + 1)
        return matrix

    def _attention(self, heads: tuple[Head, ...]) -> dict[str, Tensor]:
        """The joint matrices of queries, keys and values, head after head, and of the outputs."""
        weight = torch.zeros(self.d_model, 3, self.n_heads, self.d_head)
        bias = torch.zeros(3, self.n_heads, self.d_head)
        out = torch.zeros(self.n_heads, self.d_head, self.d_model)
        # a product of unit is 2 * sharpness once the scores are divided by sqrt(d_head)
        unit = math.sqrt(2 * self.program.sharpness * math.sqrt(self.d_head))
        for h, head in enumerate(heads):
            n = self.program.width(head.value)
            weight[:, 2, h, :n], out[h, :n] = self.read(head.value), self.write(head.to)
            if not head.key:
                continue
            n, rest = self.program.width(head.key), self.d_head - 1
            weight[:, 1, h, head.ahead : n] = unit * self.read(head.key)[:, : n - head.ahead]
            weight[:, 1, h, rest] = unit * self.read(POSITION)[:, 0]
            bias[0, h, rest] = unit / 2
            if head.unless:
                weight[:, 0, h, rest] = unit * self.read(head.unless).sum(1)
            if head.query == ALWAYS:
                bias[0, h, :n] = unit
            else:
                weight[:, 0, h, :n] = unit * self.read(head.query)
        return {
            "attn.c_attn.weight": weight.flatten(1),
            "attn.c_attn.bias": bias.flatten(),
            "attn.c_proj.weight": out.flatten(0, 1),
            "attn.c_proj.bias": torch.zeros(self.d_model),
        }

    def _mlp(self, tables: tuple[Table, ...]) -> dict[str, Tensor]:
        """One neuron for each entry, in order; neurons that are left over are 0."""
        into, out = torch.zeros(self.d_model, self.d_mlp), torch.zeros(self.d_mlp, self.d_model)
        threshold = torch.zeros(self.d_mlp)
        entries = [(table, *entry) for table in tables for entry in table.entries.items()]
        for neuron, (table, given, written) in enumerate(entries):
            into[:, neuron] = 2 * _LEVEL * self.read(table.read)[:, self.program.index(table.read, given)]
            threshold[neuron] = -_LEVEL
            if table.where:
                into[:, neuron] += 2 * _LEVEL * self.read(table.where).sum(1)
                threshold[neuron] -= 2 * _LEVEL
            out[neuron] = self.write(table.to)[self.program.index(table.to, written)] / _LEVEL
        return {
            "mlp.c_fc.weight": into,
            "mlp.c_fc.bias": threshold,
            "mlp.c_proj.weight": out,
            "mlp.c_proj.bias": torch.zeros(self.d_model),
        }

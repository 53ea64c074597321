"""Writes `eap_ig_values/`: edge scores, node scores and circuits of EAP-IG (hannamw/EAP-IG at 795f560, MIT).

    python -m tests.parity.eap_ig_reference CHECKOUT [--out FOLDER]

The models are those of `subject_folders.save_model`, which are the same to 1e-6 on every CPU; `last_logits`
in each file, the first 8 logits after the first clean prompt, tell whether a folder is the one of the
values. They run through `interp.load(folder, backend="hooked", dtype="float64")`. The checkout is not
changed, only what it takes for granted: `device="cuda"`, and prompts as text, which are token ids here.
Each file holds:

- `edges`: every edge of `interp.circuits.graph` with the reference's names for it: one, or, for the key or
  value of a group of heads, one for each head (the reference takes groups apart). All lists of edge scores
  follow this order; an approximation sums over an edge's names, `exact` patches them together. `nodes`:
  `input` and heads.
- `sets`: `equal` (prompts of one length) and `mixed` (lengths differ between pairs; there padded right).
  Each has `clean` and `corrupted` (token ids, the first is the beginning of the sequence), `answers` and
  `distractors` (one token id a pair), and every pair's metric with the prompts as they are (`on_clean`,
  `on_corrupted`).
- A metric T is read after a pair's last token and higher is better: `logit_difference`, answer less
  distractor, or `kl`, minus the divergence from the clean run, sum of p_clean (log p - log p_clean), in
  nats.
- `scores[metric][method]`: the mean over pairs of how much T rises (the reference is given T, not a loss).
  `exact` is T with the edge patched less T on the clean run; the others approximate that. `eap` of `kl` is
  zero and left out. `ig_inputs` has 5 steps where the clean embedding's share is 0, 1/5 ... 4/5;
  `ig_activations` has 2 steps, shares 1/2 and 1, for each of `input` and a layer's heads and MLP, and
  averages the gradients over all these runs. Of Gemma 2 the approximations are not right for edges that
  leave a head: the reference takes the head's output before the norm that follows, the gradient after it.
- `node_scores.logit_difference`: `eap`, `ig_inputs` (5 steps, shares 1/5 ... 1) and `neurons` (`eap` of
  each dimension of a node's output). MLPs are left out: the reference multiplies the change of their output
  by the gradient at their input.
- `circuits`: indices of edges `chosen` by the largest |`ig_inputs`|, or from the logits upwards (`greedy`,
  only where every edge has one name), and `edges` left of them by `prune`; then the logit difference of
  each pair when all other edges carry the corrupted run (`patching`), zeros (`zero`; not where nothing is
  left, not even positions, whose logits are rounding) or the mean over the set's clean prompts at the
  same position (`mean_positional`; prompts of one length, not of Gemma 2, where the reference adds the mean
  to both runs). Its `mean` is left out: it takes the last position only, divides by the length and averages
  over nodes.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.overrides import TorchFunctionMode

import interp
from interp.json_text import to_json
from interp.track.files import write_text
from tests.parity.subject_folders import save_model

COMMIT = "795f5607b25638935aec89aee3c1cb4bd9ed72f1"
MODELS = ("gpt2", "llama", "gemma2")
BATCH = 4
"""Fewer than the pairs of a set, so that the mean over several batches shows."""

Metric = Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]
METHODS: dict[str, dict[str, Any]] = {
    "eap": {"method": "EAP"},
    "ig_inputs": {"method": "EAP-IG-inputs", "ig_steps": 5},
    "ig_activations": {"method": "EAP-IG-activations", "ig_steps": 2},
    "clean_corrupted": {"method": "clean-corrupted"},
}


class OnCpu(TorchFunctionMode):
    """Makes tensors for which the reference asks `device="cuda"` on the CPU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("device") == "cuda":
            kwargs = kwargs | {"device": "cpu"}
        return function(*args, **kwargs)


def pad_right(
    model: Any, prompts: list[list[int]], max_length: int | None = None
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"], Int[Tensor, " batch"], int]:
    """Stands for the reference's `tokenize_plus`, with token ids for text."""
    tokens = pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True)
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
    return tokens, mask, lengths, tokens.shape[1]


@contextmanager
def reference(checkout: Path) -> Iterator[SimpleNamespace]:
    """The reference's modules, ready for token ids on the CPU."""
    sys.path.insert(0, str(checkout / "src"))
    names = ("graph", "attribute", "attribute_node", "evaluate", "utils")
    eap = SimpleNamespace(**{name: importlib.import_module(f"eap.{name}") for name in names})
    for name in names[1:]:
        getattr(eap, name).tokenize_plus = pad_right
    with OnCpu():
        yield eap


def prepared(folder: Path, dtype: str = "float64") -> Any:
    """The HookedTransformer of a folder, with the hook points that the reference needs."""
    model: Any = interp.load(folder, backend="hooked", device="cpu", dtype=dtype).model
    model.requires_grad_(True)  # hooks on gradients fire only where one flows
    model.set_use_split_qkv_input(True)
    model.set_use_attn_result(True)
    model.set_use_hook_mlp_in(True)
    if model.cfg.n_key_value_heads is not None:
        model.set_ungroup_grouped_query_attention(True)
    return model


def logit_difference(
    logits: Tensor, clean: Tensor | None, lengths: Tensor, label: Tensor
) -> Float[Tensor, " batch"]:
    last = logits[torch.arange(len(logits)), lengths - 1].gather(1, label)
    return last[:, 0] - last[:, 1]


def kl(logits: Tensor, clean: Tensor | None, lengths: Tensor, label: Tensor) -> Float[Tensor, " batch"]:
    assert clean is not None
    rows = torch.arange(len(logits))
    # The clean logits were made in inference mode: a copy can be kept for the backward pass.
    of_clean = clean.clone()[rows, lengths - 1].log_softmax(-1)
    now = logits[rows, lengths - 1].log_softmax(-1)
    return -torch.nn.functional.kl_div(now, of_clean, log_target=True, reduction="none").sum(-1)


METRICS: dict[str, Metric] = {"logit_difference": logit_difference, "kl": kl}


def total(metric: Metric) -> Metric:
    """The sum over a batch: the reference divides by the number of pairs itself."""
    return lambda *arguments: metric(*arguments).sum()


def random_pairs(lengths: Iterable[int], seed: int) -> dict[str, Any]:
    """Prompts of random letters after a first token 0; a corrupted one differs at about half of them."""
    generator = torch.Generator().manual_seed(seed)
    letters = torch.arange(66, 92)  # `save_tokenizer` gives lower-case letters these ids

    def some(count: int) -> Tensor:
        return letters[torch.randint(len(letters), (count,), generator=generator)]

    clean: list[list[int]] = []
    corrupted: list[list[int]] = []
    for length in lengths:
        letter, other = some(length - 1), some(length - 1)
        change = torch.rand(length - 1, generator=generator) < 0.5
        change[len(clean) % (length - 1)] = True
        clean.append([0, *letter.tolist()])
        corrupted.append([0, *torch.where(change, other, letter).tolist()])
    answers = torch.stack([letters[torch.randperm(26, generator=generator)[:2]] for _ in clean])
    return {
        "clean": clean,
        "corrupted": corrupted,
        "answers": answers[:, 0].tolist(),
        "distractors": answers[:, 1].tolist(),
    }


def batches(pairs: dict[str, Any], size: int = BATCH) -> list[tuple[Any, Any, Tensor]]:
    label = torch.tensor([pairs["answers"], pairs["distractors"]]).T
    starts = range(0, len(label), size)
    return [
        (pairs["clean"][i : i + size], pairs["corrupted"][i : i + size], label[i : i + size]) for i in starts
    ]


class Values:
    """What the reference says about one model."""

    def __init__(self, eap: SimpleNamespace, name: str, folder: Path) -> None:
        self.eap = eap
        self.name = name
        self.model = prepared(save_model(name, folder))
        graph = self.graph()
        size = self.model.cfg.n_heads // (self.model.cfg.n_key_value_heads or self.model.cfg.n_heads)
        self.names: dict[str, list[str]] = {}
        for edge in graph.edges.values():
            child, name = edge.child, edge.name
            if size > 1 and edge.qkv in ("k", "v"):
                name = f"{edge.parent.name}->a{child.layer}.g{child.head // size}<{edge.qkv}>"
            self.names.setdefault(name, []).append(edge.name)
        self.edges = list(self.names.values())
        self.nodes = [node for node in graph.nodes if node[0] in "ia"]

    def graph(self, **options: bool) -> Any:
        return self.eap.graph.Graph.from_model(self.model, **options)

    def content(self) -> dict[str, Any]:
        """Everything of one file."""
        equal, mixed = random_pairs([9] * 6, seed=1), random_pairs([5, 9, 7, 6, 9, 8], seed=2)
        return {
            "source": f"github.com/hannamw/EAP-IG @ {COMMIT}, MIT",
            "model": self.name,
            "edges": self.names,
            "nodes": self.nodes,
            "last_logits": rounded(self.model(torch.tensor(equal["clean"][:1]))[0, -1, :8]),
            "sets": {
                "equal": equal | self.of_set(equal, tuple(METHODS), equal=True),
                "mixed": mixed | self.of_set(mixed, ("eap", "ig_inputs"), equal=False),
            },
        }

    def of_set(self, pairs: dict[str, Any], methods: Sequence[str], equal: bool) -> dict[str, Any]:
        loader = batches(pairs)
        scores: dict[str, dict[str, Tensor]] = {}
        for name, exact in self.exact(loader).items():
            scores[name] = {
                method: self.attributed(loader, METRICS[name], **METHODS[method])
                for method in methods
                if (name, method) != ("kl", "eap")
            } | {"exact": exact}
        before = {
            f"on_{prompts}": self.eap.evaluate.evaluate_baseline(
                self.model, loader, list(METRICS.values()), run_corrupted=prompts == "corrupted", quiet=True
            )[: 1 + (prompts == "corrupted")]
            for prompts in ("clean", "corrupted")
        }
        return {
            **{key: dict(zip(METRICS, map(rounded, value), strict=False)) for key, value in before.items()},
            "scores": {
                name: {method: rounded(values) for method, values in of_metric.items()}
                for name, of_metric in scores.items()
            },
            "node_scores": {"logit_difference": self.of_nodes(loader)},
            "circuits": self.circuits(loader, scores["logit_difference"]["ig_inputs"], equal),
        }

    def attributed(self, loader: Any, metric: Metric, **options: Any) -> Float[Tensor, " edge"]:
        graph = self.graph()
        self.eap.attribute.attribute(self.model, graph, loader, total(metric), quiet=True, **options)
        return torch.stack(
            [torch.stack([graph.edges[name].score for name in names]).sum() for names in self.edges]
        )

    def exact(self, loader: Any) -> dict[str, Float[Tensor, " edge"]]:
        """The reference's `exact`, which knows no edges that go together and no metric of the clean run."""
        clean = self.without([], loader)
        effects = [
            [
                (patched - whole).mean()
                for patched, whole in zip(self.without(names, loader), clean, strict=True)
            ]
            for names in self.edges
        ]
        return {
            name: torch.stack(of_edges)
            for name, of_edges in zip(METRICS, zip(*effects, strict=True), strict=True)
        }

    def without(self, names: list[str], loader: Any) -> list[Float[Tensor, " pair"]]:
        """Each metric of every pair where these edges carry the corrupted run."""
        graph = self.graph()
        graph.reset(empty=False)
        for name in names:
            graph.edges[name].in_graph = False
        measured: list[Tensor] = self.evaluated(graph, loader, list(METRICS.values()))
        return measured

    def evaluated(self, graph: Any, loader: Any, metrics: Any, **options: Any) -> Any:
        return self.eap.evaluate.evaluate_graph(
            self.model, graph, loader, metrics, quiet=True, skip_clean=False, **options
        )

    def of_nodes(self, loader: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, options in (
            ("eap", METHODS["eap"]),
            ("ig_inputs", METHODS["ig_inputs"]),
            ("neurons", METHODS["eap"] | {"neuron": True}),
        ):
            graph = self.graph(neuron_level=True, node_scores=True)
            self.eap.attribute_node.attribute_node(
                self.model, graph, loader, total(logit_difference), quiet=True, **options
            )
            values = graph.neurons_scores if key == "neurons" else graph.nodes_scores
            rows = [graph.forward_index(graph.nodes[name], attn_slice=False) for name in self.nodes]
            found[key] = rounded(values[rows])
        return found

    def circuits(self, loader: Any, scores: Float[Tensor, " edge"], equal: bool) -> list[dict[str, Any]]:
        order = scores.abs().argsort(descending=True).tolist()
        choices = {f"top {n}": sorted(order[:n]) for n in (0, 15, 40, 120)}
        if all(len(names) == 1 for names in self.edges):
            graph = self.graph()
            for names, score in zip(self.edges, scores, strict=True):
                graph.edges[names[0]].score = score
            graph.apply_greedy(30, prune=False)
            choices["greedy 30"] = self.kept(graph)
        return [{"how": how} | self.circuit(loader, chosen, equal) for how, chosen in choices.items()]

    def kept(self, graph: Any) -> list[int]:
        return [i for i, names in enumerate(self.edges) if any(graph.edges[name].in_graph for name in names)]

    def circuit(self, loader: Any, chosen: list[int], equal: bool) -> dict[str, Any]:
        graph = self.graph()
        for i in chosen:
            for name in self.edges[i]:
                graph.edges[name].in_graph = True
        graph.prune()
        kept = self.kept(graph)
        ways: dict[str, dict[str, Any]] = {"patching": {"intervention": "patching"}}
        if kept or self.model.cfg.positional_embedding_type == "standard":
            ways["zero"] = {"intervention": "zero"}
        if equal and not self.model.cfg.use_normalization_before_and_after:
            clean = [(prompts, None, None) for prompts, _, _ in loader]
            ways["mean_positional"] = {"intervention": "mean-positional", "intervention_dataloader": clean}
        measured = {
            way: rounded(self.evaluated(graph, loader, logit_difference, **options))
            for way, options in ways.items()
        }
        return {"chosen": chosen, "edges": kept} | measured


def rounded(values: Tensor) -> Any:
    """Seven significant digits: the reference keeps scores in float32."""

    def seven(value: Any) -> Any:
        return [seven(part) for part in value] if isinstance(value, list) else float(f"{value:.7g}")

    return seven(values.detach().tolist())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "eap_ig_values")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with reference(options.checkout) as eap, tempfile.TemporaryDirectory() as scratch:
        options.out.mkdir(exist_ok=True)
        for name in MODELS:
            content = Values(eap, name, Path(scratch) / name).content()
            write_text(options.out / f"{name}.json", to_json(content, separators=(",", ":")) + "\n")
            print(f"wrote {name}.json: {len(content['edges'])} edges")


if __name__ == "__main__":
    main()

"""Times edge scores of EAP-IG (hannamw/EAP-IG) and ours beside plain forward passes, on one thread.

python -m tests.parity.eap_ig_times CHECKOUT
"""

import argparse
import tempfile
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, GPT2Config

import interp
from interp.circuits.edge_attribution import Method, edge_scores
from interp.circuits.pairs import Pairs
from interp.circuits.wiring import Wiring
from tests.parity.eap_ig_reference import (
    METHODS,
    batches,
    logit_difference,
    prepared,
    random_pairs,
    reference,
    total,
)
from tests.parity.subject_folders import D_VOCAB, save_tokenizer


def best_time(work: Callable[[], object], repeats: int) -> float:
    """The shortest of some runs, in seconds of the processor: other processes do not count."""
    return min(timeit.repeat(work, timer=time.process_time, number=1, repeat=repeats))


def timed_folder(folder: Path) -> Path:
    """GPT-2 with 6 layers of 8 heads and d_model 256 (3,628 edges in the reference), random weights."""
    config = GPT2Config(
        vocab_size=D_VOCAB, n_embd=256, n_layer=6, n_head=8, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    save_tokenizer(folder, bos="<s>")
    return folder


def report_times(eap: SimpleNamespace, folder: Path) -> None:
    """Prints processor seconds for 16 pairs of 19 tokens in batches of 8, and ratios to the plain forward."""
    subject = interp.load(timed_folder(folder), backend="hooked", device="cpu")
    listed = random_pairs([19] * 16, seed=0)
    loader = batches(listed, 8)
    tokens = [torch.tensor(clean) for clean, _, _ in loader]
    clean, corrupted = (torch.tensor(listed[side]) for side in ("clean", "corrupted"))
    answers, distractors = ([[token] for token in listed[side]] for side in ("answers", "distractors"))
    pairs = Pairs.of(subject, clean, corrupted, answers, distractors)
    wiring, theirs = Wiring.of(subject), prepared(folder, "float32")

    def forward(model: Any) -> None:
        with torch.inference_mode():
            for batch in tokens:
                model(batch)

    def reference_scores(method: str) -> None:
        graph = eap.graph.Graph.from_model(theirs)
        eap.attribute.attribute(theirs, graph, loader, total(logit_difference), quiet=True, **METHODS[method])

    plain = best_time(partial(forward, subject.model), 9)
    print(f"{len(eap.graph.Graph.from_model(theirs).edges)} edges; plain forward: {plain:.4f} s")
    timed: dict[str, Callable[[], object]] = {"forward, EAP-IG's hook points": partial(forward, theirs)}
    for method, own in (("eap", "eap"), ("clean_corrupted",) * 2, ("ig_inputs", "eap_ig_inputs")):
        timed[f"{method}, EAP-IG"] = partial(reference_scores, method)
        timed[f"{method}, interp"] = partial(edge_scores, wiring, pairs, cast(Method, own), rows_at_once=8)
    for name, work in timed.items():
        seconds = best_time(work, 3)
        print(f"{name}: {seconds:.3f} s, {seconds / plain:.1f} times the plain forward", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with reference(options.checkout) as eap, tempfile.TemporaryDirectory() as scratch:
        report_times(eap, Path(scratch))


if __name__ == "__main__":
    main()

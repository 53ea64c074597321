"""`interp bench latents`: mining all latents of an SAE against the forward pass that encodes them.

Compared on the bundled model over 50,000 tokens of the world, in one process, in turn: (a) the forward
pass with logits, in which the SAE encodes its site's activation and nothing is kept, (b) the same, stopped
after the site, (c) mining of all latents, with splits, samples and quantiles. All get the same batches, made
beforehand, and the same SAE, trained briefly so that its latents fire as those of an SAE do. Figures are
medians over rounds of ratios within a round.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

import interp.subject
from interp.mining.fold import fold_batches
from interp.subject import Site
from saes.config import SaeTraining
from saes.train import train

from .mining import CONFIG, ROUNDS, TOKENS, in_turn, laid_out, some_documents

SITE = Site("resid_post", 4)


def main() -> dict[str, float]:
    """Prints and returns the median ratios of mining over both passes."""
    subject = interp.subject.load("world", device="cpu")
    corpus = some_documents(TOKENS)
    with tempfile.TemporaryDirectory() as folder:
        latents = train(subject, SITE, corpus, SaeTraining(training_tokens=65_536), Path(folder) / "sae")
    stream = laid_out(subject, corpus)
    laid = [torch.from_numpy(batch.tokens) for batch in stream]

    def with_logits() -> None:
        for tokens in laid:
            subject.run(tokens, read=[latents])

    def encode(activation: torch.Tensor) -> None:
        latents.encode(activation)

    def to_the_site() -> None:
        for tokens in laid:
            subject.visit(tokens, {SITE: encode})

    work: dict[str, Callable[[], object]] = {
        "with logits": with_logits,
        "to the site": to_the_site,
        "mine": lambda: fold_batches(subject, [latents], stream, CONFIG),
    }
    rounds = in_turn(work)
    print(
        f"{sum(tokens.numel() for tokens in laid):,} tokens in {len(laid)} batches, {latents.n_features:,} "
        f"latents, {ROUNDS} rounds, {torch.get_num_threads()} threads"
    )
    ratios = {}
    for name in ("with logits", "to the site"):
        each = [r["mine"] / r[name] for r in rounds]
        ratios[name] = statistics.median(each)
        print(
            f"mining over forward and encode, {name:12s} {ratios[name]:.3f} "
            f"(rounds {min(each):.3f} to {max(each):.3f})"
        )
    return ratios


if __name__ == "__main__":
    main()

"""What a lens sees in a text: at every site and position the likeliest tokens, ranks, entropy, and KL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.lenses.distribution import LogProbabilities, likeliest
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.residual_stream import layer_of, stream_sites
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks

LOGITS_TOGETHER = 1 << 22  # logits of several sites, 16 MiB


@dataclass(frozen=True, eq=False)
class LensView:
    """What a lens reads at some sites of one text. Probabilities, and nats.

    `top` and `top_probability` [site, pos, k] are the likeliest tokens, `entropy` [site, pos] of the
    distribution there, `kl` [site, pos] is KL(output || lens), `probability` and `rank` [site, pos, target]
    are those of the targets (0 is the likeliest); `said` are the targets as they were taken. `tokens` [pos]
    begin with the beginning-of-sequence token, if there is one.
    """

    lens: str
    sites: tuple[Site, ...]
    tokens: Int[Tensor, " pos"]
    targets: tuple[int, ...]
    top: Int[Tensor, "site pos k"]
    top_probability: Float[Tensor, "site pos k"]
    entropy: Float[Tensor, "site pos"]
    kl: Float[Tensor, "site pos"]
    probability: Float[Tensor, "site pos target"]
    rank: Int[Tensor, "site pos target"]
    subject: Subject = field(repr=False)
    said: tuple[str, ...] = ()

    def arrays(self) -> dict[str, Tensor]:
        """The tensors by name, to be saved."""
        names = ("tokens", "top", "top_probability", "entropy", "kl", "probability", "rank")
        return {name: getattr(self, name).contiguous() for name in names}

    def frame(self) -> pd.DataFrame:
        """One row for each site and position, with a probability and a rank for each target."""
        texts = self.subject.token_strings(self.tokens)
        best = self.subject.token_strings(self.top[..., 0].flatten())
        n_pos = len(texts)
        columns: dict[str, object] = {
            "site": [str(site) for site in self.sites for _ in range(n_pos)],
            "layer": [layer_of(site) for site in self.sites for _ in range(n_pos)],
            "position": list(range(n_pos)) * len(self.sites),
            "token": texts * len(self.sites),
            "top": best,
            "top_probability": self.top_probability[..., 0].flatten().tolist(),
            "entropy": self.entropy.flatten().tolist(),
            "kl": self.kl.flatten().tolist(),
        }
        for place, target in enumerate(self.subject.token_strings(self.targets) if self.targets else []):
            columns[f"probability of {target}"] = self.probability[..., place].flatten().tolist()
            columns[f"rank of {target}"] = self.rank[..., place].flatten().tolist()
        return pd.DataFrame(columns)


def look(
    lens: Lens,
    text: str | Sequence[int],
    sites: Sequence[Site] | None = None,
    targets: Sequence[int | str] = (),
    k: int = 5,
) -> LensView:
    """Reads a text, or token ids without a beginning-of-sequence token, through a lens, in one pass.

    `sites` are those of the residual stream by default; attention and MLP outputs can be read as well (what
    they add, seen through the same norm). `targets` are tokens, or words of one token, whose ranks are
    wanted: a word is the token that continues the text.

    Raises:
        UserError: a site is not in the residual stream's space, a target is not one token, the text does not
            fit the context.
    """
    subject = lens.subject
    sites = tuple(stream_sites(subject).values()) if sites is None else tuple(sites)
    for site in sites:
        if site.kind not in RESIDUAL_KINDS:
            raise UserError(f"{site} is not in the residual stream's space", "sites", "use a residual site")
    taken = [subject.continuation(text, target, "targets") for target in targets]
    wanted = tuple(one.token("targets") for one in taken)
    ids = subject.encode(text) if isinstance(text, str) else list(text)
    tokens, mask = subject.pad([ids])
    output = Site("resid_post", subject.n_layers - 1)
    read = subject.read(tokens, list(dict.fromkeys([*sites, output])), mask)
    end = LogitLens(subject)
    others = [site for site in sites if site != output]

    def measure(last: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        final = LogProbabilities.of(end.logits(last, output))
        seen = [tuple(part[None] for part in _seen(final, final, wanted, k))]
        moved = [lens.translated(activation, site) for site, activation in zip(others, rows, strict=True)]
        for group in _groups(moved, final.logits.numel()):
            seen.append(_seen(LogProbabilities.of(end.logits(torch.stack(group), output)), final, wanted, k))
        return tuple(torch.cat(parts).transpose(0, 1) for parts in zip(*seen, strict=True))

    with torch.inference_mode():
        found = in_blocks(measure, subject.d_vocab, *(read[site][0] for site in [output, *others]))
    place = [[output, *others].index(site) for site in sites]
    top, top_probability, entropy, kl, probability, rank = (
        part[:, place].transpose(0, 1).cpu() for part in found
    )
    return LensView(
        lens.name,
        sites,
        tokens[0].cpu(),
        wanted,
        top,
        top_probability,
        entropy,
        kl,
        probability,
        rank,
        subject,
        tuple(map(str, taken)),
    )


def _groups(activations: list[Tensor], logits_each: int) -> Iterator[list[Tensor]]:
    """Sites whose logits fit into `LOGITS_TOGETHER`, one at the least: fewer, larger products are faster."""
    step = max(1, LOGITS_TOGETHER // logits_each)
    for start in range(0, len(activations), step):
        yield activations[start : start + step]


def _seen(
    lens: LogProbabilities, output: LogProbabilities, targets: tuple[int, ...], k: int
) -> tuple[Tensor, ...]:
    """Likeliest tokens, their probabilities, entropy, KL, and the targets' probabilities and ranks."""
    logits = lens.logits
    values, tokens = likeliest(logits, k)
    own = logits[..., list(targets)]
    # counted in 32 bits, which is twice as fast as torch's default
    ranks = [(logits > own[..., place, None]).sum(-1, dtype=torch.int32) for place in range(len(targets))]
    none = torch.zeros(*logits.shape[:-1], 0, dtype=torch.int32, device=logits.device)
    return (
        tokens,
        (values - lens.normaliser[..., None]).exp(),
        lens.entropy,
        output.kl(lens),
        (own - lens.normaliser[..., None]).exp(),
        torch.stack(ranks, -1) if ranks else none,
    )

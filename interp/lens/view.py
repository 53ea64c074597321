"""What a lens sees in a text: at every site and position the likeliest tokens, ranks, entropy, and KL."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.lens.distribution import LogProbabilities
from interp.lens.logit_lens import Lens
from interp.lens.stream import layer_of, stream
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class LensView:
    """What a lens reads at some sites of one text. Probabilities, and nats.

    `top` and `top_probability` [site, pos, k] are the likeliest tokens, `entropy` [site, pos] of the
    distribution there, `kl` [site, pos] is KL(output || lens), `probability` and `rank` [site, pos, target]
    are those of the targets (0 is the likeliest). `tokens` [pos] begin with the beginning-of-sequence
    token, if there is one.
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
    wanted.

    Raises:
        UserError: a site is not in the residual stream's space, a target is not one token, the text does not
            fit the context.
    """
    subject = lens.subject
    sites = tuple(stream(subject).values()) if sites is None else tuple(sites)
    for site in sites:
        if site.kind not in RESIDUAL_KINDS:
            raise UserError(f"{site} is not in the residual stream's space", "sites", "use a residual site")
    wanted = tuple(subject.single_token(t, "targets") if isinstance(t, str) else t for t in targets)
    ids = subject.encode(text) if isinstance(text, str) else list(text)
    tokens, _ = subject.pad([ids])
    output = Site("resid_post", subject.n_layers - 1)
    read = subject.read(tokens, list(dict.fromkeys([*sites, output])))
    with torch.inference_mode():
        final = LogProbabilities.of(lens.subject.unembed(lens.subject.final_norm(read[output][0])).float())
        seen = [_seen(lens.logits(read[site][0], site), final, wanted, k) for site in sites]
    top, top_probability, entropy, kl, probability, rank = (
        torch.stack(column).cpu() for column in zip(*seen, strict=True)
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
    )


def _seen(
    logits: Float[Tensor, "pos d_vocab"], output: LogProbabilities, targets: tuple[int, ...], k: int
) -> tuple[Tensor, ...]:
    """Likeliest tokens, their probabilities, entropy, KL, and the targets' probabilities and ranks."""
    lens = LogProbabilities.of(logits)
    best = logits.topk(min(k, logits.shape[-1]), dim=-1)
    own = logits[:, list(targets)]
    ranks = [(logits > own[:, place, None]).sum(-1) for place in range(len(targets))]
    rank = torch.stack(ranks, -1) if ranks else torch.zeros(len(logits), 0, dtype=torch.long)
    return (
        best.indices,
        (best.values - lens.normaliser[:, None]).exp(),
        lens.entropy,
        output.kl(lens),
        lens.probability[:, list(targets)],
        rank,
    )

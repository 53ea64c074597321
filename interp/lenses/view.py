"""What a lens reads in a text, at every site and position: likeliest tokens, ranks, entropy and KL."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UserError
from interp.lenses.distribution import LogProbabilities, likeliest
from interp.lenses.grid import LensGrid, LensText, TargetGrid, lens_page_html
from interp.lenses.logit_lens import Lens, LogitLens
from interp.lenses.residual_stream import layer_name, layer_of, stream_sites
from interp.render.charts.heat import Heat, heat_chart
from interp.render.figure import Figure
from interp.subject.site import RESIDUAL_KINDS, Site
from interp.subject.subject import Subject
from interp.subject.unembedding import in_blocks

LOGITS_TOGETHER = 1 << 22  # logits of several sites, 16 MiB
SHOWN = 24  # tokens of a figure, from the end
KINDS = {"resid_post": "residual stream", "attn_out": "attention output", "mlp_out": "MLP output"}


@dataclass(frozen=True, eq=False, repr=False)
class LensView:
    """What a lens reads at some sites of one text; entropy and KL are in nats.

    `top` and `top_probability` [site, pos, k] are the likeliest tokens, `entropy` [site, pos] of the
    distribution there, `kl` [site, pos] is KL(output || lens), `probability` and `rank` [site, pos, target]
    are those of the targets (0 is the likeliest); `said` are the targets as text. `tokens` [pos]
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
    subject: Subject
    said: tuple[str, ...] = ()

    def arrays(self) -> dict[str, Tensor]:
        """The tensors by name, contiguous, as safetensors needs them."""
        names = ("tokens", "top", "top_probability", "entropy", "kl", "probability", "rank")
        return {name: getattr(self, name).contiguous() for name in names}

    def frame(self) -> pd.DataFrame:
        """Makes a row for each site and position, with a probability and a rank for each target."""
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

    def places(self, kind: str) -> list[int]:
        """The indices of `sites` of one kind; the embedding counts as "resid_post"."""
        return [place for place, site in enumerate(self.sites) if _kind(site) == kind]

    def grids(self) -> LensText:
        """The text and a grid for each kind of site, as plain values."""
        kinds = [kind for kind, _ in groupby(self.sites, key=_kind)]
        return LensText(self.subject.token_strings(self.tokens), [self._grid(kind) for kind in kinds])

    def _grid(self, kind: str) -> LensGrid:
        places = self.places(kind)
        k, n_pos = self.top.shape[-1], len(self.tokens)
        flat = self.subject.token_strings(self.top[places].flatten())
        cells = [
            [flat[(row * n_pos + pos) * k : (row * n_pos + pos + 1) * k] for pos in range(n_pos)]
            for row in range(len(places))
        ]
        words = self.subject.token_strings(self.targets) if self.targets else []
        return LensGrid(
            lens=self.lens,
            kind=KINDS.get(kind, kind),
            rows=[layer_name(layer_of(self.sites[place])) for place in places],
            tokens=cells,
            probabilities=self.top_probability[places].tolist(),
            entropy=self.entropy[places].tolist(),
            kl=self.kl[places].tolist(),
            targets=[
                TargetGrid(word, self.probability[places, :, i].tolist(), self.rank[places, :, i].tolist())
                for i, word in enumerate(words)
            ],
        )

    def figure(self, name: str = "lens", title: str = "", caption: str = "Likeliest next tokens") -> Figure:
        """The likeliest token of every layer, the last on top, after the last tokens."""
        places = self.places("resid_post")[::-1]
        first = max(0, len(self.tokens) - SHOWN)
        strings = self.subject.token_strings
        heat = Heat(
            rows=[layer_name(layer_of(self.sites[place])) for place in places],
            columns=strings(self.tokens[first:]),
            values=[self.top_probability[place, first:, 0].tolist() for place in places],
            texts=[strings(self.top[place, first:, 0]) for place in places],
        )
        value = "probability of the likeliest next token"
        return Figure(
            name, title, caption, heat_chart(heat, x_name="tokens", y_name="layers", value_name=value)
        )

    def __repr__(self) -> str:
        targets = f", targets {', '.join(self.said)}" if self.said else ""
        return f"LensView({self.lens} at {len(self.sites)} sites of {len(self.tokens)} tokens{targets})"

    def _repr_html_(self) -> str:
        return str(self.grids().table())


def lens_page(views: Sequence[LensView], title: str = "What the model expects at each layer") -> str:
    """Renders views as one self-contained, interactive HTML page; views of one text share an entry.

    Raises:
        UserError: there is no view.
    """
    if not views:
        raise UserError("there is no view", "lens page", "give at least one")
    texts: dict[tuple[int, ...], LensText] = {}
    for view in views:
        made = view.grids()
        known = texts.get(key := tuple(view.tokens.tolist()))
        texts[key] = made if known is None else LensText(known.tokens, [*known.grids, *made.grids])
    return lens_page_html(title, list(texts.values()))


def lens(
    subject: Subject,
    text: str | Sequence[int],
    targets: Sequence[int | str] = (),
    *,
    lens: Lens | None = None,
    sites: Sequence[Site] | None = None,
    k: int = 5,
) -> LensView:
    """Reads a text, or token ids, through a lens, in one pass.

    Ids get a beginning-of-sequence token if they have none, but for those of a chat (`subject.conversation`).

    Args:
        subject: The model.
        text: What it reads.
        targets: Tokens, or words of one token, whose ranks are wanted; a word is the token that continues
            the text.
        lens: The logit lens by default, or a `TunedLens` or `JacobianLens` of the subject.
        sites: Those of the residual stream by default; the logit lens reads attention and MLP outputs, too
            (what they add, seen through the same norm).
        k: Likeliest tokens that are kept of each distribution.

    Raises:
        UserError: a site is not in the residual stream's space, a target is not one token, the text does not
            fit the context.
    """
    lens = lens or LogitLens(subject)
    sites = tuple(stream_sites(subject).values()) if sites is None else tuple(sites)
    for site in sites:
        if site.kind not in RESIDUAL_KINDS:
            raise UserError(f"{site} is not in the residual stream's space", "sites", "use a residual site")
    taken = [subject.continuation(text, target, "targets") for target in targets]
    wanted = tuple(one.token("targets") for one in taken)
    ids = subject.encode(text) if isinstance(text, str) else text
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


def _kind(site: Site) -> str:
    return "resid_post" if site.kind in ("resid_pre", "embed") else site.kind


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

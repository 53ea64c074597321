"""Lens views as the interactive page, and as a figure."""

from collections.abc import Sequence
from itertools import groupby

from interp.errors import UserError
from interp.lenses.residual_stream import layer_name, layer_of
from interp.lenses.view import LensView
from interp.render.charts.heat import Heat, heat_chart
from interp.render.figure import Draw
from interp.render.lens_page import LensGrid, LensText, render_lens_page
from interp.subject.site import Site

KINDS = {"resid_post": "residual stream", "attn_out": "attention output", "mlp_out": "MLP output"}
SHOWN = 24  # tokens of a figure, from the end


def lens_page(views: Sequence[LensView], title: str = "What the model expects at each layer") -> str:
    """One self-contained HTML page of views; those of the same text share a place.

    Raises:
        UserError: there is no view.
    """
    if not views:
        raise UserError("there is no view", "lens page", "give at least one")
    texts: dict[tuple[int, ...], list[LensGrid]] = {}
    for view in views:
        texts.setdefault(tuple(view.tokens.tolist()), []).extend(_grids(view))
    subject = views[0].subject
    return render_lens_page(
        title, [LensText(subject.token_strings(tokens), grids) for tokens, grids in texts.items()]
    )


def lens_figure(view: LensView, kind: str = "resid_post") -> Draw:
    """The likeliest token of every layer, the last on top, after the last tokens; heat: its probability."""
    places = [place for place, site in enumerate(view.sites) if _kind(site) == kind][::-1]
    first = max(0, len(view.tokens) - SHOWN)
    strings = view.subject.token_strings
    heat = Heat(
        rows=[layer_name(layer_of(view.sites[place])) for place in places],
        columns=strings(view.tokens[first:]),
        values=[view.top_probability[place, first:, 0].tolist() for place in places],
        texts=[strings(view.top[place, first:, 0]) for place in places],
    )
    return heat_chart(
        heat,
        x_name="tokens",
        y_name="layers",
        value_name="probability of the likeliest next token",
    )


def _grids(view: LensView) -> list[LensGrid]:
    """A grid for each kind of site of a view."""
    subject = view.subject
    words = subject.token_strings(view.targets) if view.targets else []
    grids = []
    for kind, group in groupby(range(len(view.sites)), key=lambda place: _kind(view.sites[place])):
        places = list(group)
        k = view.top.shape[-1]
        flat = subject.token_strings(view.top[places].flatten())
        n_pos = len(view.tokens)
        cells = [
            [flat[(row * n_pos + pos) * k : (row * n_pos + pos + 1) * k] for pos in range(n_pos)]
            for row in range(len(places))
        ]
        grids.append(
            LensGrid(
                lens=view.lens,
                kind=KINDS.get(kind, kind),
                rows=[layer_name(layer_of(view.sites[place])) for place in places],
                tokens=cells,
                probabilities=view.top_probability[places].tolist(),
                entropy=view.entropy[places].tolist(),
                kl=view.kl[places].tolist(),
                target_probability={
                    word: view.probability[places, :, i].tolist() for i, word in enumerate(words)
                },
                target_rank={word: view.rank[places, :, i].tolist() for i, word in enumerate(words)},
            )
        )
    return grids


def _kind(site: Site) -> str:
    return "resid_post" if site.kind in ("resid_pre", "embed") else site.kind

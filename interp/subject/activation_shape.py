"""The shape of what stands at one position of a site."""

from interp.subject.site import Site
from interp.subject.subject import Subject


def activation_shape(subject: Subject, site: Site) -> tuple[int, ...]:
    """[width], at `head_out` [head, d_head]; raises UserError if the site does not exist."""
    width = subject.site_width(site)
    return (subject.n_heads, width) if site.kind == "head_out" else (width,)

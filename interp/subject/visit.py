"""Looking at a forward pass that stops once everything asked for was seen."""

from collections.abc import Callable, Mapping

from torch import Tensor

from interp.subject.site import Site

Visitor = Callable[[Tensor], None]


class EverythingSeen(Exception):
    """Ends a forward pass once every requested site was visited, the last of them with this activation."""

    def __init__(self, site: Site, activation: Tensor) -> None:
        super().__init__(str(site))
        self.site, self.activation = site, activation


class Visit:
    """One forward pass: `missing` are the sites that were not reached yet."""

    def __init__(self, visitors: Mapping[Site, Visitor]) -> None:
        self._visitors = visitors
        self.missing = set(visitors)

    def hook(self, site: Site) -> Visitor:
        """Calls the site's visitor, and raises `EverythingSeen` behind the last."""

        def look(activation: Tensor) -> None:
            self._visitors[site](activation)
            self.missing.discard(site)
            if not self.missing:
                raise EverythingSeen(site, activation)

        return look

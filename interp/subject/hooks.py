"""Attaches functions to TransformerLens' hook points, for the length of a block."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

from interp.errors import UserError
from interp.subject.site import Site

SCORES = "blocks.{layer}.attn.hook_attn_scores"
PATTERN = "blocks.{layer}.attn.hook_pattern"
Hook = Callable[[Tensor], Tensor | None]
Result = TypeVar("Result")


@contextmanager
def attached(point: Any, function: Hook, first: bool = False) -> Iterator[None]:
    """Calls `function` with the activation at the hook point, and replaces it by the result if there is one.

    Hooks act in the order in which they were attached; with `first`, before the existing ones. Exactly this
    hook is removed again, so nested blocks and hooks of others are left alone.
    """
    before = {id(handle) for handle in point.fwd_hooks}
    point.add_hook(lambda activation, hook: function(activation), prepend=first)
    (handle,) = (handle for handle in point.fwd_hooks if id(handle) not in before)
    try:
        yield
    finally:
        handle.hook.remove()
        point.fwd_hooks.remove(handle)


@contextmanager
def attached_to_argument(module: nn.Module, function: Hook) -> Iterator[None]:
    """Calls `function` with the first argument of each call of a module, and replaces it likewise."""

    def before(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        edited = function(given[0])
        return None if edited is None else (edited, *given[1:])

    handle = module.register_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


class Watch:
    """Checks that every function attached to a model runs in every forward pass.

    A hook point that a library never calls would leave the model unchanged, and look like a null result.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._places: dict[object, str] = {}
        self._ran: set[object] = set()
        self._paused: frozenset[object] = frozenset()

    @contextmanager
    def over(self, function: Callable[..., Result], place: str) -> Iterator[Callable[..., Result | None]]:
        """Wraps `function`; within the block every pass has to call the result."""
        key = object()

        def watched(*given: Any) -> Result | None:
            self._ran.add(key)
            return None if key in self._paused else function(*given)

        self._places[key] = place
        try:
            yield watched
        finally:
            del self._places[key]

    @property
    def attached(self) -> bool:
        """Whether any function is attached and not paused."""
        return any(key not in self._paused for key in self._places)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the block functions that are already attached do nothing."""
        around, self._paused = self._paused, frozenset(self._places)
        try:
            yield
        finally:
            self._paused = around

    def passing(self, compute: Callable[[], Result]) -> Result:
        """Runs a forward pass and returns its result.

        Raises:
            UserError: an attached function was not called.
        """
        around, self._ran = self._ran, set()
        try:
            result = compute()
            missing = [place for key, place in self._places.items() if key not in self._ran]
        finally:
            self._ran = around
        if missing:
            raise unreached(missing[0], f"model {self.name}")
        return result


def unreached(where: str, model: str) -> UserError:
    """Makes the error for a hook point that a pass never called."""
    return UserError(
        f"the forward pass never reached {where}, so nothing is read or changed there",
        model,
        "use another site, or the other backend if it builds this architecture",
    )


Visitor = Callable[[Tensor], None]


class EverythingSeen(Exception):
    """Ends a forward pass once every requested site was visited, the last of them with this activation."""

    def __init__(self, site: Site, activation: Tensor) -> None:
        super().__init__(str(site))
        self.site, self.activation = site, activation


class Visit:
    """One forward pass that calls visitors; `missing` are the sites that were not reached yet."""

    def __init__(self, visitors: Mapping[Site, Visitor]) -> None:
        self._visitors = visitors
        self.missing = set(visitors)

    def hook(self, site: Site) -> Visitor:
        """Makes a hook that calls the site's visitor, and raises `EverythingSeen` after the last one."""

        def look(activation: Tensor) -> None:
            self._visitors[site](activation)
            self.missing.discard(site)
            if not self.missing:
                raise EverythingSeen(site, activation)

        return look

"""Live readings: features, groups of them, or a vector, watched along a text while it is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from interp.features.directions import Directions
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.fields import Line, Listed, PathText, Section, Word
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.file import load_vectors


class Watch(Section):
    """What is watched: the mean activation of some features, or the projection on a saved vector."""

    name: Line
    """What it is called."""
    features: Listed[Word] = ()
    """Keys of features; one that is active on its other side counts as 0."""
    vector: PathText | None = None
    """A file of vectors: the activation along the unit vector, the mean over several."""

    @model_validator(mode="after")
    def _one(self) -> "Watch":
        if bool(self.features) == (self.vector is not None):
            raise ValueError("needs features or a vector, and not both")
        return self


class Watcher:
    """Reads what is watched; the subject's interventions count, if they are around it.

    Raises:
        UserError: a key names no feature, or a file holds no vector of this model.
    """

    def __init__(
        self, subject: Subject, spaces: Mapping[str, ReadableFeatures], watches: Sequence[Watch]
    ) -> None:
        self.subject = subject
        self.watches = tuple(watches)
        self._parts: dict[Site, list[tuple[int, ReadableFeatures, Tensor, Tensor]]] = {}
        self._counts = torch.zeros(len(watches))
        for number, watch in enumerate(watches):
            for space, ids, sides in _sides(subject, spaces, watch):
                part = (number, space, torch.tensor(ids), torch.tensor(sides))
                self._parts.setdefault(space.site, []).append(part)
                self._counts[number] += len(ids)

    def read(self, ids: Sequence[int]) -> Float[Tensor, "watch pos"]:
        """The readings at every token of a text."""
        found = torch.zeros(len(self.watches), len(ids))

        def look(activation: Tensor, site: Site) -> None:
            found.add_(self._read(activation, site))

        tokens = torch.tensor([list(ids)], device=self.subject.device)
        self.subject.visit(tokens, {site: partial(look, site=site) for site in self._parts})
        return found

    @contextmanager
    def watching(self) -> Iterator[Callable[[], Float[Tensor, "watch pos"]]]:
        """Within the block every pass is read; gives a function that returns the readings so far.

        They are at the tokens that were run in the block, in their order: neither those of a kept prefix nor
        the last token that is written, which is in no pass before another one follows.
        """
        seen: dict[Site, list[Tensor]] = {site: [torch.zeros(len(self.watches), 0)] for site in self._parts}

        def look(activation: Tensor, site: Site) -> Tensor:
            seen[site].append(self._read(activation, site))
            return activation

        def so_far() -> Float[Tensor, "watch pos"]:
            rows = [torch.cat(parts, 1) for parts in seen.values()]
            width = min((row.shape[1] for row in rows), default=0)
            return torch.stack([row[:, :width] for row in rows]).sum(0) if rows else torch.zeros(0, 0)

        with self.subject.edited({site: partial(look, site=site) for site in self._parts}):
            yield so_far

    def _read(self, activation: Float[Tensor, "1 pos *width"], site: Site) -> Float[Tensor, "watch pos"]:
        found = torch.zeros(len(self.watches), activation.shape[1])
        for number, space, ids, sides in self._parts[site]:
            values = space.encode(activation)[0][:, ids.to(activation.device)].float().cpu()
            watched = self.watches[number]
            values = values if watched.vector is not None else (values * sides).clamp(min=0)
            found[number] += values.sum(1) / self._counts[number]
        return found


def _sides(
    subject: Subject, spaces: Mapping[str, ReadableFeatures], watch: Watch
) -> Iterator[tuple[ReadableFeatures, list[int], list[int]]]:
    """The spaces that a watch reads, with the features' ids and sides."""
    if watch.vector is not None:
        for vector in load_vectors(watch.vector, subject):
            yield Directions(subject, vector.name, vector.site, vector.values[None]), [0], [1]
        return
    features = [FeatureRef.parse(key, list(spaces.values())) for key in watch.features]
    for name in dict.fromkeys(one.space.name for one in features):
        own = [one for one in features if one.space.name == name]
        yield spaces[name], [one.feature_id for one in own], [one.polarity for one in own]

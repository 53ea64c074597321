"""Saved vectors beside each other: what their files say, how alike they are, and what a mixture does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import beta
from torch import Tensor

from interp.errors import UserError
from interp.intervene.positions import Named
from interp.monitor.bench import Bench
from interp.monitor.steering import Card, Steerer, VectorCard
from interp.monitor.watch import Watch, Watcher
from interp.subject.read_at import read_at
from interp.subject.site import Site
from interp.subject.subject import Subject
from interp.vectors.control import random_like
from interp.vectors.file import interventions_of, load_vectors, save_vectors
from interp.vectors.vector import Use, Vector

NULL_SHARE, NULL_PAIRS = 0.95, 500
MOST_FILES = 2000


@dataclass(frozen=True)
class Part:
    """One vector of a file."""

    name: str
    site: Site
    norm: float
    use: Use
    positions: Named
    method: str
    made_of: Mapping[str, Any]
    """All that its file says of how it was made and what was measured of it."""


@dataclass(frozen=True)
class Listed:
    """A file of vectors by its name inside of its folder; `wrong` is why it cannot be used with a model."""

    file: str
    path: Path
    parts: tuple[Part, ...] = ()
    wrong: UserError | None = None

    @property
    def has_strength(self) -> bool:
        """Whether it acts at any strength: what is put in or taken out does not."""
        return all(part.use in ("add", "norm_preserving") for part in self.parts)


def list_vectors(folders: Sequence[Path], subject: Subject) -> list[Listed]:
    """The files of vectors in some folders, and what they hold; files of other things are left out.

    A file that is in several folders under one name counts once: as cards do, it is looked for in order.
    """
    found: dict[str, Listed] = {}
    for folder in folders:
        files = [file for file in sorted(folder.rglob("*.safetensors")) if _inside(file, folder)]
        for file in files[:MOST_FILES]:
            name = file.relative_to(folder).as_posix()
            if name not in found and (one := read_listed(name, file, subject)) is not None:
                found[name] = one
    return list(found.values())


def read_listed(name: str, path: Path, subject: Subject) -> Listed | None:
    """What a file holds and whether it fits a model; None where it is no file of vectors."""
    try:
        vectors = load_vectors(path)
    except UserError:
        return _space(name, path, subject)
    wrong = None
    try:
        interventions_of(path, subject)
    except UserError as error:
        wrong = error
    return Listed(name, path, tuple(_part(vector) for vector in vectors), wrong)


def typical_norms(bench: Bench, sites: Sequence[Site]) -> dict[Site, float]:
    """The median norm of activations at the ends of neutral texts, over all heads; empty without texts."""
    known = _activations(bench, sites)
    return {site: float(rows.flatten(1).norm(dim=-1).median()) for site, rows in known.items()}


def taken_out(path: str | Path, subject: Subject) -> list[Vector]:
    """The vectors of a file as ablations: each direction is projected out of all that writes to the stream.

    Raises:
        UserError: the file cannot be used with the model, or a vector is not of the residual stream's width.
    """
    found = [replace(one, use="project_out", positions="all") for one in load_vectors(path, subject)]
    for one in found:
        one.intervention(subject)
    return found


@dataclass(frozen=True, eq=False)
class Alike:
    """Cosines of the vectors of one site, with the size that random ones stay under in `NULL_SHARE` of pairs.

    `null` is of directions alike in all dimensions, `null_activations` of ones that vary as activations do
    (NaN without neutral texts), which in most models lie much closer.
    """

    site: Site
    names: tuple[str, ...]
    cosines: Float[np.ndarray, "vector vector"]
    null: float
    null_activations: float


def cosines(bench: Bench, files: Mapping[str, str | Path]) -> list[Alike]:
    """Holds the vectors of files against each other, by site; sites with one vector are left out.

    `files` are paths by the names that are shown.

    Raises:
        UserError: a file cannot be used with the model.
    """
    by_site: dict[Site, list[tuple[str, Vector]]] = {}
    for name, path in files.items():
        vectors = load_vectors(path, bench.subject)
        for vector in vectors:
            by_site.setdefault(vector.site, []).append(
                (name if len(vectors) == 1 else f"{name}: {vector.name}", vector)
            )
    several = {site: pairs for site, pairs in by_site.items() if len(pairs) > 1}
    known = _activations(bench, list(several))
    found = []
    for site, pairs in several.items():
        table = np.array([[one.cosine(other) for _, other in pairs] for _, one in pairs])
        rows = known.get(site)
        null = np.nan if rows is None else _null_of(rows)
        level = cosine_null(pairs[0][1].values.numel())
        found.append(Alike(site, tuple(name for name, _ in pairs), table, level, null))
    return found


def cosine_null(width: int) -> float:
    """The size that the cosine of two random directions stays under in `NULL_SHARE` of pairs.

    Its square has the distribution Beta(1/2, (width - 1) / 2).
    """
    return float(np.sqrt(beta.ppf(NULL_SHARE, 0.5, (width - 1) / 2))) if width > 1 else 1.0


@dataclass(frozen=True, eq=False)
class Projection:
    """The activation along the unit vector of a file at each token, the mean over its vectors.

    A random direction would give no more than `null` in size at a token, in `NULL_SHARE` of draws.
    """

    file: str
    values: Float[np.ndarray, " pos"]
    null: Float[np.ndarray, " pos"]


def projections(subject: Subject, ids: Sequence[int], files: Mapping[str, str | Path]) -> list[Projection]:
    """Reads a text along the vectors of files; `files` are paths by the names that are shown.

    Raises:
        UserError: a file cannot be used with the model.
    """
    watches = [Watch(name=name, vector=str(path)) for name, path in files.items()]
    values = Watcher(subject, {}, watches).read(ids).double().numpy()
    vectors = [load_vectors(path, subject) for path in files.values()]
    sites = list(dict.fromkeys(one.site for some in vectors for one in some))
    read = subject.read(torch.tensor([list(ids)], device=subject.device), sites) if sites else {}
    norms = {
        site: one[0].flatten(1).float().norm(dim=-1).cpu().double().numpy() for site, one in read.items()
    }
    found = []
    for row, name, some in zip(values, files, vectors, strict=True):
        level = [norms[one.site] * cosine_null(one.values.numel()) / len(some) for one in some]
        found.append(Projection(name, row, np.sqrt(np.sum(np.square(level), axis=0))))
    return found


@dataclass(frozen=True)
class MixSteerer(Steerer):
    """A steerer whose random sets replace vectors, too: by random ones of their site, norm and use.

    They are written to `folder`, and drawn as the activations at the ends of the neutral texts of `bench`
    vary, where it has some.
    """

    bench: Bench
    folder: Path

    @classmethod
    def on(cls, bench: Bench, folder: Path) -> "MixSteerer":
        """Makes one for a bench."""
        return cls(bench.subject, bench.spaces, bench.knowledge, bench, folder)

    def random_like(self, cards: Sequence[Card], seed: int) -> tuple[list[Card], int]:
        """Draws random features for the features of cards, and random vectors for their vectors."""
        drawn, missing = super().random_like(cards, seed)
        own = [card for card in cards if isinstance(card, VectorCard) and card.on]
        return [*drawn, *self._random_vectors(own, seed)], missing

    def _random_vectors(self, cards: Sequence[VectorCard], seed: int) -> Iterator[VectorCard]:
        for number, card in enumerate(cards):
            try:
                vectors = load_vectors(card.file, self.subject)
            except UserError:  # a truthful space, in whose place no vector can be drawn
                continue
            known = _activations(self.bench, [vector.site for vector in vectors])
            made = [
                random_like(vector, 1000 * number + seed + 1, known.get(vector.site)) for vector in vectors
            ]
            path = save_vectors(self.folder / f"random-{number}-{seed}.safetensors", made)
            yield card.model_copy(update={"file": str(path), "name": "random"})


def _inside(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve()) and file.is_file()


def _part(vector: Vector) -> Part:
    made = dict(vector.provenance)
    sources = list(made.get("parts", {}).values()) or [made]
    methods = [str(one["method"]) for one in sources if isinstance(one, Mapping) and "method" in one]
    method = ", ".join(dict.fromkeys(methods))
    return Part(vector.name, vector.site, vector.norm, vector.use, vector.positions, method, made)


def _space(name: str, path: Path, subject: Subject) -> Listed | None:
    """A file of a truthful space, which steers but is no vector; None for any other file."""
    try:
        interventions_of(path, subject)
    except UserError as error:
        is_other = error.thing == "the file holds no vectors" or "cannot be read" in error.thing
        return None if is_other else Listed(name, path, (), error)
    return Listed(name, path)


def _activations(bench: Bench, sites: Sequence[Site]) -> dict[Site, Float[Tensor, " text *width"]]:
    if bench.neutral is None or not sites:
        return {}
    read = read_at(bench.subject, bench.neutral.prompts, list(dict.fromkeys(sites)))
    return {site: values[:, 0] for site, values in read.items()}


def _null_of(rows: Float[Tensor, " text *width"], seed: int = 0) -> float:
    """The level for pairs of directions that vary as rows do."""
    flat = rows.flatten(1).double().numpy()
    drawn = np.random.default_rng(seed).standard_normal((2, NULL_PAIRS, len(flat))) @ (flat - flat.mean(0))
    one, other = drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)
    return float(np.quantile(np.abs((one * other).sum(-1)), NULL_SHARE))

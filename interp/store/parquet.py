"""Export and import a store as a folder of Parquet files, one for each kind of row."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from interp.errors import UserError, quoted
from interp.json_text import from_json, to_json
from interp.parquet import parquet_rows
from interp.store.folder import export_folder
from interp.store.rows import (
    Contents,
    Count,
    DescriptionRow,
    ExemplarRow,
    FeatureRow,
    Polarity,
    ScoreRow,
    SpaceRow,
    Text,
    checked,
)
from interp.store.store import Store
from interp.track.files import write_parquet

Kind = TypeVar("Kind")
_FIX = "give a folder that `interp store export` wrote"
_PARTS = ("descriptions", "exemplars", "scores")
_JSON = ("provenance", "quantiles")


@dataclass(frozen=True)
class _Feature:
    """The columns that name a row's feature."""

    subject: Text
    space: Text
    feature_id: Count
    polarity: Polarity


@dataclass(frozen=True)
class _Description(_Feature):
    """The columns that name a row's description."""

    explainer: Text
    sample: Count


def _columns(at: type[Any] | None, kind: type[Any]) -> list[str]:
    first = [field.name for field in fields(at)] if at else []
    own = [field.name for field in fields(kind) if field.name not in _PARTS]
    return list(dict.fromkeys(first + own))


COLUMNS = {
    "spaces": _columns(None, SpaceRow),
    "features": _columns(_Feature, FeatureRow),
    "descriptions": _columns(_Feature, DescriptionRow),
    "scores": _columns(_Description, ScoreRow),
    "exemplars": _columns(_Feature, ExemplarRow),
}
"""The columns of each file."""


def export_parquet(store: Store, folder: Path) -> dict[str, int]:
    """Write all but the embeddings to FOLDER/{spaces,features,...}.parquet; returns the rows of each.

    Raises:
        UserError: as `export_folder`.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    rows["spaces"] = [_cells(space) for space in store.spaces()]
    for subject in dict.fromkeys(row["subject"] for row in rows["spaces"]):
        for feature in store.features(subject):
            at = asdict(_Feature(subject, feature.space, feature.feature_id, feature.polarity))
            rows["features"].append({**at, **_cells(feature)})
            rows["exemplars"] += [{**at, **_cells(one)} for one in feature.exemplars]
            for one in feature.descriptions:
                rows["descriptions"].append({**at, **_cells(one)})
                of = {**at, "explainer": one.explainer, "sample": one.sample}
                rows["scores"] += [{**of, **_cells(score)} for score in one.scores]
    with export_folder(folder) as temporary:
        for name, found in rows.items():
            write_parquet(temporary / f"{name}.parquet", pd.DataFrame(found, columns=COLUMNS[name]))
    return {name: len(found) for name, found in rows.items()}


def import_parquet(store: Store, folder: Path) -> dict[str, int]:
    """Read what `export_parquet` wrote into a store, all or nothing; existing rows are replaced.

    Raises:
        UserError: as `read_export`.
    """
    contents, counts = read_export(folder)
    store.put_all(contents)
    return counts


def read_export(folder: Path) -> tuple[Contents, dict[str, int]]:
    """Read what `export_parquet` wrote, and the number of rows of each kind.

    Raises:
        UserError: a file is missing, is damaged or has other columns, a value does not fit its column, a row
            is repeated, or its space, feature or description is missing; says which row.
    """
    counts = dict.fromkeys(COLUMNS, 0)

    def rows(name: str) -> Iterator[tuple[dict[str, Any], str]]:
        file = folder / f"{name}.parquet"
        for number, row in enumerate(parquet_rows(file, _FIX, COLUMNS[name]), start=1):
            counts[name] = number
            place = f"{file}, row {number}"
            yield {column: _value(column, cell, place) for column, cell in row.items()}, place

    spaces: dict[Any, SpaceRow] = {}
    for row, place in rows("spaces"):
        space = checked(SpaceRow, row, place, _FIX)
        _add(spaces, (space.subject, space.name), space, place)
    features: dict[Any, FeatureRow] = {}
    for row, place in rows("features"):
        key = _key(_Feature, row, place)
        _there(spaces, key[:2], "space", place)
        _add(features, key, _own(FeatureRow, row, place), place)
    described: dict[Any, dict[Any, DescriptionRow]] = {key: {} for key in features}
    for row, place in rows("descriptions"):
        key = _key(_Description, row, place)
        _there(features, key[:4], "feature", place)
        _add(described[key[:4]], key[4:], _own(DescriptionRow, row, place), place)
    scores: dict[Any, dict[Any, ScoreRow]] = {}
    for row, place in rows("scores"):
        key = _key(_Description, row, place)
        _there(described.get(key[:4], {}), key[4:], "description", place)
        score = _own(ScoreRow, row, place)
        _add(scores.setdefault(key, {}), (score.kind, score.scorer, score.split), score, place)
    exemplars: dict[Any, list[ExemplarRow]] = {}
    for row, place in rows("exemplars"):
        key = _key(_Feature, row, place)
        _there(features, key, "feature", place)
        exemplars.setdefault(key, []).append(_own(ExemplarRow, row, place))
    whole: dict[str, list[FeatureRow]] = {}
    for key, feature in features.items():
        descriptions = tuple(
            replace(one, scores=tuple(scores.get((*key, *of), {}).values()))
            for of, one in described[key].items()
        )
        whole.setdefault(key[0], []).append(
            replace(feature, descriptions=descriptions, exemplars=tuple(exemplars.get(key, ())))
        )
    return Contents(list(spaces.values()), whole), counts


def _cells(row: Any) -> dict[str, Any]:
    """The cells of a row, without the rows that it holds."""
    values = {name: value for name, value in vars(row).items() if name not in _PARTS}
    return {name: to_json(value) if name in _JSON else value for name, value in values.items()}


def _value(column: str, cell: Any, place: str) -> Any:
    if column not in _JSON:
        return cell
    if not isinstance(cell, str):
        raise UserError(f"`{column}` should be JSON, and is {quoted(cell)}", place, _FIX)
    return from_json(cell, f"{place}, {column}", _FIX, halves=True)


def _key(kind: type[_Feature], row: Mapping[str, Any], place: str) -> tuple[Any, ...]:
    return astuple(_own(kind, row, place))


def _own(kind: type[Kind], row: Mapping[str, Any], place: str) -> Kind:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return checked(kind, {name: row[name] for name in names if name in row}, place, _FIX)


def _there(found: Mapping[Any, Any], key: tuple[Any, ...], what: str, place: str) -> None:
    if key not in found:
        raise UserError(f"there is no {what} {quoted(key)}", place, f"add it, or take the row out; {_FIX}")


def _add(found: dict[Any, Any], key: tuple[Any, ...], row: Any, place: str) -> None:
    if key in found:
        raise UserError(f"{quoted(key)} is there twice", place, "take one of the rows out")
    found[key] = row

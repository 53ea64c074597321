"""Export and import a store as a folder of Parquet files, one a kind of row."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from interp.errors import UserError
from interp.json_text import to_json
from interp.store.rows import DescriptionRow, ExemplarRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store
from interp.track.files import remove_leftovers, write_parquet

FILES = ("spaces", "features", "descriptions", "scores", "exemplars")
_OWN = ("descriptions", "exemplars", "scores")
_FEATURE = ["subject", "space", "feature_id", "polarity"]
_DESCRIPTION = [*_FEATURE, "explainer", "sample"]


def export_parquet(store: Store, folder: Path) -> dict[str, int]:
    """Write everything but embeddings to FOLDER/{spaces,features,...}.parquet; how many rows of each."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in FILES}
    for space in store.spaces():
        rows["spaces"].append({**asdict(space), "provenance": to_json(space.provenance)})
    for subject in dict.fromkeys(space.subject for space in store.spaces()):
        for feature in store.features(subject):
            at = {"subject": subject, **_plain(feature, "space", "feature_id", "polarity")}
            quantiles = to_json(feature.quantiles)
            rows["features"].append({**at, "rate": feature.rate, "quantiles": quantiles})
            rows["exemplars"] += [{**at, **asdict(one)} for one in feature.exemplars]
            for one in feature.descriptions:
                plain = {f.name: getattr(one, f.name) for f in fields(one) if f.name not in _OWN}
                rows["descriptions"].append({**at, **plain, "provenance": to_json(one.provenance)})
                of = {**at, **_plain(one, "explainer", "sample")}
                rows["scores"] += [{**of, **asdict(score)} for score in one.scores]
    columns = {
        "spaces": [f.name for f in fields(SpaceRow)],
        "features": [*_FEATURE, "rate", "quantiles"],
        "descriptions": [*_FEATURE, *(f.name for f in fields(DescriptionRow) if f.name not in _OWN)],
        "scores": [*_DESCRIPTION, *(f.name for f in fields(ScoreRow))],
        "exemplars": [*_FEATURE, *(f.name for f in fields(ExemplarRow))],
    }
    for name, found in rows.items():
        remove_leftovers(folder / f"{name}.parquet")
        write_parquet(folder / f"{name}.parquet", pd.DataFrame(found, columns=columns[name]))
    return {name: len(found) for name, found in rows.items()}


def import_parquet(store: Store, folder: Path) -> dict[str, int]:
    """Read what `export_parquet` wrote into a store; what is there already is replaced.

    Raises:
        UserError: a file is missing or has not the columns.
    """
    tables = {name: _read(folder / f"{name}.parquet") for name in FILES}
    try:
        spaces = [
            SpaceRow(**{**row, "provenance": json.loads(row["provenance"])}) for row in tables["spaces"]
        ]
        scores = _grouped(tables["scores"], _DESCRIPTION, ScoreRow)
        exemplars = _grouped(tables["exemplars"], _FEATURE, ExemplarRow)
        described: dict[tuple[Any, ...], list[DescriptionRow]] = {}
        for row in tables["descriptions"]:
            key = tuple(row[name] for name in _DESCRIPTION)
            plain = {name: value for name, value in row.items() if name not in _FEATURE}
            plain |= {"provenance": json.loads(row["provenance"]), "scores": tuple(scores.get(key, ()))}
            described.setdefault(key[: len(_FEATURE)], []).append(DescriptionRow(**plain))
        features: dict[str, list[FeatureRow]] = {}
        for row in tables["features"]:
            key = tuple(row[name] for name in _FEATURE)
            features.setdefault(row["subject"], []).append(
                FeatureRow(
                    row["space"], row["feature_id"], row["polarity"], row["rate"],
                    json.loads(row["quantiles"]), tuple(described.get(key, ())),
                    tuple(exemplars.get(key, ())),
                )
            )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"these are not the tables of a store ({type(error).__name__}: {error})",
            str(folder),
            "give a folder that `interp store export` wrote",
        ) from error
    for space in spaces:
        store.put_space(space)
    for subject, part in features.items():
        store.put(subject, part)
    return {name: len(table) for name, table in tables.items()}


def _plain(row: object, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def _grouped(rows: list[dict[str, Any]], key: list[str], kind: type[Any]) -> dict[tuple[Any, ...], list[Any]]:
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        values = {name: value for name, value in row.items() if name not in key}
        found.setdefault(tuple(row[name] for name in key), []).append(kind(**values))
    return found


def _read(file: Path) -> list[dict[str, Any]]:
    """Rows as plain values, None where there is none."""
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the file cannot be read ({error})", str(file), "give a folder that `interp store export` wrote"
        ) from error
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]

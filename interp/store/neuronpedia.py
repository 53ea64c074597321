"""Descriptions in the JSON lines that Neuronpedia exports: features, explanations and activations.

Its "layer" is a source within the model: here the name of the space, with `-negative` for the other side.
The files of its public export lie in folders of these names, a line an object (`modelId`, `layer`, `index`
as text, `description`, `explanationModelName`, `typeName`; `tokens`, `values`, `maxValue`), each
compressed: `gunzip` them first. What we add to a line (`polarity`, `sample`, `chosen`, `summary`,
`scores`) lets it be read again as it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator

from interp.errors import UserError, quoted
from interp.json_text import to_json
from interp.lines import json_lines
from interp.outside import whole_characters
from interp.store.folder import export_folder
from interp.store.rows import (
    Contents,
    Count,
    DescriptionRow,
    FeatureRow,
    Flag,
    Number,
    Polarity,
    ScoreRow,
    SpaceRow,
    Text,
    checked,
)
from interp.store.store import Store
from interp.track.files import write_text

NEGATIVE = "-negative"
_FIX = "give modelId, layer, index and description"
Key = tuple[str, str, int, Literal[1, -1]]
Shown = tuple[Sequence[str], Sequence[float]]
"""The texts of a window's tokens and the activation of each."""


def _number(text: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() else text


@dataclass(frozen=True, kw_only=True)
class _Feature:
    """The keys of a line of features that are read; others are ignored."""

    modelId: Text
    layer: Text
    index: Annotated[Count, BeforeValidator(_number)]
    polarity: Polarity | None = None
    frac_nonzero: Number | None = None

    @property
    def key(self) -> Key:
        """Subject, space, feature id and polarity."""
        negative = self.layer.endswith(NEGATIVE) if self.polarity is None else self.polarity < 0
        space = self.layer.removesuffix(NEGATIVE) if negative else self.layer
        return self.modelId, space, self.index, -1 if negative else 1


@dataclass(frozen=True, kw_only=True)
class _Explanation(_Feature):
    """The keys of a line of explanations that are read; Neuronpedia's own `scores` have no `kind`."""

    description: Text
    typeName: Text | None = None
    explanationModelName: Text | None = None
    sample: Count | None = None
    chosen: Flag | None = None
    summary: Text | None = None
    scores: tuple[Mapping[str, Any], ...] | None = None


Line = TypeVar("Line", _Feature, _Explanation)


def export_neuronpedia(
    store: Store, subject: str, folder: Path, windows: Mapping[str, Sequence[Shown]] | None = None
) -> dict[str, int]:
    """Write features, explanations and, for the features whose `windows` are given, activations.

    Returns the number of lines of each file.

    Raises:
        UserError: as `export_folder`.
    """
    lines: dict[str, list[dict[str, Any]]] = {"features": [], "explanations": [], "activations": []}
    for feature in store.features(subject):
        source = feature.space + (NEGATIVE if feature.polarity < 0 else "")
        at = {
            "modelId": subject, "layer": source, "index": str(feature.feature_id),
            "polarity": feature.polarity,
        }  # fmt: skip
        largest = max((one.value for one in feature.exemplars), default=None)
        lines["features"].append({**at, "frac_nonzero": feature.rate, "maxActApprox": largest})
        for one in feature.descriptions:
            model = str(one.provenance.get("model", one.explainer))
            lines["explanations"].append(
                {
                    **at, "description": one.text, "explanationModelName": model, "typeName": one.explainer,
                    "sample": one.sample, "chosen": one.chosen, "summary": one.summary,
                    "scores": [asdict(score) for score in one.scores],
                }
            )  # fmt: skip
        for tokens, values in (windows or {}).get(feature.key, ()):
            peak = max(range(len(values)), key=lambda place: values[place])
            lines["activations"].append(
                {
                    **at, "tokens": list(tokens), "values": [float(value) for value in values],
                    "maxValue": float(values[peak]), "minValue": float(min(values)),
                    "maxValueTokenIndex": peak,
                }
            )  # fmt: skip
    with export_folder(folder) as temporary:
        for name, objects in lines.items():
            text = "".join(whole_characters(to_json(one, ensure_ascii=False))[0] + "\n" for one in objects)
            write_text(temporary / name / "batch-0.jsonl", text)
    return {name: len(objects) for name, objects in lines.items()}


def import_neuronpedia(store: Store, folder: Path) -> dict[str, int]:
    """Read features and explanations, also from Neuronpedia's own export, into a store, all or nothing.

    Activations are left out. Spaces that the store does not know are added.

    Raises:
        UserError: as `read_neuronpedia`.
    """
    contents, counts = read_neuronpedia(folder)
    store.put_all(contents, replaced=False)
    return counts


def read_neuronpedia(folder: Path) -> tuple[Contents, dict[str, int]]:
    """Read the features and explanations of a folder, and count them; values that no line gives are empty.

    Raises:
        UserError: there are no explanations; or a line is not JSON, lacks a key, has a value that its field
            does not take, or repeats another; says which line.
    """
    features: dict[Key, FeatureRow] = {}
    counts = {"features": 0, "explanations": 0}
    for feature_line, place in _lines(folder / "features", _Feature):
        if feature_line.key in features:
            raise UserError(f"{quoted(feature_line.key)} is there twice", place, "take one of the lines out")
        features[feature_line.key] = FeatureRow(*feature_line.key[1:], feature_line.frac_nonzero)
        counts["features"] += 1
    described: dict[Key, dict[tuple[str, int], DescriptionRow]] = {}
    for line, place in _lines(folder / "explanations", _Explanation):
        features.setdefault(line.key, FeatureRow(*line.key[1:]))
        of = described.setdefault(line.key, {})
        explainer = "neuronpedia" if line.typeName is None else line.typeName
        sample = _next(of, explainer) if line.sample is None else line.sample
        if (explainer, sample) in of:
            raise UserError(f"sample {sample} of {explainer} is there twice", place, "take one line out")
        of[explainer, sample] = DescriptionRow(
            line.description, explainer, sample, line.summary or "",
            not of if line.chosen is None else line.chosen,
            provenance={"model": line.explanationModelName} if line.explanationModelName else {},
            scores=_scores(line, place),
        )  # fmt: skip
        counts["explanations"] += 1
    whole: dict[str, list[FeatureRow]] = {}
    for key, feature in features.items():
        descriptions = tuple(described.get(key, {}).values())
        whole.setdefault(key[0], []).append(replace(feature, descriptions=descriptions))
    spaces = [_space(subject, rows) for subject, every in whole.items() for rows in _by_space(every)]
    return Contents(spaces, whole), counts


def _scores(line: _Explanation, place: str) -> tuple[ScoreRow, ...]:
    found: dict[tuple[str, str, str], ScoreRow] = {}
    for number, score in enumerate(line.scores or ()):
        if "kind" in score:
            row = checked(ScoreRow, score, f"{place}, score {number}", _FIX)
            if found.setdefault((row.kind, row.scorer, row.split), row) is not row:
                raise UserError("a score is there twice", f"{place}, score {number}", "take one of them out")
    return tuple(found.values())


def _next(of: Mapping[tuple[str, int], Any], explainer: str) -> int:
    """The first sample number that no description of this explainer has."""
    number = sum(name == explainer for name, _ in of)
    while (explainer, number) in of:
        number += 1
    return number


def _by_space(rows: Sequence[FeatureRow]) -> list[list[FeatureRow]]:
    found: dict[str, list[FeatureRow]] = {}
    for row in rows:
        found.setdefault(row.space, []).append(row)
    return list(found.values())


def _space(subject: str, rows: Sequence[FeatureRow]) -> SpaceRow:
    size = min(1 + max(row.feature_id for row in rows), 2**31 - 1)
    signed = any(row.polarity < 0 for row in rows)
    return SpaceRow(subject, rows[0].space, "", None, size, signed, {"from": "neuronpedia"})


def _lines(folder: Path, kind: type[Line]) -> Iterator[tuple[Line, str]]:
    files = sorted(folder.glob("*.jsonl"))
    if kind is _Explanation and not files:
        packed = any(folder.glob("*.gz"))
        fix = f"gunzip {folder}/*.gz" if packed else "give a folder with explanations/*.jsonl"
        raise UserError("there are no .jsonl files", str(folder), fix)
    for file in files:
        for line, place in json_lines(file, _FIX, halves=True):
            yield checked(kind, line, place, _FIX), place

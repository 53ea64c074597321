"""Descriptions in the JSON lines that Neuronpedia exports: features, explanations and activations.

Its "layer" is a source within the model: here the name of the space, with `-negative` for the other side.
The files of its public export lie in folders of these names, a line an object (`modelId`, `layer`, `index`
as text, `description`, `explanationModelName`, `typeName`; `tokens`, `values`, `maxValue`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from interp.errors import UserError
from interp.json_text import to_json
from interp.lines import json_lines
from interp.store.rows import DescriptionRow, FeatureRow, ScoreRow, SpaceRow
from interp.store.store import Store
from interp.track.files import remove_leftovers, write_text

NEGATIVE = "-negative"
_FIX = "give modelId, layer, index and description"
Shown = tuple[Sequence[str], Sequence[float]]
"""The texts of a window's tokens and the activation of each."""


def export_neuronpedia(
    store: Store, subject: str, folder: Path, windows: Mapping[str, Sequence[Shown]] | None = None
) -> dict[str, int]:
    """Write features, explanations and, for the features whose `windows` are given, activations.

    Returns how many lines each file has.
    """
    lines: dict[str, list[dict[str, Any]]] = {"features": [], "explanations": [], "activations": []}
    for feature in store.features(subject):
        source = feature.space + (NEGATIVE if feature.polarity < 0 else "")
        at = {"modelId": subject, "layer": source, "index": str(feature.feature_id)}
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
    for name, objects in lines.items():
        text = "".join(to_json(one, ensure_ascii=False) + "\n" for one in objects)
        remove_leftovers(folder / name / "batch-0.jsonl")
        write_text(folder / name / "batch-0.jsonl", text)
    return {name: len(objects) for name, objects in lines.items()}


def import_neuronpedia(store: Store, folder: Path) -> dict[str, int]:
    """Read features and explanations, also of Neuronpedia's own export; activations are left out.

    Spaces that the store does not know are added; what an explanation's line does not say is left empty.

    Raises:
        UserError: there are no explanations, or a line is no JSON or lacks what it needs.
    """
    features: dict[tuple[str, str, int, int], FeatureRow] = {}
    counts = {"features": 0, "explanations": 0}
    for line in _lines(folder / "features", required=False):
        key = _key(line)
        features[key] = FeatureRow(*key[1:], line.get("frac_nonzero"))
        counts["features"] += 1
    numbers: dict[tuple[Any, ...], int] = {}
    for line in _lines(folder / "explanations"):
        key = _key(line)
        feature = features.setdefault(key, FeatureRow(*key[1:]))
        explainer = str(line.get("typeName") or "neuronpedia")
        sample = line.get("sample")
        if sample is None:
            sample = numbers.setdefault((*key, explainer), 0)
            numbers[*key, explainer] += 1
        model = line.get("explanationModelName")
        described = DescriptionRow(
            str(line["description"]), explainer, int(sample), str(line.get("summary") or ""),
            bool(line.get("chosen", not feature.descriptions)), provenance={"model": model} if model else {},
            scores=tuple(ScoreRow(**score) for score in line.get("scores") or () if "kind" in score),
        )  # fmt: skip
        features[key] = replace(feature, descriptions=(*feature.descriptions, described))
        counts["explanations"] += 1
    known = {(space.subject, space.name) for space in store.spaces()}
    by_space: dict[tuple[str, str], list[FeatureRow]] = {}
    for (subject, *_), feature in features.items():
        by_space.setdefault((subject, feature.space), []).append(feature)
    for (subject, name), rows in by_space.items():
        if (subject, name) not in known:
            size = 1 + max(row.feature_id for row in rows)
            signed = any(row.polarity < 0 for row in rows)
            store.put_space(SpaceRow(subject, name, "", None, size, signed, {"from": "neuronpedia"}))
        store.put(subject, rows)
    return counts


def _key(line: Mapping[str, Any]) -> tuple[str, str, int, int]:
    source = str(line["layer"])
    negative = source.endswith(NEGATIVE)
    name = source.removesuffix(NEGATIVE) if negative else source
    return str(line["modelId"]), name, int(line["index"]), -1 if negative else 1


def _lines(folder: Path, required: bool = True) -> Iterator[dict[str, Any]]:
    files = sorted(folder.glob("*.jsonl"))
    if required and not files:
        raise UserError("there are no .jsonl files", str(folder), "give a folder with explanations/*.jsonl")
    for file in files:
        for line, place in json_lines(file, _FIX, halves=True):
            try:
                _key(line)
                if required:
                    line["description"] + ""
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"the line is no explanation or feature ({type(error).__name__}: {error})", place, _FIX
                ) from error
            yield line

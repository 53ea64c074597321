"""Described features as plain JSON: the description, and the windows that it was made from."""

from collections.abc import Mapping, Sequence
from typing import Any

from interp.descriptions.description import Description
from interp.descriptions.evidence import Evidence, Window
from interp.features.ref import FeatureRef
from interp.features.space import ReadableFeatures
from interp.mining.exemplars import WindowRef


def write_record(
    feature: FeatureRef, description: Description, evidence: Evidence, pointers: Sequence[WindowRef]
) -> dict[str, Any]:
    """Writes a feature with its description and its own windows; `pointers` give the band of each."""
    return {
        "space": feature.space.name,
        "feature_id": feature.feature_id,
        "polarity": feature.polarity,
        "description": description.to_json(),
        "windows": [
            _window(window, ref.band, ref.quantile, ref.start)
            for window, ref in zip(evidence.windows, pointers, strict=True)
        ],
    }


def feature_of(saved: Mapping[str, Any], spaces: Mapping[str, ReadableFeatures]) -> FeatureRef:
    """Returns the feature of a record; `spaces` are by name."""
    return FeatureRef(spaces[saved["space"]], saved["feature_id"], saved["polarity"])


def description_of(saved: Mapping[str, Any]) -> Description:
    """Reads the description in a record."""
    return Description.from_json(saved["description"])


def _window(window: Window, band: str, quantile: float | None, start: int) -> dict[str, Any]:
    return {
        "tokens": window.tokens.tolist(),
        "values": [round(float(value), 5) for value in window.values],
        "counts": window.counts.tolist(),
        "document": window.document,
        "start": start,
        "band": band,
        "quantile": quantile,
    }

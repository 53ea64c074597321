"""JSON that every parser reads: the standard has no NaN and no infinity, Python's module writes them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_json(content: Any, **options: Any) -> str:
    """`content` as JSON text; numbers that are not finite become null. `options` as for `json.dumps`."""
    return json.dumps(finite(content), allow_nan=False, **options)


def finite(content: Any) -> Any:
    """Return `content` as plain JSON values: numpy's and torch's unpacked, not-finite numbers made None."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple | set | frozenset):
        return [finite(value) for value in content]
    if hasattr(content, "tolist"):
        return finite(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Path):
        return str(content)
    return content

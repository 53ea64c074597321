"""What may be wrong with a file from outside, by the kind of its content: every reader is held to all of it.

Each case is the file's bytes and what an error says of them (a pattern). Bytes that are wrong in one format's
own fields stand with the tests of its reader.
"""

import os
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save

Bytes = dict[str, tuple[bytes, str]]
UTF16, UTF32 = ('{"a": "text"}'.encode(name) for name in ("utf-16", "utf-32"))

PATHS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("/no/such/file"),
    "a link to itself": lambda path: path.symlink_to(path),
}
"""What may stand where a plain file should."""
NO_FILE = "no file|there (is|are) no|is missing|is a folder|no plain file|cannot be read|is a link out of"

TEXT: Bytes = {"UTF-16": (UTF16, "UTF-16 text"), "UTF-32": (UTF32, "UTF-32 text")}

VALUES: Bytes = {
    "a key without value": (b'{"a": }', "not valid JSON"),
    "half an object": (b'{"a": 1', "not valid JSON"),
    "words": (b"no json", "not valid JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not a number"),
    "an infinity": (b"[1, -Infinity]", "Infinity is not a number"),
    "a large number": (b"[1e999]", "too large"),
    "a whole number of 65 bits": (b"[18446744073709551616]", "too large"),
    "5,000 digits": (b"[" + b"9" * 5000 + b"]", "too large"),
    "half a character": (b'["ab\\ud83d"]', "half a character"),
    "half a character after a backslash": (b'["\\\\\\ud83dx"]', "half a character"),
    "halves in the wrong order": (b'["\\ude42\\ud83d"]', "half a character"),
    "a deep list": (b"[" * 100_000, "deeper than 100"),
    "a deep object": (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
    "bytes that are no text": (b'["\xff"]', "not UTF-8"),
    "a number": (b"3", ""),
    "null": (b"null", ""),
    "a string": (b'"text"', ""),
    "a list of numbers": (b"[1]", ""),
}
"""JSON, whole or one line of a file."""
JSON: Bytes = {**VALUES, **TEXT, "nothing": (b"", "not valid JSON")}
LINES: Bytes = {**{name: (b"\n" + content, says) for name, (content, says) in VALUES.items()}, **TEXT}

_NAMES = list(zip("abcdefgh", "bcdefghi", strict=True))
_NINE = [(name, ", ".join([f"*{before}"] * 9)) for before, name in _NAMES]
_BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(f"{name}: &{name} [{nine}]\n" for name, nine in _NINE)
_MERGES = "a: &a {k: 1}\n" + "".join(f"{name}: &{name} {{<<: [{nine}]}}\n" for name, nine in _NINE)
YAML_TEXTS: dict[str, tuple[str, str, str]] = {
    "a bomb of aliases": (_BOMB, "more than 100,000 values", "line 6"),
    "a bomb of merges": (_MERGES, "more than 100,000 values", "line 6"),
    "what contains itself": ("a: &a [*a]", "contains itself", "line 1, column 8"),
    "a deep list": ("x: 1\ny: " + "[" * 3000, "deeper than 50", "line 2, column 53"),
    "a deep alias": (
        "a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30, "deeper than 50", "line 2"
    ),
    "no whole number": ("a: !!int x", "'x' is not a whole number", "line 1, column 4"),
    "no timestamp": ("a: !!timestamp x", "not a timestamp", "line 1, column 4"),
    "no bool": ("a: !!bool 3", "not a bool", "line 1, column 4"),
    "no number": ("a: !!float x", "not a number", "line 1, column 4"),
    "5,000 digits": ("a: 1\nb: " + "9" * 5000, "whole number of at most 64 bits", "line 2, column 4"),
    "65 bits": ("a: 18446744073709551616", "whole number of at most 64 bits", "line 1, column 4"),
    "a list as a key": ("? [1]\n: 2", "unhashable", "line 1"),
    "half a character": ('a: "\\ud83d"', "half a character", "line 1, column 4"),
    "a control character": ("a: b\nc: \x1b", "may not stand in it", "line 2, column 4"),
    "code": ("a: !!python/object/apply:os.system [x]", "constructor", "line 1, column 4"),
    "too large": ("a: " + "x" * 2**20, "larger than 1 MiB", "x.yaml"),
    "an open list": ("a: [1,\nb: 2\n", "not valid YAML", "line 3, column 1"),
    "a NUL": ("a: \x00", "not valid YAML", "x.yaml"),
    "a tab": ("a:\n\t- 1\n", "not valid YAML", "line 2, column 1"),
}  # fmt: skip
"""Each with the place that an error names."""
YAML: Bytes = {
    **{name: (text.encode(), "") for name, (text, _, _) in YAML_TEXTS.items()},
    **TEXT,
    "nothing": (b"", "mapping"),
    "a list": (b"- 1\n- 2\n", "mapping"),
    "bytes that are no text": (b"a: \xff", "not UTF-8"),
}


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("sprung",)


def _header(content: bytes, length: int | None = None) -> bytes:
    return (len(content) if length is None else length).to_bytes(8, "little") + content


def _lying(shape: str, offsets: str) -> bytes:
    header = f'{{"x": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}'
    return _header(header.encode()) + b"\0" * 16


_WEIGHTS = save({"x": torch.ones(64)})
TENSORS: Bytes = {
    name: (content, "cannot be read|cannot be checked|damaged|is not complete")
    for name, content in {
        "nothing": b"",
        "seven bytes": b"\0" * 7,
        "text": b"no tensors",
        "a pickle": pickle.dumps(_Trap()),
        "half a header": _WEIGHTS[:20],
        "a byte short": _WEIGHTS[:-1],
        "a byte more": _WEIGHTS + b"\0",
        "a long header": _header(b"{}", 2**63),
        "a deep header": _header(b"[" * 10**4 + b"]" * 10**4),
        "a header of more": _lying("[1000000000000]", "[0, 4000000000000]"),
        "a header that overflows": _lying("[1099511627776, 1099511627776]", "[0, 16]"),
        "a header backwards": _lying("[4]", "[16, 0]"),
    }.items()
}


def _table() -> bytes:
    file = BytesIO()
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(file)
    return file.getvalue()


_TABLE = _table()
PARQUET: Bytes = {
    name: (content, "cannot be read as Parquet")
    for name, content in {
        "nothing": b"",
        "text": b"no table",
        "half a file": _TABLE[: len(_TABLE) // 2],
        "marks alone": b"PAR1" * 9,
        "noise between the marks": _TABLE[:4] + b"\xff" * (len(_TABLE) - 8) + _TABLE[-4:],
    }.items()
}

CONTENTS: dict[str, Bytes] = {
    "text": TEXT, "json": JSON, "lines": LINES, "yaml": YAML, "tensors": TENSORS, "parquet": PARQUET
}  # fmt: skip

"""W&B's offline file, read back."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """Read W&B's transaction log: LevelDB's log format (blocks of 32 KiB) after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read_back(run_folder: Path) -> dict[str, Any]:
    """What the one offline run of a run folder holds."""
    (path,) = run_folder.glob("wandb/offline-run-*/*.wandb")
    found: dict[str, Any] = {"config": {}, "summary": {}, "history": [], "host": None, "exit": None}
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            found["host"] = record.run.host
        elif kind == "config":
            for item in record.config.update:
                found["config"]["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        elif kind == "summary":
            for item in record.summary.update:
                found["summary"]["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        elif kind == "history":
            row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            found["history"].append({key: value for key, value in row.items() if not key.startswith("_")})
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found

"""Work on its way to another process: everything travels by value, except what each process opens itself.

A subject travels as the options of `interp.load`, and is loaded once by each process. A client of an endpoint
travels as a number, and is one that asks the process in which its budget, cache and ledger are; progress is
shown by that process alone. Tensors travel as plain memory that processes on one machine share: nothing may
write to them.
"""

import io
import json
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pickle import PickleBuffer
from typing import Any

import cloudpickle
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from interp.errors import UserError
from interp.llm.client import Client
from interp.subject.load import load
from interp.subject.subject import Subject
from interp.track.progress import Progress, silent

Buffers = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Packed:
    """Something pickled, apart from its large arrays, and the clients that it names by their place."""

    content: bytes
    buffers: Buffers
    clients: Sequence[Client] = field(default=(), repr=False)


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, keep: Callable[[PickleBuffer], Any]) -> None:
        super().__init__(file, protocol=5, buffer_callback=keep)
        self.clients: list[Client] = []

    def persistent_id(self, value: Any) -> tuple[str, Any] | None:
        if isinstance(value, Subject):
            if value.options is None:
                raise UserError(
                    "the subject was not loaded by interp.load, so that no other process can load it",
                    f"subject {value.name}",
                    "load it by its name or folder, or compute in this process (engine: local)",
                )
            return "subject", json.dumps(dict(value.options), sort_keys=True)
        if isinstance(value, Progress):
            return "progress", None
        if isinstance(value, Client):
            if value not in self.clients:
                self.clients.append(value)
            return "client", self.clients.index(value)
        return None

    def reducer_override(self, value: Any) -> Any:
        if type(value) is Tensor and value.layout is torch.strided:
            flat = value.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy()
            return _tensor, (flat, value.dtype, tuple(value.shape), value.device.type)
        return super().reducer_override(value)


def packed(value: Any) -> Packed:
    """Packs a value for another process.

    Raises:
        UserError: it holds a subject that no other process could load.
    """
    file, buffers = io.BytesIO(), []
    packer = _Packer(file, lambda buffer: buffers.append(np.frombuffer(buffer.raw(), dtype=np.uint8)))
    packer.dump(value)
    return Packed(file.getvalue(), buffers, packer.clients)


class Unpacker:
    """Opens what was packed by another process; loads each subject once."""

    def __init__(self) -> None:
        self._subjects: dict[str, Subject] = {}

    def open(self, content: bytes, buffers: Buffers, clients: Sequence[Client]) -> Any:
        """Returns the value, its clients replaced by `clients`.

        Raises:
            UserError: as `interp.load`.
        """
        kinds: dict[str, Callable[[Any], Any]] = {
            "subject": self._subject,
            "client": clients.__getitem__,
            "progress": lambda _: silent(),
        }
        return _Reader(io.BytesIO(content), buffers, kinds).load()

    def _subject(self, options: str) -> Subject:
        if options not in self._subjects:
            self._subjects[options] = load(**json.loads(options))
        return self._subjects[options]


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Buffers, kinds: Mapping[str, Callable[[Any], Any]]) -> None:
        super().__init__(file, buffers=buffers)
        self._kinds = kinds

    def persistent_load(self, named: tuple[str, Any]) -> Any:
        kind, which = named
        return self._kinds[kind](which)


def _tensor(flat: NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...], device: str) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(flat).view(dtype).reshape(shape).to(device)

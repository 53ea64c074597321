"""Devices: which a name means, what is sent there and back without waiting, and when its memory ran out."""

import torch
from jaxtyping import Int64
from torch import Tensor

from interp.errors import UserError


def usable_device(device: str, place: str = "device") -> torch.device:
    """Parses the name of a device and tries to put a tensor on it; `place` is for the message.

    Raises:
        UserError: the name is not one, or no such device is usable here.
    """
    # torch has an error for each: an unknown name, a device it was built without, one that takes no tensors
    try:
        found = torch.device(device)
        if found.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"the device {device!r} is not usable here", place, "use cpu, or cuda with a GPU"
        ) from error
    return found


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; PyTorch has a plain RuntimeError for some devices."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = (
        "DefaultCPUAllocator: can't allocate memory",
        "MPS backend out of memory",
        "CUDA error: out of memory",
    )
    return isinstance(error, RuntimeError) and any(one in str(error) for one in said)


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Moves a tensor of the host to a device, which the host does not wait for."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu" or not tensor.numel():
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Awaited:
    """Whole numbers that a device computes, on their way to the host; `read` waits until they are there."""

    def __init__(self, numbers: Int64[Tensor, " n"]) -> None:
        self._event: torch.cuda.Event | None = None
        self._numbers = numbers
        if numbers.is_cuda:
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(numbers.device))

    def read(self) -> list[int]:
        """The numbers; asked for late enough, they have long been there."""
        if self._event is not None:
            self._event.synchronize()
        found: list[int] = self._numbers.tolist()
        return found

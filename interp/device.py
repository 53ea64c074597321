"""The device that a name means, if it is usable on this machine."""

import torch

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

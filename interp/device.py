"""Which device a name means, if it can be used here."""

import torch

from interp.errors import UserError


def usable_device(device: str, place: str = "device") -> torch.device:
    """The device called `device`.

    Raises:
        UserError: there is none of that name here.
    """
    # torch says no in three ways: for what it does not know, lacks the code for, or cannot put tensors on
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

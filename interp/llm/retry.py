"""When a call is worth another try, and how long to wait before it."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT_SECONDS = 0.5
WORTH_ANOTHER_TRY = frozenset({408, 409, 425, 429})


def worth_another_try(status: int) -> bool:
    """Whether a server that answered with this status may answer otherwise later."""
    return status in WORTH_ANOTHER_TRY or status >= 500


def wait_seconds(attempt: int, headers: Mapping[str, str], longest: float | int, rng: random.Random) -> float:
    """How long to wait before try `attempt` + 1: what Retry-After asks for, else twice as long each time.

    The wait grows from half a second and is drawn between half of it and all of it, so that many calls
    refused together do not come back together. It is never more than `longest`.
    """
    asked = _retry_after(headers)
    if asked is None:
        asked = FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 30) * rng.uniform(0.5, 1.0)
    return min(asked, float(longest))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header asks for, which gives seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None

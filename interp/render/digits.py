"""Numbers for readers, with no more digits than their interval supports."""

import math

from interp.statistics.estimate import Estimate, Number

UNDEFINED = "–"


def decimals(estimate: Estimate) -> int:
    """Decimal places, 1 to 3, that an estimate's interval supports; 2 if it has none."""
    low, high = estimate.ends or (0.0, 0.0)
    if high <= low:
        return 2
    return min(3, max(1, math.ceil(-math.log10((high - low) / 2))))


def number(value: Number | None, places: int = 2, sign: bool = False) -> str:
    """A number with a true minus sign and no negative zero; a dash if it is missing."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    text = f"{value:+.{places}f}" if sign else f"{value:.{places}f}"
    if not text.strip("+-0."):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def significant(value: Number | None, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent below a million."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    if abs(value) < 1e-4:
        return f"{value:.1e}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}".replace("-", "−")


def measured(estimate: Estimate, sign: bool = False) -> str:
    """The value of an estimate, with the decimal places of its interval."""
    return number(estimate.value, decimals(estimate), sign)


def interval(estimate: Estimate, sign: bool = False) -> str:
    """The interval of an estimate as "0.41 to 0.52"; empty if it is not known."""
    if estimate.ends is None:
        return ""
    places = decimals(estimate)
    return " to ".join(number(end, places, sign) for end in estimate.ends)


def with_interval(estimate: Estimate, sign: bool = False) -> str:
    """An estimate as "0.47 (0.41 to 0.52)", or its value alone where the interval is not known."""
    ends = interval(estimate, sign)
    return measured(estimate, sign) + (f" ({ends})" if ends else "")


def count(value: Number) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}"


def approximately(value: Number) -> str:
    """A large count in words: "1.6 million"."""
    if value >= 1e9:
        return f"{value / 1e9:.1f} billion"
    if value >= 1e6:
        return f"{value / 1e6:.1f} million"
    return count(value)


def percent(share: Number) -> str:
    """A share as a percentage, with the digits that small rates need."""
    return f"{significant(100 * share, 2)}%"


def duration(seconds: Number) -> str:
    """A time as "3 min 20 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"

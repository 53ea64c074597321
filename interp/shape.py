"""Validation of values that were read from outside."""

from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from interp.errors import UserError, quoted

Value = TypeVar("Value")
FAULTS_SAID = 3


class Shape(Generic[Value]):
    """The type that plain JSON or YAML values should have: anything that pydantic can validate."""

    def __init__(self, kind: Any, strict: bool = False) -> None:
        """With `strict`, a text is not accepted as a number, and the like."""
        self._adapter: TypeAdapter[Value] = TypeAdapter(kind)
        self._strict = strict or None

    def of(self, content: Any, place: str, fix: str) -> Value:
        """Validates the content; `place` and `fix` are for the message.

        Raises:
            UserError: it is not of this type; says which key is wrong, and how.
        """
        try:
            return self._adapter.validate_python(content, strict=self._strict)
        except ValidationError as error:
            faults: dict[Any, str] = {}
            for problem in error.errors(include_url=False):
                # pydantic reports one value once for each member of a union
                faults.setdefault((problem["loc"][:1], id(problem["input"])), _fault(problem))
            said = "; ".join(list(faults.values())[:FAULTS_SAID])
            raise UserError(f"not of the shape that is expected: {said}", place, fix) from None


def _fault(problem: Any) -> str:
    key = ".".join(map(str, problem["loc"]))
    said = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if problem["type"] == "missing":
        return f"`{key}` is missing"
    got = "" if isinstance(problem["input"], dict | list) else f" (it is {quoted(problem['input'])})"
    return f"`{key}` {said}{got}" if key else said

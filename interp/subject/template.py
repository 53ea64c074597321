"""Chat templates from outside: rendered as `transformers` does, and stopped where they would not end.

A template is a program that comes with a model. Jinja's sandbox keeps it from Python, and not from nested
loops, macros that call themselves, or texts that double with every turn. Here every turn of a loop, call,
filter and operator is counted, and what it would make is measured before it is made.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from interp.errors import UserError
from interp.subject.quiet import first_line

STEPS = 300_000
"""Turns of loops, calls, filters and operators in a rendering, and one more for each character given."""
CHARACTERS = 4_000_000
"""What any one value of a rendering may hold, besides four times what it is given."""
SECONDS = 5.0
SOURCE = 150_000
"""Characters of a template; the longest known have 30,000."""
NESTED = 100
"""Brackets and blocks of a template within each other."""
_BITS = 30_000
_ITEM = 16
"""Characters that an item of a list takes as much memory as."""
_FREE = ("length", "count", "default", "d", "startswith", "endswith", "first", "last", "safe")
"""Methods and filters that make nothing."""
_UNUSED = ("pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr")
_NUMBERS = re.compile(r"\d+")
_REASONING = ("reasoning_content", "thinking", "reasoning")

Messages = Sequence[Mapping[str, Any]]


class TooMuch(Exception):
    """What a template asks for that no conversation needs."""


class Refusal(UserError):
    """A template does not take these messages; it may take others."""


def rendered(tokenizer: Any, messages: Messages, place: str, add_generation_prompt: bool = False) -> str:
    """A conversation as the tokenizer's chat template writes it; `place` says in an error whose template.

    What `tokenizer.apply_chat_template(messages, tokenize=False)` gives, in bounded steps, sizes and time.

    Raises:
        Refusal: the template refuses the messages, or is damaged.
        UserError: the template asks for more than a conversation can need.
    """
    try:
        return _rendered(tokenizer, messages, add_generation_prompt)
    except (TooMuch, RecursionError, MemoryError, OverflowError) as error:
        why = str(error) if isinstance(error, TooMuch | OverflowError) else "it is nested too deep"
        raise UserError(
            f"the chat template is no template of a conversation: {why}", place, "use another chat template"
        ) from error
    except Exception as error:  # a template may raise anything, jinja2.TemplateError most of all
        raise Refusal(
            f"the chat template refuses these messages ({first_line(error)})", place, "check roles and order"
        ) from error


def _rendered(tokenizer: Any, messages: Messages, add_generation_prompt: bool) -> str:
    if not messages:
        raise ValueError("there are none")
    given = [_message(message) for message in messages]
    token = _budget.set(_Budget(_Budget(0).size(given)))
    try:
        return _compiled(tokenizer.get_chat_template()).render(
            messages=given,
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **tokenizer.special_tokens_map,
        )
    finally:
        _budget.reset(token)


class _Budget:
    """What is left of a rendering's steps, characters and time."""

    def __init__(self, given: int) -> None:
        self.most = CHARACTERS + 4 * given
        self.steps = STEPS + given
        self.made = 4 * self.most
        self.until = time.monotonic() + SECONDS
        self.sizes: dict[int, tuple[Any, int]] = {}

    def step(self) -> None:
        """Counts a turn of a loop, a call, a filter or an operator."""
        self.steps -= 1
        if self.steps < 0:
            raise TooMuch(f"it takes more than {STEPS:,} steps")
        if self.steps % 64 == 0 and time.monotonic() > self.until:
            raise TooMuch(f"it takes more than {SECONDS:g} seconds")

    def make(self, size: int) -> None:
        """Counts a step that makes a value of `size` characters, before they are made."""
        self.step()
        self.made -= size
        if size > self.most or self.made < 0:
            raise TooMuch(f"it makes more than {self.most:,} characters")

    def hold(self, value: Any) -> Any:
        """The value, refused where it is more than may be, written out or as it is kept."""
        if isinstance(value, str):
            self.made -= len(value)
            if len(value) > self.most or self.made < 0:
                raise TooMuch(f"it makes more than {self.most:,} characters")
        elif isinstance(value, int):
            if value.bit_length() > _BITS:
                raise TooMuch("it computes with numbers of thousands of digits")
        elif isinstance(value, Mapping | list | tuple):
            if self.size(value) > self.most:
                raise TooMuch(f"it makes more than {self.most:,} characters")
            self.make(_ITEM * len(value))
        return value

    def size(self, value: Any, depth: int = 0) -> int:
        """Characters that a value takes when it is written out; what stands in it twice counts twice."""
        if isinstance(value, str | bytes):
            return len(value)
        if isinstance(value, int):
            return value.bit_length() // 3 + 2
        if isinstance(value, Namespace) and depth:
            raise TooMuch("it keeps a namespace in another value")
        if not isinstance(value, Mapping | list | tuple):
            return 32
        if (known := self.sizes.get(id(value))) is not None:
            return known[1]
        if depth > NESTED:
            raise TooMuch(f"it nests values more than {NESTED} deep")
        parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
        size = 2 + sum(4 + self.size(part, depth + 1) for part in parts)
        self.sizes[id(value)] = value, size  # nothing changes a list here; kept, so that the id stays its own
        return size


_budget: ContextVar[_Budget] = ContextVar("budget")


def _charge(name: str, value: Any, arguments: Sequence[Any]) -> None:
    """Counts a method or a filter on a value before it happens, by what it can make."""
    budget = _budget.get()
    size = budget.size
    whole = sum(abs(one) for one in arguments if isinstance(one, int))
    written = sum(size(one, 1) for one in arguments)
    if name in ("center", "ljust", "rjust", "zfill", "truncate", "slice", "batch", "round"):
        budget.make(size(value) + whole + written)
    elif name == "replace" and isinstance(value, str) and len(arguments) > 1:
        old, new = str(arguments[0]), str(arguments[1])
        budget.make(len(value) + value.count(old) * len(new))
    elif name == "join":
        parts, glue = (arguments[0], value) if isinstance(value, str) and arguments else (value, arguments)
        budget.make(size(parts) + size(glue, 1) * (len(parts) if hasattr(parts, "__len__") else 1))
    elif name in ("format", "format_map"):
        digits = sum(map(int, _NUMBERS.findall(str(value))))
        fields = 1 + str(value).count("{") + str(value).count("%")
        budget.make(size(value, 1) + digits + fields * (whole + written))
    elif name in ("indent", "tojson", "translate", "expandtabs"):
        budget.make(size(value, 1) * max(1, whole, written))
    elif name == "sum" and any(isinstance(one, list | tuple) for one in arguments):
        raise TooMuch("it adds up lists")
    elif name == "string":
        budget.make(size(value, 1))
    elif isinstance(value, str | bytes) and name not in _FREE:
        budget.make(len(value))
    else:
        budget.step()


def _turns(items: Any) -> Any:
    """What a loop goes through, each turn counted; its length stays known."""
    return _Sized(items) if hasattr(items, "__len__") else _counted_turns(items)


def _counted_turns(items: Any) -> Iterator[Any]:
    budget = _budget.get()
    for item in items:
        budget.step()
        yield item


class _Sized:
    """Items that a loop counts and knows the number of."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return _counted_turns(self._items)

    def __len__(self) -> int:
        return len(self._items)


class _Generation(Extension):
    """The block `{% generation %}` of `transformers`, which marks what an assistant writes."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Callable[[], str]) -> str:
        return caller()


class _Namespace(Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, given = args[0], dict(*args[1:], **kwargs)
        for name, value in given.items():
            _no_private(name, value)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _no_private(name, value)
        super().__setitem__(name, value)


def _no_private(name: Any, value: Any) -> None:
    if isinstance(value, Namespace):
        raise TooMuch("it keeps a namespace in another")
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace holds no name like {name[:40]!r}")


class _Dict:
    """`dict` without its attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox of `transformers`' chat templates, in which everything is counted."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], optimized=False
        )
        self.filters["tojson"] = _to_json
        for name in _UNUSED:
            del self.filters[name]
        self.filters = {name: _counted(name, function) for name, function in self.filters.items()}
        self.filters["interp_turns"] = _turns
        self.filters["interp_value"] = _value
        self.filters["interp_printed"] = _printed
        self.filters["interp_joined"] = _joined
        del self.globals["lipsum"], self.globals["cycler"]
        self.globals |= {
            "raise_exception": _raise,
            "strftime_now": _now,
            "dict": _Dict(),
            "namespace": _Namespace,
        }

    @staticmethod
    def concat(pieces: Any) -> str:
        """Joins what a block wrote, and stops where that is too much."""
        budget, found, size = _budget.get(), [], 0
        for piece in pieces:
            size += len(piece)
            if size > budget.most:
                budget.make(size)
            found.append(piece)
        budget.make(size)
        return "".join(found)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls what a template calls, counted."""
        given = [*args, *kwargs.values()]
        method = getattr(__obj, "__wrapped__", __obj)  # a text's `format` comes wrapped
        owner = getattr(method, "__self__", None)
        if isinstance(owner, str | bytes | list | tuple | Mapping):
            _charge(method.__name__, owner, given)
        else:
            _budget.get().step()
        if isinstance(__obj, LoopContext):
            args = tuple(map(_turns, args))
        return _budget.get().hold(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Applies an operator once it is known how much it makes."""
        budget = _budget.get()
        if operator == "*":
            times = max([1, *(abs(one) for one in (left, right) if isinstance(one, int))])
            copied = [one for one in (left, right) if isinstance(one, str | bytes | list | tuple)]
            kept = max((_ITEM * len(one) for one in copied if isinstance(one, list | tuple)), default=0)
            budget.make(times * max(kept, *map(budget.size, copied)) if copied else 1)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            if left.bit_length() * abs(right) > _BITS:
                raise TooMuch("it computes with numbers of thousands of digits")
            budget.step()
        elif operator == "%" and isinstance(left, str):
            _charge("format", left, list(right) if isinstance(right, tuple) else [right])
        else:
            budget.make(budget.size(left) + budget.size(right) if operator == "+" else 1)
        return budget.hold(super().call_binop(context, operator, left, right))

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _with_counts(super()._parse(source, name, filename))


def _with_counts(template: nodes.Template) -> nodes.Template:
    """The template with its loops, lists, joined texts and printed values sent through what counts them."""

    def through(name: str, value: Any, more: Sequence[nodes.Expr] = ()) -> nodes.Filter:
        found = nodes.Filter(value, name, list(more), [], None, None)
        found.set_lineno(value.lineno)
        return found

    def changed(node: nodes.Node) -> nodes.Node:
        for field, value in node.iter_fields():
            if isinstance(value, nodes.Node):
                setattr(node, field, changed(value))
            elif isinstance(value, list):
                setattr(node, field, [changed(one) if isinstance(one, nodes.Node) else one for one in value])
        if isinstance(node, nodes.For):
            node.iter = through("interp_turns", node.iter)
        elif isinstance(node, nodes.Concat):
            return through("interp_joined", node.nodes[0], node.nodes[1:])
        elif isinstance(node, nodes.Output):
            node.nodes = [
                one if isinstance(one, nodes.TemplateData) else through("interp_printed", one)
                for one in node.nodes
            ]
        elif isinstance(node, nodes.List | nodes.Dict) or (
            isinstance(node, nodes.Tuple) and node.ctx == "load"
        ):
            return through("interp_value", node)
        return node

    return changed(template)  # type: ignore[return-value]


def _value(value: Any) -> Any:
    """A list, tuple or mapping that a template writes down."""
    return _budget.get().hold(value)


def _printed(value: Any) -> Any:
    """What a template prints."""
    _budget.get().make(_budget.get().size(value, 1))
    return value


def _joined(*parts: Any) -> str:
    """Texts joined by `~`."""
    _budget.get().make(sum(_budget.get().size(part, 1) for part in parts))
    return "".join(map(str, parts))


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, counted; whatever Jinja passes in front of the value stays there."""
    passed = getattr(function, "jinja_pass_arg", None)
    skipped = 0 if passed is None else 1

    def counted(*args: Any, **kwargs: Any) -> Any:
        _charge(name, args[skipped] if len(args) > skipped else "", [*args[skipped + 1 :], *kwargs.values()])
        return _budget.get().hold(function(*args, **kwargs))

    counted.__name__ = name
    if passed is not None:
        counted.jinja_pass_arg = passed  # type: ignore[attr-defined]
    return counted


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: Any) -> None:
    raise jinja2.TemplateError(str(message)[:2000])


def _now(form: str) -> str:
    if len(form) > 200:
        raise TooMuch("a date of more than 200 characters")
    return datetime.now().strftime(form)


@lru_cache(maxsize=16)
def _compiled(source: str) -> jinja2.Template:
    if len(source) > SOURCE:
        raise TooMuch(f"it has {len(source):,} characters")
    environment = _Bounded()
    depth = 0
    for _, kind, value in environment.lex(source):
        depth += kind == "operator" and (value in ("(", "[", "{")) - (value in (")", "]", "}"))
        if depth > NESTED:
            raise TooMuch(f"its brackets are nested more than {NESTED} deep")
    return environment.from_string(source)


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as `transformers` gives it to a template: no empty fields, reasoning under all its names."""
    if not isinstance(message, Mapping):
        raise TypeError("a message is no mapping")
    given = {name: value for name, value in message.items() if value is not None}
    reasoning = next((given[name] for name in _REASONING if name in given), None)
    if reasoning is None:
        return given
    return {"thinking": reasoning, **given, "reasoning_content": reasoning}

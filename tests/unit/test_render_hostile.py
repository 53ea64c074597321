"""Pages of hostile words: each has the elements and attributes that it has of harmless ones, no others."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from experiments.common.populations.data import KINDS
from experiments.quickstart.page import QuickstartPage
from interp.lenses.grid import LensGrid, LensText, TargetGrid, lens_page_html
from interp.render.marked import MarkedText
from interp.render.page import Section, Table, render_page
from interp.statistics.estimate import Estimate
from tests.unit.render_sample import sample_report
from tests.unit.test_render_compare import sample as sample_comparison
from tests.unit.test_render_page import sample_page
from tests.unit.test_render_report import Outline

WORDS = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "</style><svg onload=alert(1)>",
    "</title><b>", "]]><!--", "-->", "\" onclick='alert(1)' x=\"", "' autofocus onfocus=alert(1) '", "`${1}`",
    "{{ 7 * 7 }}{% raw %}{#", "javascript:alert(1)", ";}body{display:none}/*", "expression(alert(1))",
    "</textarea></noscript></select></option>", "<!doctype html><base href=//x>", "&lt;script&gt;&#60;b&#62;",
    "\0\x08\x0b\x1b[31m\x7f\x9b", "\ud800\udfff \udc00", "\ufffe\uffff", "\u2028\u2029\x85", "\u202e\u2066",
    "\\u003cscript\\u003e", "<template><math><mtext>", "<a href=x download>", "=1+1",
)  # fmt: skip
EVIL = " ".join(WORDS)
HARMLESS = "x" * len(EVIL)
_OURS = {"", *KINDS, "top", "q0.9", "silent", "explain"}
"""Words of the code, which data does not name."""


def named(data: Any, words: str) -> Any:
    """The data with these words after every text in it."""
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        changed = {field.name: named(getattr(data, field.name), words) for field in dataclasses.fields(data)}
        return dataclasses.replace(data, **changed)
    if isinstance(data, MarkedText):
        return MarkedText([named(word, words) for word in data.words], data.marks)
    if isinstance(data, Estimate):  # numbers alone
        return data
    if isinstance(data, str):
        return data if data in _OURS else data + words
    if isinstance(data, Mapping):
        return {named(key, words): named(value, words) for key, value in data.items()}
    if isinstance(data, Sequence):
        return type(data)(named(one, words) for one in data)  # type: ignore[call-arg]
    return data


def lens(words: str) -> str:
    tokens = [f"a{words}", f"b{words}"]
    numbers = [[0.5, 0.25]]
    grid = LensGrid(
        words, words, [words], [[tokens, tokens]], [[[0.5, 0.1], [0.2, 0.1]]], numbers, numbers,
        [TargetGrid(words, numbers, [[1, 2]])],
    )  # fmt: skip
    return lens_page_html(words, [LensText(tokens, [grid])])


def generic(words: str) -> str:
    page = sample_page(words)
    marked = Table(
        "m", "m", page.sections[0].tables[0].columns[:1], [[MarkedText([words, "b"], [True, False])]]
    )
    sections = [*page.sections, Section(words, [words], (), [marked])]
    run, subject = named(page.run, words), named(page.subject, words)
    return render_page(dataclasses.replace(page, run=run, subject=subject, sections=sections))


def comparison(words: str) -> str:
    page = sample_comparison(per_kind=2, windows=4)
    populations = [dataclasses.replace(one, name=one.label) for one in page.data.populations]
    data = dataclasses.replace(page.data, populations=populations)
    return named(dataclasses.replace(page, data=data), words).html()


def report(words: str) -> str:
    return QuickstartPage(named(sample_report(per_kind=2, windows=4, length=12), words)).html()


PAGES: dict[str, Callable[[str], str]] = {
    "report": lambda words: QuickstartPage(
        named(sample_report(per_kind=2, windows=4, length=12), words)
    ).html(),
    "compare": comparison,
    "page": generic,
    "lens": lens,
}


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, and what its scripts and links are."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.others: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.policy: list[str] = []
        self._script: str | bool | None = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        values = dict(attrs)
        if values.get("http-equiv") == "Content-Security-Policy":
            assert not self.scripts
            self.policy.append(values["content"] or "")
        self._script = values.get("type") if tag == "script" else False

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", ()))
        self._script = False

    def handle_data(self, data: str) -> None:
        if self._script is not False:
            assert not isinstance(self._script, bool)
            self.scripts.append((self._script, data))

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)


@pytest.mark.parametrize("kind", PAGES)
def test_no_element_attribute_or_script_of_a_page_comes_from_its_data(kind: str) -> None:
    page = PAGES[kind](EVIL)
    page.encode()  # no half of a character
    assert not set(page) & {chr(code) for code in (*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF)}
    hostile, harmless = Structure(page), Structure(PAGES[kind](HARMLESS))
    assert hostile.elements == harmless.elements
    assert hostile.others == ["doctype html"]
    Outline(page)
    code = [text for type_, text in hostile.scripts if type_ is None]
    assert code == [text for type_, text in harmless.scripts if type_ is None]
    assert len(code) == 1
    (policy,) = hostile.policy
    digest = base64.b64encode(hashlib.sha256(code[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}';" in policy
    for type_, text in hostile.scripts:
        if type_ is not None:
            assert type_ == "application/json"
            assert json.loads(text)


@pytest.mark.parametrize("kind", ["report", "compare"])
def test_a_text_of_a_megabyte_is_cut_where_it_is_shown_and_whole_in_the_download(kind: str) -> None:
    long = "y" * 1_000_000
    one, *others = sample_report(per_kind=2, windows=4, length=12).features
    exemplars = [
        dataclasses.replace(exemplar, tokens=[long, *exemplar.tokens[1:]]) for exemplar in one.exemplars
    ]
    one = dataclasses.replace(one, description=long, exemplars=exemplars)
    if kind == "report":
        data = dataclasses.replace(sample_report(), features=[one, *others])
        page = QuickstartPage(data).html()
    else:
        comparison = sample_comparison(per_kind=2, windows=4)
        data = dataclasses.replace(comparison.data, features=[one, *others])
        page = dataclasses.replace(comparison, data=data).html()
    assert "y" * 2_000 + "…" in page
    assert "y" * 2_001 not in page
    assert "y" * 200 + "…</span>" in page
    assert base64.b64encode(long[:300].encode() * 3).decode()[4:-4] in page

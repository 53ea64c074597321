"""Chat templates: written as `transformers` writes them, and refused in seconds where they would not end."""

import os
import resource
from typing import Any

import pytest
from transformers import AutoTokenizer

from interp.bundled.world import world_folder
from interp.errors import UserError
from interp.subject import template
from interp.subject.template import Refusal, rendered_chat

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "  be brief \n"},
    {"role": "user", "content": 'what\'s 2 < 3 & "so" on? é'},
    {"role": "assistant", "content": "yes", "thinking": "hm", "tool_calls": [{"name": "f", "arguments": {}}]},
    {"role": "user", "content": "again", "empty": None},
]
WRITTEN = {
    "loop": "{% for m in messages %}{{ loop.index }}/{{ loop.length }} {{ m['role'] }}: "
    "{{ m.content | trim }}"
    "{% if not loop.last %}, {% endif %}{% if loop.previtem %}^{% endif %}\n{% endfor %}",
    "blocks and spaces": "  {% for m in messages %}\n    {{- m.content }}\n  {%- endfor %}\n"
    "{% if true %}\n x\n{% endif %}",
    "namespace": "{% set ns = namespace(n=0, text='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% set ns.text = ns.text ~ m.role ~ ns.n %}{% endfor %}{{ ns.text }}",
    "macro": "{% macro turn(m, end='.') %}<{{ m.role }}>{{ m.content }}{{ end }}{{ caller() }}"
    "{% endmacro %}"
    "{% for m in messages %}{% call turn(m) %}|{% endcall %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "slices": "{% for m in messages[1:][::-1] %}{{ m.role }}{% endfor %}{{ messages[-1]['content'][:3] }}",
    "filters": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='role') | list }}"
    "{{ messages[2] | tojson(indent=4) }}{{ messages | length }}"
    "{{ messages[0].content | upper | replace('B', 'b') }}"
    "{{ nothing | default('-') }}{{ messages[0].items() | list | first | join(', ') }}"
    "{{ 3.14159 | round(2) }}"
    "{{ 'a\nb' | indent(2) }}{{ range(3) | sum }}{{ messages | groupby('role') | length }}"
    "{{ 'x' | center(5) }}",
    "methods": "{{ 'a-b'.split('-') }}{{ '%s and %d' % ('x', 3) }}{{ '{} {:>4}'.format(1, 2) }}"
    "{{ 'x' * 3 }}"
    "{{ ', '.join(['a', 'b']) }}{{ 'abc'.startswith('a') }}{{ 2 ** 5 }}{{ [1] + [2] }}{{ {'a': 1}['a'] }}",
    "control": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.role }}"
    "{% if loop.index == 2 %}{% break %}{% endif %}{% else %}none{% endfor %}{{ bos_token }}"
    "{{ eos_token }}",
    "recursive": "{% for x in [[1, [2]], 3] recursive %}{{ loop(x) if x is iterable else x }};{% endfor %}",
    "reasoning": "{% for m in messages %}{{ m.reasoning_content }}{{ m.thinking }}{{ m.empty }}"
    "{% endfor %}",
    "prompt": "{% if add_generation_prompt %}go{% endif %}{% if tools is none %}no tools{% endif %}",
    "filtered loop": "{% for m in messages if m.role == 'user' %}{{ loop.index0 }}{{ m.content }}"
    "{% endfor %}",
    "block set": "{% set head %}{{ messages[0].content }}!{% endset %}{{ head | trim }}"
    "{% filter upper %}a{% endfilter %}",
    "date": "{{ strftime_now('%Y') }}{{ dict(a=1) }}",
}  # fmt: skip
BOMBS = {
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a macro that calls itself": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "macros that double": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}"
    "{% endmacro %}{{ f(40) }}",
    "a text that doubles": "{% set ns = namespace(s='x') %}{% for i in range(60) %}"
    "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "a list of lists": "{% set a = ['x'] %}" + "{% set a = [a, a, a, a, a, a, a, a] %}" * 12 + "{{ a }}",
    "times": "{{ 'x' * 10 ** 10 }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "padding": "{{ 'x' | center(10 ** 10) }}",
    "a format": "{{ '%10000000000d' % 1 }}",
    "replaced": "{% set s = 'a' * 10 ** 6 %}{{ s.replace('a', s) }}",
    "what is printed": "{% for i in range(99999) %}" + "x" * 1000 + "{% endfor %}",
    "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "blocks": "{% if 1 %}" * 2000 + "{% endif %}" * 2000,
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(world_folder())


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("prompt", [False, True])
def test_what_a_template_writes_is_what_transformers_gives(tokenizer: Any, name: str, prompt: bool) -> None:
    tokenizer.chat_template = WRITTEN[name]
    expected = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=prompt)
    assert rendered_chat(tokenizer, TALK, "here", prompt) == expected


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_would_not_end_is_refused(
    tokenizer: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "SECONDS", 1.0)
    tokenizer.chat_template = BOMBS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="no template of a conversation"):
        rendered_chat(tokenizer, TALK, "here")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # KiB


def test_after_a_template_was_stopped_others_are_written(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "SECONDS", 0.2)
    tokenizer.chat_template = BOMBS["nested loops"]
    with pytest.raises(UserError, match=r"more than 0\.2 seconds"):
        rendered_chat(tokenizer, TALK, "here")
    monkeypatch.undo()
    tokenizer.chat_template = "{{ messages[0].role }}"
    assert rendered_chat(tokenizer, TALK, "here") == "system"


def test_a_forked_process_has_a_renderer_of_its_own(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ messages[0].role }}"
    rendered_chat(tokenizer, TALK, "here")
    if child := os.fork():
        answers = [rendered_chat(tokenizer, TALK, "here") for _ in range(20)]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert set(answers) == {"system"}
    else:
        tokenizer.chat_template = "{{ messages[1].role }}"
        os._exit({rendered_chat(tokenizer, TALK, "here") for _ in range(20)} != {"user"})


def test_long_conversations_are_written(tokenizer: Any) -> None:
    tokenizer.chat_template = WRITTEN["loop"] + WRITTEN["macro"] + WRITTEN["filters"]
    talk = TALK * 100
    talk[7] = {"role": "user", "content": "many words " * 100_000}
    expected = tokenizer.apply_chat_template(talk, tokenize=False)
    assert rendered_chat(tokenizer, talk, "here") == expected


@pytest.mark.parametrize(
    "damaged",
    ["{% for %}", "{{ nothing.at.all }}", "{{ raise_exception('no such role') }}", "{% include 'x' %}",
     "{{ 1 / 0 }}", "{{ 'x' | no_such_filter }}"],
)  # fmt: skip
def test_a_template_that_is_damaged_or_refuses_is_one_message(tokenizer: Any, damaged: str) -> None:
    tokenizer.chat_template = damaged
    with pytest.raises(Refusal, match="refuses these messages"):
        rendered_chat(tokenizer, TALK, "here")

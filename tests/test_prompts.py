"""Prompts rendered from recorded variables."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from jinja2 import Environment

from rasa_ft_ext.errors import PromptError
from rasa_ft_ext.prompts import fill, one_line, placeholder, render, template_id, to_json


def test_messages_are_filled_in_wherever_their_placeholders_stand() -> None:
    variables = {
        "user_message": placeholder(1),
        "history": f"USER: {placeholder(0)}\nAI: in which city?\nUSER: {placeholder(1)}",
        "slots": [{"name": "city", "said": [placeholder(1)]}, {"name": "date", "said": []}],
        "turns": {"first": {"text": f"<{placeholder(0)}>"}},
    }

    assert fill(variables, ["book a car", "to Basel"]) == {
        "user_message": "to Basel",
        "history": "USER: book a car\nAI: in which city?\nUSER: to Basel",
        "slots": [{"name": "city", "said": ["to Basel"]}, {"name": "date", "said": []}],
        "turns": {"first": {"text": "<book a car>"}},
    }


def test_filling_in_leaves_the_recorded_variables_as_they_were() -> None:
    variables = {"flows": [{"name": placeholder(0)}]}

    fill(variables, ["hello"])

    assert variables == {"flows": [{"name": "@@USER-0@@"}]}


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", [], {}])
def test_what_holds_no_message_stays(value: Any) -> None:
    assert fill(value, ["hello"]) == value


def test_placeholder_numbers_above_nine_name_their_own_message() -> None:
    messages = [f"message {index}" for index in range(112)]

    assert fill(f"{placeholder(1)}, {placeholder(11)}, {placeholder(111)}", messages) == (
        "message 1, message 11, message 111"
    )


def test_one_message_may_stand_in_many_places() -> None:
    assert fill(placeholder(0) * 3, ["ab"]) == "ababab"


def test_line_feeds_within_a_message_become_blanks_as_in_rasas_transcripts() -> None:
    assert one_line("to\nBasel\n\nplease") == "to Basel  please"
    assert fill(placeholder(0), ["to\nBasel"]) == "to Basel"


def test_a_message_that_looks_like_a_placeholder_is_not_filled_in_again() -> None:
    messages = [placeholder(1), "my PIN is 1234"]

    assert render("{{ a }} / {{ b }}", {"a": placeholder(0), "b": placeholder(1)}, messages) == (
        "@@USER-1@@ / my PIN is 1234"
    )


@pytest.mark.parametrize("message", ["{{ secret }}", "{% for i in x %}", "{# gone #}", "{{ 7 * 7 }}", "{{"])
def test_jinja_syntax_in_a_message_is_text(message: str) -> None:
    assert render("{{ said }}!", {"said": placeholder(0), "secret": "1234"}, [message]) == f"{message}!"


def test_a_message_with_html_or_backslashes_is_not_escaped() -> None:
    assert render("{{ said }}", {"said": placeholder(0)}, [r"<b>&\1\g<0>"]) == r"<b>&\1\g<0>"


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2024, 4, 27, 18, 13, 47, tzinfo=UTC),
        datetime(2024, 4, 27, 18, 13, 47, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2024, 4, 27),
    ],
)
def test_a_point_in_time_survives_being_recorded(moment: datetime) -> None:
    recorded = json.loads(json.dumps(to_json({"now": moment, "all": [moment]})))

    assert fill(recorded, []) == {"now": moment, "all": [moment]}
    assert fill(recorded, [])["now"].utcoffset() == moment.utcoffset()


def test_a_template_can_format_a_recorded_point_in_time() -> None:
    recorded = to_json({"now": datetime(2024, 4, 27, 18, 13, tzinfo=UTC)})

    assert render("{{ now.strftime('%d %B, %H:%M') }}", recorded, []) == "27 April, 18:13"


def test_plain_values_are_recorded_as_they_are_and_tuples_as_lists() -> None:
    value = {"flows": [{"name": "book_car", "slots": ("city", "date")}], "n": 3, "x": 1.5, "on": True, "none": None}

    assert to_json(value) == {**value, "flows": [{"name": "book_car", "slots": ["city", "date"]}]}


@pytest.mark.parametrize(
    ("value", "kind"), [(object(), "object"), ({1: "a"}, "dict"), ({"a", "b"}, "set"), (date(2024, 1, 1), "date")]
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_json_cannot_hold_is_refused_with_its_type(value: Any, kind: str, nested: bool) -> None:
    with pytest.raises(TypeError, match=f"type {kind} "):
        to_json({"a": [value]} if nested else value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ flows.__class__.__base__ }}",
        "{{ (flows | attr('__class__')).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(flows) }}",
        "{{ self.__init__.__globals__ }}",
    ],
)
def test_a_template_cannot_reach_into_python(template: str) -> None:
    with pytest.raises(PromptError, match=r"unsafe|undefined"):
        render(template, {"flows": ["book_car"]}, [])


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{% if %}", "Line 1 is no jinja2"),
        ("{{ x | shout }}", "Line 1 is no jinja2: No filter named 'shout'"),
        ("\n{{ 1 / 0 }}", r"ZeroDivisionError: division by zero \(line 2 of the template\)"),
        ("{% include 'x' %}", "no loader"),
        ("{{ (" + "(" * 2_000 + ")" * 2_000 + ") }}", "no jinja2 that can be compiled"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "no jinja2 that can be compiled"),
    ],
)
def test_a_broken_template_is_told_in_words(template: str, problem: str) -> None:
    with pytest.raises(PromptError, match=problem):
        render(template, {}, [])


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10 ** 10 }}",
        "{{ [0] * 10 ** 9 }}",
        "{{ (10 ** (10 ** 9)) | string }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (10 ** 9, 1) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ 'a'.center(10 ** 10) }}",
        "{{ 'a' | center(10 ** 10) }}",
        "{{ 'a' | indent(10 ** 10) }}",
        "{{ ('a' * 99999).replace('a', 'a' * 99999) }}",
        "{{ ('a' * 99999) | replace('a', 'a' * 99999) }}",
        "{{ lipsum(n=100000) }}",
        "{% for a in range(10 ** 9) %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set all = range(99999) | list %}{% for a in all %}{% for b in all %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in [1] recursive %}{{ loop([1, 2]) if loop.depth < 60 }}{% endfor %}",
        "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x='ab') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x='ab') %}"
        "{% for a in range(60) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}{{ n.x }}",
        "{% set n = namespace(x=3) %}{% for a in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    ],
)
def test_a_template_comes_to_an_end(template: str) -> None:
    began = time.monotonic()
    with pytest.raises(PromptError):
        render(template, {}, [])
    assert time.monotonic() - began < 5


def test_within_the_limits_all_is_as_jinja2_has_it() -> None:
    template = """{% for f in flows %}{{ loop.index }}/{{ loop.length }}{{ ", last" if loop.last }} {{ f.name ~ "!" }}
{% for s in f.slots recursive %}{{ loop.depth }}{{ s }}{% else %}none{% endfor %}
{{ loop.nextitem.name if not loop.last }}
{% endfor %}{% for k, v in {"a": 1}.items() %}{{ k * 3 }}{{ v + 1 }}{{ "%03d %s" % (v, k) }}{{ 7 % 3 }}{% endfor %}
{{ "{:>6}|{}".format("x", 2) }} {{ "a,b".replace(",", ";") | indent(2) }} {{ [1] + [2] }} {{ none }} {{ gone }}
{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(2 ** 10) }}{% set x %}{{ "s" | center(5) }}{% endset %}{{ x }}
{% for x in gone %}{% endfor %}{% for c in "ab" %}{{ loop.cycle("odd", "even") }}{{ loop.changed(c) }}{% endfor %}"""
    variables = {"flows": [{"name": "a", "slots": ["x", "y"]}, {"name": "b", "slots": []}]}

    assert render(template, variables, []) == Environment().from_string(template).render(variables)


def test_rasas_filter_writes_a_json_string_and_keeps_umlauts() -> None:
    said = 'say "Grüezi"\tand C:\\temp'

    rendered = render("{{ said | to_json_escaped_string }}", {"said": placeholder(0)}, [said])

    assert rendered == '"say \\"Grüezi\\"\\tand C:\\\\temp"'
    assert json.loads(rendered) == said


def test_equal_templates_have_one_short_name_and_others_another() -> None:
    assert template_id("Hello {{ name }}") == template_id("Hello {{ name }}")
    assert template_id("Hello {{ name }}") != template_id("Hello {{ name }} ")
    assert len(template_id("Zürich")) == 12


def test_a_prompt_can_be_rendered_again_and_again_whatever_the_template_does_to_its_variables() -> None:
    template = "{{ flows.append(said) or '' }}{{ flows | join(' ') }}"
    for number in range(300):
        variables = {"flows": [f"flow {number}"], "said": placeholder(0)}
        for message in ("one", "two"):
            assert render(template, variables, [message]) == f"flow {number} {message}"

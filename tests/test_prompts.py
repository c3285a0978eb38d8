"""Prompts rendered from recorded variables."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from jinja2 import TemplateError, UndefinedError
from jinja2.exceptions import SecurityError

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
    with pytest.raises((SecurityError, UndefinedError)):
        render(template, {"flows": ["book_car"]}, [])


def test_a_broken_template_is_an_error_of_jinjas_own() -> None:
    with pytest.raises(TemplateError):
        render("{% if %}", {}, [])


def test_rasas_filter_writes_a_json_string_and_keeps_umlauts() -> None:
    said = 'say "Grüezi"\tand C:\\temp'

    rendered = render("{{ said | to_json_escaped_string }}", {"said": placeholder(0)}, [said])

    assert rendered == '"say \\"Grüezi\\"\\tand C:\\\\temp"'
    assert json.loads(rendered) == said


def test_equal_templates_have_one_short_name_and_others_another() -> None:
    assert template_id("Hello {{ name }}") == template_id("Hello {{ name }}")
    assert template_id("Hello {{ name }}") != template_id("Hello {{ name }} ")
    assert len(template_id("Zürich")) == 12

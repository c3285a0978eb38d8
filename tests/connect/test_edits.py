"""Single entries of a YAML file are changed; what cannot be changed safely is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rasa_ft_ext.connect import notation
from rasa_ft_ext.connect.edits import Edits, UnsafeEditError
from rasa_ft_ext.project import YamlFile, entry_of, parse_yaml


def read(text: str) -> YamlFile:
    return parse_yaml(Path("file.yml"), text.encode())


def with_set(text: str, key: str, value: Any, **how: Any) -> str:
    file = read(text)
    edits = Edits(file)
    assert file.root is not None
    edits.set(file.root, key, value, **how)
    return edits.result().decode()


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("a: 1 # one\n", 2, "a: 2 # one\n"),
        ("a: '1'   # one\n", "it's", "a: 'it''s'   # one\n"),
        ('a: "1"', "x", 'a: "x"'),
        ("a: 0\n", 0.0, "a: 0\n"),
        ("a: 'x'\n", "x", "a: 'x'\n"),
        ("a: 1\n", True, "a: true\n"),
        ("a: one\n  two # 2\nb: 3\n", "x", "a: x # 2\nb: 3\n"),
        ("a: |\n  one\n\n  two\n\nb: 3\n", "x", "a: x\n\nb: 3\n"),
        ("a:   # see: b\nb: 3\n", "x", "a: x   # see: b\nb: 3\n"),
        ("{a: , b: 3}\n", "x", "{a: x , b: 3}\n"),
        ("a:   # see: b\nb: 3\n", {"c": 1}, "a:   # see: b\n  c: 1\nb: 3\n"),
        ("a: x # y\n", {"c": "${V}"}, 'a: {c: "${V}"} # y\n'),
        ("b: 3\n# end\n", {"c": {"d": 1}}, "b: 3\na:\n  c:\n    d: 1\n# end\n"),
        ("b:\n  c: 1\n  # of c\n# end\n", "x", "b:\n  c: 1\n  # of c\na: x\n# end\n"),
        ("b: 3", "x", "b: 3\na: x"),
        ("{b: 3}", "x", "{b: 3, a: x}"),
        ("b:\r\n- c\r\n", "x", "b:\r\n- c\r\na: x\r\n"),
    ],
)
def test_an_entry_gets_a_value(text: str, value: Any, expected: str) -> None:
    assert with_set(text, "a", value) == expected
    assert read(expected).data["a"] == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n  x: 1 # one\n  # two\n  v: 2\n  z: 3\nb: 4\n", "a:\n  x: 9 # one\n  # two\n  v: 2\n  w: 8\nb: 4\n"),
        ("a:\n  z: 1\n  q:\n    - 3 # q\n  # end\n", "a:\n  x: 9\n  v: 2\n  w: 8\n  # end\n"),
        ("a: {x: 9, v: 2} # c\n", "a: {x: 9, v: 2, w: 8} # c\n"),
        ("a: {x: 9, z: 2} # c\n", "a: {x: 9, v: 2, w: 8} # c\n"),
        ("a: {} # c\n", "a: {x: 9, v: 2, w: 8} # c\n"),
        ("a: {w: 8,\n  x: 1, # c\n  v: 2, # d\n  }\n", "a: {w: 8,\n  x: 9, # c\n  v: 2, # d\n  }\n"),
    ],
)
def test_a_mapping_gets_another_shape(text: str, expected: str) -> None:
    assert with_set(text, "a", {"x": 9, "v": 2, "w": 8}) == expected


def test_an_entry_is_renamed_where_it_stands() -> None:
    assert with_set("'old': x # c\nb: 1\n", "new", "v", instead_of="old") == "'new': v # c\nb: 1\n"
    assert with_set("old: x\nnew: z\n", "new", "v", instead_of="old") == "old: v\nnew: v\n"
    assert with_set("a: x\nb: v\n", "new", "z", after=("nowhere", "a")) == "a: x\nnew: z\nb: v\n"


@pytest.mark.parametrize(
    "text",
    ["b: &x 1\na: *x\n", "a: &x {c: 1}\n", "d: &d {c: 1}\na:\n  <<: *d\n  c: 2\n", "a:\n  c: &x 1\n  e: *x\n"],
)
def test_what_is_used_in_several_places_is_not_changed(text: str) -> None:
    with pytest.raises(UnsafeEditError, match="line"):
        with_set(text, "a", {"c": 9})


def test_two_changes_of_one_place_are_refused() -> None:
    file = read("a: 1\n")
    edits = Edits(file)
    assert file.root is not None
    for value in (2, 3):
        edits.set(file.root, "a", value)
    with pytest.raises(UnsafeEditError):
        edits.result()


def test_a_list_that_is_none_gets_no_item() -> None:
    file = read("model_groups: x\n")
    with pytest.raises(UnsafeEditError, match="no list"):
        Edits(file).append(file.root, "model_groups", {"id": "a"})


def test_a_comment_is_written_replaced_and_taken_away() -> None:
    def commented(text: str, *lines: str) -> str:
        file = read(text)
        found = entry_of(file.root, "b")
        assert found is not None
        edits = Edits(file)
        edits.comment([found[0]], lines, "ours: ")
        return edits.result().decode()

    plain = "a: 1\r\n# theirs\r\nb: 2\r\n"
    once = commented(plain, "one", "two")
    assert once == "a: 1\r\n# theirs\r\n# ours: one\r\n# ours: two\r\nb: 2\r\n"
    assert commented(once, "three") == "a: 1\r\n# theirs\r\n# ours: three\r\nb: 2\r\n"
    assert commented(once) == plain
    with pytest.raises(UnsafeEditError):
        commented("{a: 1, b: 2}", "one")


@pytest.mark.parametrize(
    "value",
    [
        *(
            "a",
            "1",
            "1.0",
            "1e3",
            "yes",
            "No",
            "null",
            "~",
            "",
            " a",
            "a b",
            "a: b",
            "#a",
            "a #b",
            "- a",
            "'",
            '"',
            "\\",
        ),
        *("0x1f", "0o7", "12:30", "1_000", ".inf", "*a", "&a", "!a", "%a", "@a", "{a}", "[a]", "a,b", "2024-01-02"),
        *(
            "http://127.0.0.1:8000/v1",
            "http://h/v1?x=1#y",
            "org/model-8b:latest",
            "名",
            "a\nb",
            "a\tb",
            "\u2028",
            "=",
            "<<",
        ),
        *(0, 0.0, 1.5, True, False, None),
    ],
)
def test_every_value_is_read_back_as_it_was(value: Any) -> None:
    lines = "\n".join(notation.block("a", value))
    assert read(f"{lines}\nb: {notation.flow([value, {'k': value}])}\n").data == {
        "a": value,
        "b": [value, {"k": value}],
    }
    for quote in ("'", '"'):
        assert read(f"a: {notation.scalar(value, quote=quote)}\n").data == {"a": value}


def test_a_variable_stays_bare_in_a_block_so_that_rasa_fills_it_in() -> None:
    assert notation.block("api_base", "http://${HOST}:8000/v1") == ["api_base: http://${HOST}:8000/v1"]

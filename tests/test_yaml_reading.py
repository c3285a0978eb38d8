"""YAML that others wrote is read within limits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ruamel.yaml.error import YAMLError

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.yaml_reading import MOST_LEVELS, LimitError, check_yaml, compose_yaml, load_yaml, read_text, read_yaml

LAUGHS = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"{now}: &{now} [{', '.join([f'*{before}'] * 9)}]\n" for before, now in zip("abcdefgh", "bcdefghi", strict=True)
)


def deep(levels: int) -> str:
    return "".join(f"{'  ' * level}a:\n" for level in range(levels))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("[" * 1_000 + "]" * 1_000, "nested deeper than 100 levels", id="brackets"),
        pytest.param("[" * 20_000, "nested deeper than 100 levels", id="many brackets"),
        pytest.param("- " * 1_000 + "a", "nested deeper than 100 levels", id="dashes"),
        pytest.param(deep(1_000), "nested deeper than 100 levels", id="indentation"),
        pytest.param(LAUGHS, "stand for more than", id="billion laughs"),
        pytest.param(
            f"a: &a '{'x' * 10_000}'\nb: [{', '.join(['*a'] * 1_000)}]", "stand for more than", id="one long text"
        ),
        pytest.param("a: &a [*a]", "within what it stands for", id="a list in itself"),
        pytest.param('a: "\\ud800"', "half a character", id="surrogate"),
        pytest.param('a: "\\0"', "NUL", id="nul"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_every_reader_at_once(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(text)
    began = time.monotonic()
    for read in (load_yaml, check_yaml, compose_yaml, lambda text: load_yaml(text, typ="rt")):
        with pytest.raises(LimitError, match=problem):
            read(text)
    with pytest.raises(ConfigError, match=problem) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "line " in str(caught.value)
    assert time.monotonic() - began < 20


def test_what_people_write_is_read() -> None:
    levels = MOST_LEVELS - 1
    assert load_yaml(deep(levels))["a"]["a"]
    assert load_yaml(deep(levels), typ="rt")["a"]["a"]
    many = f"a: &a {{x: {'y' * 100}}}\nb: [{', '.join(['*a'] * 1_000)}]"
    assert load_yaml(many)["b"][999] == {"x": "y" * 100}
    assert load_yaml("a: &x 1\nb: &x 2\nc: *x") == {"a": 1, "b": 2, "c": 2}
    assert load_yaml("base: &b {x: 1}\nown: {<<: *b, y: 2}")["own"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("text", ["a: 2024-99-99", "a: !!int x", "a: !!timestamp x", "a: " + "9" * 5_000, "a: 1\na: 2"])
def test_a_value_that_cannot_be_is_an_error_of_the_yaml(text: str) -> None:
    with pytest.raises(YAMLError):
        load_yaml(text)


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.system [x]", "a: !!python/name:os.system"])
def test_no_tag_makes_an_object(text: str) -> None:
    with pytest.raises(YAMLError, match="could not determine a constructor"):
        load_yaml(text)


def test_a_long_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.yml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ConfigError, match=r"it has 100\.0 MB, and at most 10 MB are"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="it does not end"):
        read_text(Path("/dev/zero"), most_bytes=1_000)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        read_yaml(tmp_path / "a.yml")
    with pytest.raises(ConfigError, match="No such file"):
        read_yaml(tmp_path / "b.yml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(Path("a\0b"))


def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_bytes("\ufeffa: 1\r\nb: ü\r\n".encode())
    assert read_yaml(tmp_path / "a.yml") == {"a": 1, "b": "ü"}

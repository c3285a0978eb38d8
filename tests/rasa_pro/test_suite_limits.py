"""Test suites that are too much are refused before Rasa's reader sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.errors import TestSuiteError
from rasa_ft_ext.rasa_pro import suite, suite_limits
from rasa_ft_ext.rasa_pro.suite import read_suite

ONE_TEST = "test_cases:\n  - test_case: a car\n    steps:\n      - user: a car\n      - utter: utter_car\n"


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    folder = tmp_path / "e2e_tests"
    folder.mkdir()
    (folder / "car.yml").write_text(ONE_TEST, encoding="utf-8")
    return folder


def refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(suite, "read_test_cases", lambda path: pytest.fail("Rasa has read it"))
    with pytest.raises(TestSuiteError) as caught:
        read_suite(path)
    return str(caught.value)


def test_a_file_of_100_megabytes(tests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tests / "all.yml").open("wb") as file:
        file.truncate(100_000_000)

    for place in (tests, tests / "all.yml"):
        assert "all.yml has 100.0 MB; at most 50 MB of one file are read" in refused(place, monkeypatch)


def test_many_files_that_are_too_much_together(tests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        with (tests / f"{number}.yaml").open("wb") as file:
            file.truncate(25_000_000)

    assert "its 10 YAML files have 225.0 MB together" in refused(tests, monkeypatch)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: " + "[" * 1_000 + "]" * 1_000, "line 1: it is nested deeper than 100 levels"),
        ("".join(f"{' ' * level}a:\n" for level in range(1_000)), "line 100: it is nested deeper than 100 levels"),
        ("a: &a [*a]", "line 1: the alias *a stands within what it stands for"),
        ('a: "\\ud800"', "line 1: it has half a character"),
    ],
)
def test_a_file_beyond_a_limit_anywhere_in_the_folder(
    tests: Path, text: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tests / "inner").mkdir()
    (tests / "inner" / "notes.yml").write_text(text)

    told = refused(tests, monkeypatch)

    assert f"inner/notes.yml, {problem}" in told


def test_a_file_that_is_not_utf8(tests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tests / "notes.yml").write_bytes("# tests\n# für Zürich\n".encode("latin-1"))

    assert "notes.yml, line 2: it is not UTF-8" in refused(tests, monkeypatch)


def test_a_conftest_file_above_the_tests_counts(tests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tests.parent / "conftest.yml").write_text("[" * 1_000)

    assert "conftest.yml, line 1" in refused(tests, monkeypatch)


def test_links_without_an_end(tests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tests / "inner").mkdir()
    (tests / "inner" / "again").symlink_to(tests)

    assert "is a link to a folder that it stands in" in refused(tests, monkeypatch)


def test_a_link_to_tests_elsewhere_is_read_under_its_own_name(tests: Path, tmp_path: Path) -> None:
    (tmp_path / "shared.yml").write_text(ONE_TEST.replace("a car", "shared"), encoding="utf-8")
    (tests / "linked.yml").symlink_to(tmp_path / "shared.yml")

    assert [test.id for test in read_suite(tests).tests] == ["car.yml::a car", "linked.yml::shared"]


def test_a_fault_that_rasa_fails_to_tell_is_told(tests: Path) -> None:
    """For this one, the text of Rasa's error is another error."""
    text = ONE_TEST.replace("    steps:", "    metadata: 7\n    steps:")
    (tests / "car.yml").write_text(f"metadata:\n  - phone:\n      line: home\n{text}")

    with pytest.raises(TestSuiteError, match="not defined: metadata 7"):
        read_suite(tests)


def test_ten_thousand_tests_are_within_the_limits(tests: Path) -> None:
    steps = "".join(f"      - user: message {{{number}}}\n      - utter: utter_car\n" for number in range(10))
    cases = "".join(f"  - test_case: number {number}\n    steps:\n{steps}" for number in range(10_000))
    (tests / "car.yml").write_text(f"test_cases:\n{cases.replace('{', '').replace('}', '')}")

    suite_limits.check_limits(tests)

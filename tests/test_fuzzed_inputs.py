"""Some of what `scripts/fuzz_inputs.py` tries by the thousand, and what it has found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from rasa_ft_ext.errors import ConfigError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.settings import read_model_groups, resolve
from rasa_ft_ext.project import read_yaml_file
from rasa_ft_ext.rephrase.answer import read_answer
from scripts.fuzzed_answers import Commands, Rephrasings, Verdicts
from scripts.fuzzed_files import KINDS, SECRET, Files


def run(check: Any) -> None:
    """A few inputs, the same ones each time."""

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(check.inputs)
    def one(found: Any) -> None:
        assert check(found)

    one()


@pytest.mark.parametrize("check", [Rephrasings(), Commands(), Verdicts()], ids=lambda check: type(check).__name__)
def test_an_answer_of_an_llm_gives_no_wrong_label(check: Any) -> None:
    run(check)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "tests"])
def test_a_spoilt_file_is_refused_or_read_as_it_stands(kind: str, tmp_path: Path) -> None:
    check = Files(kind, tmp_path)
    run(check)


@pytest.mark.parametrize("sign", ["\x1b", "\0", "\ud800", "\x07"])
def test_a_wording_that_nobody_can_type_is_passed_over(sign: str) -> None:
    assert read_answer(f"USER: a car\n1. a{sign} wording\n2. another", ["a car"], 2) == (("another",),)


def test_half_a_character_in_an_answer_can_be_written_down() -> None:
    assert Completion("Z\ud83d\u00fcrich 💥").text.encode() == "Z?\u00fcrich 💥".encode()


@pytest.mark.parametrize(
    "broken", ["api_key: {}\n  x: [", "api_key: {}\napi_key: {}", "api_key: *{}", "a: 2024-99-99 # {}"]
)
def test_what_is_told_of_a_broken_file_has_nothing_of_its_text(broken: str, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yml"
    path.write_text(broken.format(*[SECRET] * broken.count("{}")))
    for read in (read_model_groups, read_yaml_file):
        with pytest.raises(ConfigError) as caught:
            read(path)
        error: BaseException | None = caught.value
        assert "line" in str(error) or "not what it looks like" in str(error)
        assert SECRET not in str(error)
        assert error is not None
        assert error.__suppress_context__ or error.__context__ is None  # nor the traceback


def test_a_key_under_a_second_name_is_not_shown() -> None:
    config = {
        "provider": "openai",
        "model": "m",
        "api_key": SECRET,
        "user": SECRET,
        "metadata": {"again": [f"x {SECRET}"]},
    }
    assert SECRET not in str(resolve(config, {}, "llm"))

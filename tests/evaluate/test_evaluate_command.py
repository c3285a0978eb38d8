"""`rasa-ft evaluate`, by the command that a user types, with the scripted LLM as the served model."""

from __future__ import annotations

from pathlib import Path

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.evaluation import read_evaluation
from rasa_ft_ext.llm.scripted.server import Running, scripted_llm
from tests.evaluate.evaluate_builders import CITIES, Model, expected, output_folder, serving

ANSWERS = """\
answers:
""" + "".join(
    f"""\
  - {{user: "a car please, {number}", commands: [StartFlow(book_car)]}}
"""
    for number in range(5)
)


def script(path: Path, *, wrong: str | None = None) -> Path:
    """A script that gives every message its commands; `wrong` is the city that it takes for another."""
    lines = [
        f"  - {{user: to {city}, commands: ['SetSlot(city, {'Rom' if city == wrong else city})']}}" for city in CITIES
    ]
    path.write_text(ANSWERS + "\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return output_folder(tmp_path / "output").root


def evaluate(out: Path, llm: Running, *more: str) -> int:
    return main(["evaluate", str(out), "--api-base", llm.base_url, "--model", "scripted", *more])


def test_a_model_that_is_right_gives_zero_and_a_table(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_llm(script(tmp_path / "answers.yml"), syntax="v2") as llm:
        assert evaluate(out, llm, "--only", "commands", "--min-accuracy", "0.9") == 0

    said = capsys.readouterr().out
    assert "answers with just the expected commands" in said
    assert said.strip().splitlines()[-1].startswith("NOT PASSED AS A WHOLE: what was measured of scripted holds")


def test_a_model_below_a_threshold_gives_two(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    city = read_city_of_validation(out)
    with scripted_llm(script(tmp_path / "answers.yml", wrong=city), syntax="v2") as llm:
        assert evaluate(out, llm, "--only", "commands", "--min-accuracy", "0.9") == 2

    assert "NOT PASSED: The command accuracy on the validation examples is 66.7 %" in capsys.readouterr().out


def read_city_of_validation(out: Path) -> str:
    text = (out / "4_train_test_split" / "ft_splits" / "val.jsonl").read_text(encoding="utf-8")
    return next(city for city in CITIES if city in text)


def test_what_cannot_be_measured_gives_one(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["evaluate", str(out), "--api-base", "http://127.0.0.1:9/v1", "--model", "m", "--only", "commands"]) == 1
    )
    assert "Nobody answers" in capsys.readouterr().err


def test_a_part_that_cannot_be_measured_gives_two(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_llm(script(tmp_path / "answers.yml"), syntax="v2") as llm:
        assert evaluate(out, llm, "--only", "commands", "--only", "parity") == 2

    assert "Parity was not measured: no model folder was given" in capsys.readouterr().out


def test_a_slow_server_is_waited_for_and_its_time_is_told(out: Path, tmp_path: Path) -> None:
    with scripted_llm(script(tmp_path / "answers.yml"), syntax="v2", latency=0.2) as llm:
        assert evaluate(out, llm, "--only", "commands", "--concurrency", "16") == 0
        assert llm.stats()["max_in_flight"] > 4

    assert read_evaluation(out).commands["train"].seconds_p50 >= 0.2


def test_an_answer_is_given_no_more_room_than_the_data_needs(out: Path) -> None:
    model = Model(expected(output_folder(out.parent / "again")).__getitem__, names=("m",))
    with serving(model) as url:
        assert main(["evaluate", str(out), "--api-base", url, "--model", "m", "--only", "commands"]) == 0
    assert {body["max_tokens"] for body in model.bodies} == {64} == {read_evaluation(out).subject.max_tokens}


def test_the_key_is_sent_and_written_nowhere(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_MODEL_KEY", "very-secret")
    answers = expected(output_folder(out.parent / "again"))
    with serving(Model(answers.__getitem__, key="very-secret", names=("m",))) as url:
        arguments = ["--api-base", url, "--model", "m", "--only", "commands", "--api-key-env", "MY_MODEL_KEY"]
        assert main(["evaluate", str(out), *arguments]) == 0

    written = [*(out / "5_evaluation").iterdir(), out / "report.html"]
    assert len(written) > 5
    assert not any("very-secret" in path.read_text(encoding="utf-8") for path in written)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--api-key-env", "NOT_SET"], "the environment variable NOT_SET is not set"),
        (["--only", "commands", "--against-teacher"], "these are left out"),
        (["--model-folder", "nowhere"], "nowhere holds no finished training"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(
    out: Path, tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_llm(script(tmp_path / "answers.yml")) as llm:
        assert evaluate(out, llm, *(["--only", "commands"] if "--only" not in flags else []), *flags) == 1
        assert llm.stats()["calls"] == 0
    assert said in capsys.readouterr().err.replace("\n", " ")

"""The command line as a user meets it: help, mistakes, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from rasa_ft_ext._version import __version__
from rasa_ft_ext.cli import logs, output
from rasa_ft_ext.cli.main import STAGES, TOOLS, build_parser, main
from rasa_ft_ext.errors import ConfigError, RasaFtError

HEAVY = {"rasa", "torch", "litellm", "transformers", "pydantic", "rich", "jinja2"}


def run_cli(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rasa_ft_ext.cli.main", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def exit_code_of(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(argv)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.mark.parametrize("argv", [["--help"], ["prepare-data", "--help"]])
def test_help_imports_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import json, sys\n"
        "from rasa_ft_ext.cli.main import main\n"
        f"try:\n    main({argv})\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert HEAVY & set(json.loads(printed.stdout.splitlines()[-1])) == set()


def test_help_lists_every_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in {**STAGES, **TOOLS})


def test_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"rasa-ft {__version__}"


def test_without_a_sub_command_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "prepare-data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--num-rephrases", "50"),
        ("--num-rephrases", "-1"),
        ("--num-rephrases", "many"),
        ("--train-frac", "0"),
        ("--train-frac", "1.1"),
        ("--train-frac", "nan"),
        ("--output-format", "csv"),
        ("--slot-values", "mine"),
        ("--concurrency", "0"),
        ("--seed", "x"),
    ],
)
def test_a_value_out_of_range_names_the_flag(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(["prepare-data", flag, value]) == 2
    assert flag in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["rephrase", "dataset", "split"])
def test_a_stage_takes_its_folder_as_argument_or_flag(name: str) -> None:
    from rasa_ft_ext.cli.arguments import workspace_folder

    parse = build_parser().parse_args
    assert workspace_folder(parse([name])) == "output"
    assert workspace_folder(parse([name, "here"])) == "here"
    assert workspace_folder(parse([name, "-o", "here"])) == "here"
    with pytest.raises(ConfigError, match="twice"):
        workspace_folder(parse([name, "here", "-o", "there"]))


def test_a_users_mistake_is_told_without_a_traceback(tmp_path: Path) -> None:
    result = run_cli("split", "nothing", cwd=tmp_path)

    assert result.returncode == 1
    assert result.stdout == ""
    assert "nothing" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback() -> None:
    def buggy(args: Namespace) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        output.guarded(buggy, Namespace(), "train")


@pytest.mark.parametrize(("name", "said"), [("train", "goes on from there"), ("monitor", "starts anew")])
def test_an_interruption_ends_with_130_and_says_what_the_same_command_does(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(args: Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert output.guarded(interrupted, Namespace(), name) == 130
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("Interrupted.")
    assert said in told


def test_an_error_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    message = "[bold]not markup[/bold] " + "and long" * 30

    def failing(args: Namespace) -> int:
        raise RasaFtError(message)

    assert output.guarded(failing, Namespace(), "train") == 1
    assert capsys.readouterr().err == f"{message}\n"


def test_the_projects_env_file_is_read_and_what_is_set_already_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FT_NEW=from the file\nFT_SET=from the file\n", encoding="utf-8")
    monkeypatch.setenv("FT_SET", "before")
    monkeypatch.setenv("FT_NEW", "")
    monkeypatch.delenv("FT_NEW")

    logs.configure(build_parser().parse_args(["split", "--project", str(tmp_path)]))

    assert (os.environ["FT_NEW"], os.environ["FT_SET"]) == ("from the file", "before")


def test_a_logging_file_that_cannot_work_is_named(tmp_path: Path) -> None:
    (tmp_path / "logging.yml").write_text("- no mapping\n")

    result = run_cli("split", "--logging-config-file", "logging.yml", cwd=tmp_path)

    assert result.returncode == 1
    assert "logging.yml" in result.stderr
    assert "Traceback" not in result.stderr

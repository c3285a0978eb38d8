"""Our sub-commands in the `rasa` command."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rasa")

from rasa_ft_ext.cli import rasa_plugin as plugin
from rasa_ft_ext.cli.main import STAGES, fill
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.rasa_pro import licence

EXAMPLE = Path(__file__).parents[2] / "assistant_example"


def rasa(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rasa", *args],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def rasas_parsers() -> argparse._SubParsersAction[argparse.ArgumentParser]:
    from rasa.cli import llm_fine_tuning

    subparsers = argparse.ArgumentParser(prog="rasa").add_subparsers()
    llm_fine_tuning.add_subparser(subparsers, parents=[])
    return subparsers


def finetune_of(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> dict[str, argparse.ArgumentParser]:
    return dict(plugin._below(plugin._below(subparsers, "llm"), "finetune").choices)


def test_rasa_shows_our_sub_commands(tmp_path: Path) -> None:
    result = rasa("llm", "finetune", "--help", cwd=tmp_path)

    assert result.returncode == 0
    assert "rasa-ft-ext" not in result.stderr
    for name in STAGES:
        assert name in result.stdout


def test_rasa_does_not_show_them_when_switched_off(tmp_path: Path) -> None:
    result = rasa("llm", "finetune", "--help", cwd=tmp_path, RASA_FT_EXT="off")

    assert result.returncode == 0
    assert "{prepare-data}" in result.stdout
    assert "annotate" not in result.stdout


def test_prepare_data_in_rasa_has_rasas_flags_and_ours(tmp_path: Path) -> None:
    result = rasa("llm", "finetune", "prepare-data", "--help", cwd=tmp_path)

    for action in finetune_of(rasas_parsers())["prepare-data"]._actions:
        assert all(flag in result.stdout for flag in action.option_strings or [action.dest])
    for flag in ("--logging-config-file", "--debug", "--slot-values", "--annotations", "--seed", "--force"):
        assert flag in result.stdout


def test_rasa_checks_its_licence_before_our_command(tmp_path: Path) -> None:
    result = rasa("llm", "finetune", "prepare-data", cwd=tmp_path)

    assert result.returncode == 1
    assert "license" in result.stderr
    assert not (tmp_path / "output").exists()


def test_every_argument_of_rasas_prepare_data_is_kept() -> None:
    ours = argparse.ArgumentParser()
    fill(ours, "prepare-data")
    by_name = {action.dest: action for action in ours._actions}

    for theirs in finetune_of(rasas_parsers())["prepare-data"]._actions:
        mine = by_name[theirs.dest]
        assert set(theirs.option_strings) <= set(mine.option_strings)
        assert mine.default == theirs.default, theirs.dest
        assert (mine.nargs, mine.required) == (theirs.nargs, theirs.required), theirs.dest
        assert list(mine.choices or []) == list(theirs.choices or []), theirs.dest


def test_our_prepare_data_takes_the_place_of_rasas() -> None:
    subparsers = rasas_parsers()

    plugin.refine_cli(subparsers, [])

    parsers = finetune_of(subparsers)
    assert list(parsers) == list(STAGES)
    args = parsers["prepare-data"].parse_args(["--slot-values", "strict"])
    assert args.inside_rasa
    assert args.func.__name__


def test_a_failing_command_ends_rasa_with_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subparsers = rasas_parsers()
    plugin.refine_cli(subparsers, [])
    args = finetune_of(subparsers)["split"].parse_args([str(tmp_path / "nothing")])

    with pytest.raises(SystemExit) as exit_:
        args.func(args)

    assert exit_.value.code == 1
    assert "Traceback" not in capsys.readouterr().err


def test_prepare_data_in_rasa_makes_training_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subparsers = rasas_parsers()
    plugin.refine_cli(subparsers, [])
    recorded = EXAMPLE / "annotations"
    with scripted_llm(EXAMPLE / "answers.yml") as llm:
        arguments = ["--annotations", str(recorded), "--llm-api-base", llm.base_url, "--num-rephrases", "1"]
        args = finetune_of(subparsers)["prepare-data"].parse_args([*arguments, "--out", str(tmp_path / "output")])
        args.func(args)

    assert (tmp_path / "output" / "4_train_test_split" / "ft_splits" / "train.jsonl").is_file()
    assert f"Results: {tmp_path / 'output'}" in capsys.readouterr().out.splitlines()


def test_a_bug_in_the_hook_is_told_in_one_line_and_leaves_rasa_alone(capsys: pytest.CaptureFixture[str]) -> None:
    plugin.refine_cli(argparse.ArgumentParser().add_subparsers(), [])  # a `rasa` that has no `llm` command

    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("rasa-ft-ext:")


def imported_by(code: str, **environment: str) -> list[str]:
    printed = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    modules: list[str] = json.loads(printed.stdout)
    return modules


def test_a_python_without_rasa_imports_nothing_of_ours() -> None:
    assert imported_by("import sys") == imported_by("import sys", RASA_FT_EXT="off")


def test_the_finder_is_there_once_and_goes_when_rasa_has_been_seen() -> None:
    code = "import sys; count = lambda: sum(type(f).__name__ == 'RasaFtExt' for f in sys.meta_path); before = count()"
    seen = f"{code}; import rasa.plugin; assert (before, count()) == (1, 0)"

    assert "rasa_ft_ext._startup" in imported_by(seen)


def test_the_licence_check_is_rasas_and_its_refusal_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(licence.AssistantError, match="RASA_LICENSE") as refused:
        licence.check_licence()

    assert "\n" not in str(refused.value)
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def test_an_invalid_licence_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RASA_LICENSE", "no licence at all")

    with pytest.raises(licence.AssistantError, match="RASA_LICENSE"):
        licence.check_licence()

    printed = capsys.readouterr()
    assert printed.out + printed.err == ""


def test_prepare_data_of_rasa_ft_without_licence_says_so_and_does_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "rasa_ft_ext.cli.main", "prepare-data"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "RASA_LICENSE" in result.stderr
    assert not (tmp_path / "output").exists()

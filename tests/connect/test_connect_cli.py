"""`rasa-ft connect` as a user has it: the diff, the question, what comes next, and the way back."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from rasa_ft_ext.cli.main import main
from rasa_ft_ext.evaluation import EVALUATION_FILE
from rasa_ft_ext.workspace import EVALUATION, Workspace
from tests.builders import contents
from tests.connect.connect_builders import CONFIG, MODEL, Server, evaluated, project, serving


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An evaluated model in the folder of the assistant, which is the current one."""
    root = project(tmp_path / "assistant")
    monkeypatch.chdir(root)
    return evaluated(root / "output")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def connect(server: Server, *flags: str) -> int:
    return main(["connect", "--model", MODEL, "--api-base", server.base_url, *flags])


def test_the_diff_is_shown_and_with_yes_written(
    workspace: Workspace, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert connect(server, "--yes") == 0
    told = capsys.readouterr().out
    for line in (
        "--- a/config.yml",
        "-      model_group: teacher  # asked for every message",
        "+      model_group: student  # asked for every message",
        "Written: config.yml, endpoints.yml, prompts/rasa_ft_command.jinja2",
        "  rasa train",
        "  rasa test e2e output/4_train_test_split/e2e_tests/validation",
        "  rasa-ft doctor",
        "To take it back: rasa-ft connect --rollback",
    ):
        assert line in told.splitlines()
    assert connect(server, "--yes") == 0
    assert "Nothing to do" in capsys.readouterr().out

    assert main(["connect", "--rollback"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Restored: config.yml, endpoints.yml",
        "Removed: prompts/rasa_ft_command.jinja2",
    ]
    assert Path("config.yml").read_text() == CONFIG
    assert main(["connect", "--rollback"]) == 1
    assert "nothing to roll back" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("sure\n", 1), ("", 1)])
def test_a_person_is_asked_and_only_yes_is_yes(
    answer: str, code: int, workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    before = contents(Path())

    assert connect(server) == code
    assert (contents(Path()) == before) is bool(code)


def test_where_nobody_can_be_asked_nothing_is_written(
    workspace: Workspace, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    before = contents(Path())
    assert connect(server) == 1
    assert "Give --yes" in capsys.readouterr().err
    assert contents(Path()) == before


def test_a_dry_run_shows_and_writes_nothing(
    workspace: Workspace, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(Path())
    assert connect(server, "--dry-run", "--yes") == 0
    told = capsys.readouterr().out
    assert "+++ b/endpoints.yml" in told
    assert "Nothing was written." in told
    assert contents(Path()) == before


def test_a_refusal_is_a_message_and_force_goes_on(
    workspace: Workspace, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.folder(EVALUATION) / EVALUATION_FILE).unlink()
    assert connect(server, "--yes") == 1
    told = capsys.readouterr().err
    assert "There is no evaluation at output/5_evaluation/evaluation.json" in told
    assert "--force" in told

    assert connect(server, "--yes", "--force") == 0
    assert "Note: Connected all the same: There is no evaluation" in capsys.readouterr().out
    assert "# rasa-ft connect --force: There is no evaluation" in Path("config.yml").read_text()


def test_what_is_missing_is_named(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect"]) == 1
    told = capsys.readouterr().err
    assert "--model is missing" in told
    assert "--api-base is missing" in told

"""Ctrl-C and SIGTERM while calls are under way: a quick end, its exit code, what is kept, and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from rasa_ft_ext.cli import interruption
from rasa_ft_ext.conversation import Record
from rasa_ft_ext.llm.scripted.server import scripted_llm
from rasa_ft_ext.workspace import ANNOTATIONS, REPHRASINGS, Workspace
from tests.forked import forked, stderr, stdout
from tests.rephrase import rephrase_builders
from tests.rephrase.rephrase_builders import CAR_DIALOG, CARD, annotated, conversation

SECONDS = 2.0  # that a run may take to end, on a machine that has nothing else to do
PATIENCE = 60


ANSWERS = """
answers:
  - {user: I'd like to book a car, commands: [StartFlow(car)], paraphrases: [a car please]}
  - {user: to Basel, commands: ["SetSlot(city, Basel)"], paraphrases: [Basel it is]}
"""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_run_ends_at_once_while_its_calls_are_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = {"provider": "self-hosted", "model": "scripted", "api_base": "http://127.0.0.1:1/v1"}
    monkeypatch.setattr(rephrase_builders, "CARD", CARD.model_copy(update={"llm": llm}))
    (tmp_path / "answers.yml").write_text(ANSWERS)
    signals = {"130": [signal.SIGINT], "143": [signal.SIGTERM], "twice": [signal.SIGINT, signal.SIGINT]}
    with scripted_llm(tmp_path / "answers.yml", latency=60) as server:
        for name in signals:
            annotated(tmp_path / name, conversation("cars.yml", "car", CAR_DIALOG))
        base_url = server.base_url
        arguments = ["rephrase", ".", "--yes", "--llm-api-base", base_url]
        with forked({tmp_path / name: arguments for name in signals}) as runs:
            wait_until(lambda: server.stats()["calls"] == len(signals))
            for name, numbers in signals.items():
                folder, begun = tmp_path / name, time.monotonic()
                for number in numbers:
                    os.kill(runs.pids[folder], number)
                assert runs.wait() == (folder, 130 if name == "twice" else int(name))
                assert time.monotonic() - begun < 2 * SECONDS
                assert stdout(folder) == ""
                assert "Traceback" not in stderr(folder)
                kept = "Interrupted. Kept in .:\n  annotate: done\n"
                to_go_on = f"To go on: rasa-ft rephrase . --yes --llm-api-base {base_url}\n"
                assert stderr(folder).endswith(kept + to_go_on)


class Note(Record):
    count: int = 0


def test_what_is_kept_is_told_by_stage_with_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "out")
    with workspace.writing(ANNOTATIONS, {}):
        pass

    def half() -> None:
        with workspace.resuming(REPHRASINGS, {}) as draft:
            draft.expect(12)
            draft.add("a.yml", {}, Note())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    monkeypatch.setattr(sys, "argv", ["/bin/rasa-ft", "rephrase", "my out"])
    told = interruption.kept(Namespace(project=str(tmp_path), output=None, out="out"))
    assert told == (
        f"Interrupted. Kept in {tmp_path / 'out'}:\n  annotate: done\n  rephrase: 1 of 12 test files\n"
        "To go on: rasa-ft rephrase 'my out'"
    )


def test_a_run_that_does_not_end_by_itself_is_ended() -> None:
    code = """
import time, sys
from argparse import Namespace
from rasa_ft_ext.cli import output
def stubborn(args):
    print("here", flush=True)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            pass
sys.exit(output.guarded(stubborn, Namespace(project=".", out="none"), "rephrase"))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - begun < 2 * SECONDS
    assert process.returncode == 143
    assert told.startswith("Interrupted. Kept in none: nothing, as nothing was finished.\nTo go on: ")


def test_a_run_that_has_ended_does_not_wait_until_python_is_taken_down() -> None:
    code = """
import atexit, sys, time
from argparse import Namespace
from rasa_ft_ext.cli import output
def run(args):
    print("here", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:  # what is closed on the way may fail, too
        raise output.RasaFtError("cut off") from None
atexit.register(print, "taken down")
sys.exit(output.guarded(run, Namespace(project=".", out="none"), "rephrase"))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=PATIENCE)
    assert said == ""
    assert process.returncode == 130
    assert told.count("Interrupted. Kept in none: nothing") == 1

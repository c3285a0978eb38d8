"""What the command line shows while it works, and when it is done."""

from __future__ import annotations

import io
import logging
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from pydantic import Field

from rasa_ft_ext.cli import output
from rasa_ft_ext.conversation import FailedTest, Record


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Made(Record):
    num_examples: int = 1234
    train_frac: float = 0.8
    failed_tests: tuple[FailedTest, ...] = (FailedTest(id="a.yml::b", reason="[no] markup"),)
    notes: tuple[str, ...] = ()
    made_by: dict[str, int] = Field(default={"rendered": 3})


def test_a_terminal_gets_a_bar_with_count_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    with output.progress(Namespace(loglevel=None)) as progress:
        progress.step()  # before any start: nothing to count
        progress.start("Rephrasing", 2)
        progress.step()
        progress.step()
        progress.note("mind [this]")

    shown = terminal.getvalue()
    assert "Rephrasing" in shown
    assert "2/2" in shown
    assert "mind [this]" in shown


@pytest.mark.parametrize("level", [None, logging.WARNING])
def test_elsewhere_nothing_is_drawn_and_notes_are_kept(
    level: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if level is not None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.progress(Namespace(loglevel=level)) as progress:
        progress.start("Rephrasing", 2)
        progress.step()
        progress.note("mind this")

    assert capsys.readouterr() == ("", "mind this\n")


def test_the_summary_shows_figures_then_lists_then_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_summary("Made", Made(), Path("output"), output.Shown())

    shown = capsys.readouterr().out
    assert "1,234" in shown
    assert "0.8" in shown
    assert "rendered: 3" in shown
    assert "  a.yml::b: [no] markup" in shown
    assert shown.rstrip().endswith("Results: output")


def test_a_note_that_was_told_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    told = output.Shown()
    told.note("first")
    output.print_summary("Made", Made(notes=("first", "second")), Path("output"), told)

    shown = capsys.readouterr()
    assert shown.err == "first\n"
    assert "first" not in shown.out
    assert "  second" in shown.out

"""Suggested tests for commands: what a user says that needs them, on the example and on made-up flows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rasa_ft_ext.coverage.command_drafts import command_drafts
from rasa_ft_ext.coverage.values import values_of
from rasa_ft_ext.coverage_results import COVERAGE, CommandCoverage
from rasa_ft_ext.flow_map import FlowMap, MappedSlot, MappedStep
from rasa_ft_ext.workspace import read_annotations, record_path, write_record
from tests.coverage.test_check_coverage_command import EXAMPLE, output_of
from tests.coverage.test_suggested_tests import cases, check, flow_of, found


class TestCommands:
    """Of the commands that the example's prompt offers, those that too few tests need get some."""

    @pytest.fixture
    def text(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
        """The file of a suite that needs few commands, each of which should occur twice."""
        recording = Path(shutil.copytree(EXAMPLE / "annotations", tmp_path / "recording"))
        for file in read_annotations(recording):
            if not file.source.file.startswith("excursions"):
                write_record(record_path(recording, file.source.file), file.model_copy(update={"conversations": ()}))
        out = output_of(recording)
        assert check(out, "--suggest", "--min-command-count", "2") == 2
        path = out / COVERAGE / "suggested" / "missing.commands.yml"
        commands = {entry.name: entry for entry in found(out).commands if entry.offered}
        lacking = {name for name, entry in commands.items() if entry.count < 2}
        assert {name for name, entry in commands.items() if entry.suggestion} == lacking
        assert all(str(commands[name].suggestion).startswith(f"{path}::suggested_command_") for name in lacking)
        assert f"{path}, for {len(lacking)} of what is missing" in capsys.readouterr().out
        return path.read_text(encoding="utf-8")

    def test_each_says_what_needs_the_command(self, text: str) -> None:
        behind = [case["steps"][-1] for case in cases(text)]
        assert {"Sorry, could you say that again?", "How are you today?"} <= {step.get("user") for step in behind}
        needed = [line.partition(": ")[2] for line in text.splitlines() if "# Needs the command" in line]
        assert len(needed) == len(behind)
        assert needed.count("clarify") == 2

    def test_what_is_certain_is_checked(self, text: str) -> None:
        by_name = {case["test_case"]: case["steps"] for case in cases(text)}
        first = by_name["suggested_command_clarify_1"]
        assert first[-1]["assertions"] == [{"flow_started": "pattern_clarification"}]
        chat = by_name["suggested_command_chitchat_1"]
        assert ["utter" in step for step in chat] == [False, True, False]
        for steps in by_name.values():  # Rasa takes assertions or other checks
            assert not (any("assertions" in step for step in steps) and any("utter" in step for step in steps))


def test_a_command_that_no_flow_can_lead_to_is_told() -> None:
    step = MappedStep(id="a", kind="collect", slot="x", asks="utter_ask_x")
    flows = FlowMap(flows=(flow_of(step),), slots=(MappedSlot(name="x", type="text"),))
    commands = [CommandCoverage(name=name, count=0, offered=True) for name in ("cancel flow", "set slot")]
    commands += [CommandCoverage(name="clarify", count=0, offered=False)]

    drafts, notes = command_drafts(flows, commands, times=1, values=values_of(flows, []))
    assert [turn.command.type for draft in drafts for turn in draft.turns] == [
        *("StartFlow", "CancelFlow"),
        *("StartFlow", "SetSlot"),
    ]
    assert not notes

    alone = [CommandCoverage(name=name, count=0, offered=True) for name in ("clarify", "restart agent")]
    drafts, notes = command_drafts(flows, alone, times=1, values=values_of(flows, []))
    assert not drafts  # one flow only, and no agent
    assert notes == ["No test could be drafted for these commands: 'clarify', 'restart agent'. Write one by hand."]

"""Suggested test cases as files that `rasa test e2e` reads: one for each flow and one for commands, in `suggested`.

Each test case says above it what it closes, and each message which commands it should give.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rasa_ft_ext.commands import Syntax, write_one
from rasa_ft_ext.coverage.drafts import Draft
from rasa_ft_ext.coverage_results import Coverage, Gap
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.yaml import to_yaml

SUGGESTED = "suggested"
COMMANDS_FILE = f"{SUGGESTED}/missing.commands.yml"  # a flow's file has no dot in its name
HEAD = "# Suggested by `rasa-ft check-coverage`"

_WITH_STUBS = (
    "# The custom actions are stubbed: set RASA_PRO_BETA_STUB_CUSTOM_ACTION=true for `rasa test e2e`, and let it run\n"
    "# this file by itself, as it then runs no real action of any test. `rasa-ft annotate` tells tests apart.\n"
)
_STARTED = {"action_session_start": [{"event": "session_started"}, {"event": "action", "name": "action_listen"}]}


def name_file(flow: str) -> str:
    """The file of a flow's suggestions, relative to the results."""
    return f"{SUGGESTED}/{re.sub(r'[^A-Za-z0-9_-]', '_', flow)}.yml"


def named(coverage: Coverage, drafts: Sequence[Draft], folder: Path) -> Coverage:
    """The coverage in which each gap and each command names the test case that is for it."""
    places = [(draft, f"{(folder / _file(draft)).as_posix()}::{draft.name}") for draft in drafts]
    by_gap = {_key(gap): place for draft, place in places for gap in draft.closes}
    by_command = {draft.command: place for draft, place in reversed(places) if draft.command}
    flows = []
    for flow in coverage.flows:
        missing = [gap.model_copy(update={"suggestion": by_gap.get(_key(gap))}) for gap in flow.missing]
        flows.append(flow.model_copy(update={"missing": tuple(missing)}))
    commands = [entry.model_copy(update={"suggestion": by_command.get(entry.name)}) for entry in coverage.commands]
    return coverage.model_copy(update={"flows": tuple(flows), "commands": tuple(commands)})


def _file(draft: Draft) -> str:
    return COMMANDS_FILE if draft.command else name_file(draft.flow)


def _key(gap: Gap) -> tuple[str, str, str | None, str]:
    return gap.flow, gap.step, gap.to, gap.kind


def write_suggested(folder: Path, drafts: Sequence[Draft], syntax: Syntax) -> None:
    """Write the files into `folder/suggested`, each whole, and remove those of an earlier run.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    files: dict[str, list[Draft]] = {}
    for draft in drafts:
        files.setdefault(_file(draft), []).append(draft)
    try:
        with tempfile.TemporaryDirectory(prefix=".suggested-", dir=folder) as whole:
            for number, (name, entries) in enumerate(files.items()):
                new = Path(whole, str(number))
                new.write_text(to_text(entries, syntax), encoding="utf-8", newline="\n")
                (folder / name).parent.mkdir(exist_ok=True)
                os.replace(new, folder / name)
        for old in (folder / SUGGESTED).glob("*.yml"):
            if f"{SUGGESTED}/{old.name}" not in files and old.read_text(encoding="utf-8").startswith(HEAD):
                old.unlink()
    except OSError as error:
        raise WorkspaceError(
            f"{folder / SUGGESTED} cannot be written: {error.strerror or error}. Make room there."
        ) from error


def to_text(drafts: Sequence[Draft], syntax: Syntax) -> str:
    """One file, with the drafts of one flow, or those for commands."""
    lacking = (
        "commands of the prompt that too few tests need"
        if drafts[0].command
        else (f"what no test covers of the flow {drafts[0].flow}")
    )
    stubbed = any(draft.needs_stubs for draft in drafts)
    parts = [
        f"{HEAD}: {lacking}.\n"
        "# Let the messages sound like your users, see that the test passes, and copy it to your tests.\n"
    ]
    if stubbed:
        parts += [_WITH_STUBS, "\n", to_yaml({"stub_custom_actions": _stubs(drafts)})]
    fixtures = [{draft.name: [{slot: value} for slot, value in draft.start.items()]} for draft in drafts if draft.start]
    if fixtures:
        parts += ["\n", to_yaml({"fixtures": fixtures})]
    parts += ["\ntest_cases:\n", "\n".join(_case(draft, syntax) for draft in drafts)]
    return "".join(parts)


def _stubs(drafts: Sequence[Draft]) -> dict[str, Any]:
    """By action, the stub that most tests of the file want, and one of its own for each of the others."""
    wanted: dict[str, dict[str, Mapping[str, Any]]] = {}
    for draft in drafts:
        for action, slots in draft.stubs.items():
            wanted.setdefault(action, {})[draft.name] = slots
    found = {}
    for action, by_test in wanted.items():
        usual = max(by_test.values(), key=list(by_test.values()).count)
        own = {f"{test}::{action}": slots for test, slots in by_test.items() if slots != usual}
        for name, slots in {action: usual, **own}.items():
            found[name] = {"events": _events(action, slots), "responses": _responses(action)}
    return found


def _events(action: str, slots: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*_STARTED.get(action, []), *({"event": "slot", "name": slot, "value": slots[slot]} for slot in slots)]


def _responses(action: str) -> list[dict[str, str]]:
    """What the action says: that of a question is needed by an LLM that is to understand the answer."""
    asked = action.removeprefix("action_ask_").replace("_", " ")
    return [{"text": f"Please tell me: {asked}."}] if action.startswith("action_ask_") else []


def _case(draft: Draft, syntax: Syntax) -> str:
    if draft.command:
        lines = [f"# Needs the command: {draft.command}"]
    else:
        closes = [f"{_one_line(gap.place)}: {gap.flow}, {_one_line(gap.what)}" for gap in _told(draft.closes)]
        lines = ["# Closes:", *(f"#   {gap}" for gap in closes)]
    lines += [f"# {_one_line(note)}" for note in draft.notes]
    lines += [f"- test_case: {draft.name}"]
    if draft.start:
        lines += ["  fixtures:", f"    - {draft.name}"]
    return _indented([*lines, "  steps:", *_steps(draft, syntax)], 2)


def _told(gaps: Sequence[Gap]) -> Iterator[Gap]:
    """All but branches to a step that is told of itself."""
    steps = {(gap.flow, gap.step) for gap in gaps if gap.kind == "step"}
    yield from (gap for gap in gaps if gap.kind == "step" or (gap.flow, gap.to) not in steps)


def _steps(draft: Draft, syntax: Syntax) -> Iterator[str]:
    """The steps; with no other step to check, that the flow was started."""
    checks = any(turn.checks for turn in draft.turns)
    for turn in draft.turns:
        yield f"    # commands: {_one_line(write_one(turn.command, syntax))}"
        step: dict[str, Any] = {"user": turn.message}
        started = [{"flow_started": turn.command.args[0]}] if turn.command.type == "StartFlow" and not checks else []
        if turn.assertions or started:
            step["assertions"] = [*started, *turn.assertions]
        yield from (f"  {line}" for line in to_yaml([step, *turn.checks]).splitlines())


def _indented(lines: Iterable[str], by: int) -> str:
    return "".join(f"{' ' * by}{line}".rstrip() + "\n" for line in lines)


def _one_line(text: str) -> str:
    return " ".join(text.split())

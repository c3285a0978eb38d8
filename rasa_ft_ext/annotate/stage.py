"""The stage `annotate`: from E2E tests to `1_command_annotations`.

Many tests run at once on one assistant. One that fails that way is run again alone before it counts as failed, since
custom actions may share a file or a database. A failed test gives no data and is listed with its reason.

For every test file there is a YAML file to look at and, beside it, the record that the later stages read: a part that a
later run need not make again (`rasa_ft_ext.drafts`). Then there are `assistant.json` (what the later stages must know
of the assistant), `flows.json` (its flows) and `failed_tests.json`. What each turn's LLM call took, in seconds, stands
in `timings.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from rasa_ft_ext.annotate.output import FAILED_TESTS as FAILED_TESTS
from rasa_ft_ext.annotate.output import AnnotateSummary as AnnotateSummary
from rasa_ft_ext.annotate.output import add, finish
from rasa_ft_ext.concurrency import in_order, stream_groups
from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Conversation, FailedTest, Record, TestFile
from rasa_ft_ext.drafts import Draft
from rasa_ft_ext.file_names import check_file_names
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.records import as_json, read_record, record_path
from rasa_ft_ext.reruns import AGAIN, BESIDE, tell_of_flaky
from rasa_ft_ext.workspace import ANNOTATIONS, Workspace, read_summary


class Test(Protocol):
    """One E2E test, as the assistant wants it; the stage looks at its name and file only."""

    @property
    def id(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def raw(self) -> dict[str, Any]: ...


AnyTest = TypeVar("AnyTest", bound=Test, contravariant=True)
OneTest = TypeVar("OneTest", bound=Test)
Outcome = tuple[Conversation | FailedTest, list[float | None]]
"""What a test gave, and the seconds of each turn's LLM call."""


class TestRunner(Protocol[AnyTest]):
    """What runs a test: `rasa_ft_ext.rasa_pro.assistant.RasaAssistant`."""

    @property
    def card(self) -> AssistantCard: ...
    @property
    def flow_map(self) -> FlowMap: ...
    async def run_test(self, test: AnyTest) -> Outcome: ...


async def annotate(
    workspace: Workspace,
    assistant: TestRunner[OneTest],
    files: Sequence[TestFile],
    tests: Sequence[OneTest],
    *,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> AnnotateSummary:
    """Run the tests and write what they gave.

    Args:
        workspace: Receives the annotations.
        assistant: Runs the tests.
        files: The files of the tests, in order.
        tests: The tests, in order.
        concurrency: How many run at a time.
        progress: Is told how far it is.

    Raises:
        AssistantError: not one test passes.
        LLMUnavailableError: the assistant's LLM cannot be reached; the test files that are done are kept.
    """
    key = key_of(files, tests, assistant.card)
    if workspace.is_done(ANNOTATIONS, key):
        return read_summary(workspace.folder(ANNOTATIONS), AnnotateSummary)
    check_file_names((file.file for file in files), workspace.root)
    of_files: dict[str, list[OneTest]] = {file.file: [] for file in files}
    for test in tests:
        of_files[test.file].append(test)
    with workspace.resuming(ANNOTATIONS, key) as draft:
        draft.expect(len(files))
        progress = progress or Progress()
        await _run_beside(draft, assistant, [(file, of_files[file.file]) for file in files], concurrency, progress)
        await _run_alone(draft, assistant, of_files, progress)
        return finish(draft, assistant.card, of_files, assistant.flow_map)


def key_of(files: Sequence[TestFile], tests: Sequence[Test], card: AssistantCard) -> dict[str, Any]:
    """What the annotations are made from."""
    return {
        "tests": _digest([file.model_dump(mode="json") for file in files] + [[test.id, test.raw] for test in tests]),
        "model": card.fingerprint,
        "rasa": card.rasa_version,
        "llm": card.llm,
    }


class _Beside(Record):
    """Of a test file whose tests have run beside each other: how many failed, and the seconds of all."""

    failed: int
    seconds: dict[str, tuple[float | None, ...]]


def _beside(name: str) -> str:
    """The part that is done when the tests of a file have run beside others and some failed; its record is kept."""
    return f"{name}.beside"


async def _run_beside(
    draft: Draft,
    assistant: TestRunner[OneTest],
    files: Sequence[tuple[TestFile, Sequence[OneTest]]],
    concurrency: int,
    progress: Progress,
) -> None:
    """Run the tests of all files that are not done; write those of which nothing is to be run again."""
    todo = [(file, tests) for file, tests in files if not {file.file, _beside(file.file)} & draft.done]
    total, left = (sum(len(tests) for _, tests in some) for some in (files, todo))
    progress.start(BESIDE, total)
    progress.step(total - left)
    groups = stream_groups(todo, assistant.run_test, limit=concurrency, each=lambda _: progress.step())
    async with aclosing(groups) as outcomes:
        async for file, found in outcomes:
            _keep(draft, file, found, assistant.card.llm, again=concurrency > 1)


def _keep(draft: Draft, file: TestFile, found: Sequence[Outcome], llm: Mapping[str, Any], *, again: bool) -> None:
    """Write what the tests of a file gave: for good, or for the time until its failed ones have run again."""
    record = _record(file, [entry for entry, _ in found])
    seconds = {entry.id: tuple(seconds) for entry, seconds in found}
    if again and record.failed:
        note = _Beside(failed=len(record.failed), seconds=seconds)
        draft.add(_beside(file.file), {record_path(draft.kept, file.file): as_json(record)}, note)
    else:
        add(draft, record, llm, seconds)


async def _run_alone(
    draft: Draft, assistant: TestRunner[OneTest], tests: Mapping[str, Sequence[OneTest]], progress: Progress
) -> None:
    """Run the failed tests once more, one at a time, and write their files."""
    notes = {name: draft.note(_beside(name), _Beside) for name in tests if name not in draft.done}
    if not notes:
        return
    progress.start(AGAIN, sum(note.failed for note in notes.values()))
    passed = 0
    for name, note in notes.items():
        before = read_record(record_path(draft.kept, name), AnnotatedFile)
        failed = {entry.id for entry in before.failed}
        again = await in_order(
            [test for test in tests[name] if test.id in failed], assistant.run_test, limit=1, done=progress.step
        )
        found = {entry.id: entry for entry in (*before.conversations, *(entry for entry, _ in again))}
        seconds = note.seconds | {entry.id: tuple(seconds) for entry, seconds in again}
        add(draft, _record(before.source, [found[test.id] for test in tests[name]]), assistant.card.llm, seconds)
        passed += sum(isinstance(entry, Conversation) for entry, _ in again)
    tell_of_flaky(progress, passed)


def _record(file: TestFile, found: Sequence[Conversation | FailedTest]) -> AnnotatedFile:
    return AnnotatedFile(
        source=file,
        conversations=tuple(entry for entry in found if isinstance(entry, Conversation)),
        failed=tuple(entry for entry in found if isinstance(entry, FailedTest)),
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

"""The stage `annotate`: from E2E tests to `1_command_annotations`.

Many tests run at once on one assistant. One that fails that way is run again alone before it counts as failed, since
custom actions may share a file or a database. A failed test gives no data and is listed with its reason.

For every test file there is a YAML file to look at and, beside it, the record that the later stages read; then
`assistant.json` (what they must know of the assistant), `flows.json` (its flows) and `failed_tests.json`. What each
turn's LLM call took, in seconds, stands in `timings.json`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Conversation, FailedTest, TestFile, Turn
from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.reruns import run_beside_then_alone
from rasa_ft_ext.steps import lines_of, shown_steps
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    ASSISTANT_CARD,
    FLOW_MAP,
    SUMMARY,
    TIMINGS,
    Workspace,
    read_summary,
    record_path,
    write_json,
    write_record,
)
from rasa_ft_ext.yaml import write_yaml

FAILED_TESTS = "failed_tests.json"


class Test(Protocol):
    """One E2E test, as the assistant wants it; the stage looks at its name and file only."""

    @property
    def id(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def raw(self) -> dict[str, Any]: ...


AnyTest = TypeVar("AnyTest", bound=Test, contravariant=True)


class TestRunner(Protocol[AnyTest]):
    """What runs a test: `rasa_ft_ext.rasa_pro.assistant.RasaAssistant`."""

    @property
    def card(self) -> AssistantCard: ...
    @property
    def flow_map(self) -> FlowMap: ...
    async def run_test(self, test: AnyTest) -> tuple[Conversation | FailedTest, list[float | None]]: ...


class AnnotateSummary(BaseModel):
    """What `annotate` found.

    `annotated` counts the user messages that an example can be made of, `not_annotated` the others by reason, and
    `to_rephrase` the annotated ones that a person typed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tests: int
    passed: int
    user_messages: int
    annotated: int
    to_rephrase: int
    not_annotated: dict[str, int]
    failed: tuple[FailedTest, ...] = ()


async def annotate(
    workspace: Workspace,
    assistant: TestRunner[AnyTest],
    files: Sequence[TestFile],
    tests: Sequence[AnyTest],
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
        LLMUnavailableError: the assistant's LLM cannot be reached.
    """
    progress = progress or Progress()
    key = {
        "tests": _digest([file.model_dump(mode="json") for file in files] + [[test.id, test.raw] for test in tests]),
        "model": assistant.card.fingerprint,
        "rasa": assistant.card.rasa_version,
        "llm": assistant.card.llm,
    }
    if workspace.is_done(ANNOTATIONS, key):
        return read_summary(workspace.folder(ANNOTATIONS), AnnotateSummary)
    outcomes = await _run(assistant, tests, concurrency, progress)
    found = [outcome for outcome, _ in outcomes]
    summary = summarise(found)
    _refuse_nothing(summary)
    with workspace.writing(ANNOTATIONS, key) as folder:
        of_files = [_of_file(file, tests, found) for file in files]
        write(folder, assistant.card, of_files, summary, assistant.flow_map)
        write_json(folder / TIMINGS, {test.id: seconds for test, (_, seconds) in zip(tests, outcomes, strict=True)})
    return summary


async def _run(
    assistant: TestRunner[AnyTest], tests: Sequence[AnyTest], concurrency: int, progress: Progress
) -> list[tuple[Conversation | FailedTest, list[float | None]]]:
    def failed(outcome: tuple[Conversation | FailedTest, list[float | None]]) -> bool:
        return isinstance(outcome[0], FailedTest)

    return await run_beside_then_alone(
        tests,
        assistant.run_test,
        again=lambda test, _: assistant.run_test(test),
        failed=failed,
        concurrency=concurrency,
        progress=progress,
    )


def summarise(found: Sequence[Conversation | FailedTest]) -> AnnotateSummary:
    """Count what came out of the tests."""
    conversations = [entry for entry in found if isinstance(entry, Conversation)]
    turns = [turn for conversation in conversations for turn in conversation.turns]
    annotated = [turn for turn in turns if turn.annotation is not None]
    return AnnotateSummary(
        tests=len(found),
        passed=len(conversations),
        user_messages=len(turns),
        annotated=len(annotated),
        to_rephrase=sum(turn.typed for turn in annotated),
        not_annotated=dict(sorted(Counter(_kind(turn.unannotated) for turn in turns if turn.unannotated).items())),
        failed=tuple(entry for entry in found if isinstance(entry, FailedTest)),
    )


def write(
    folder: Path,
    card: AssistantCard,
    files: Sequence[AnnotatedFile],
    summary: AnnotateSummary,
    flows: FlowMap | None,
) -> None:
    """Write everything of the stage but its manifest into a folder; `flows` is None where they are not known."""
    for file in files:
        path = record_path(folder, file.source.file)
        write_record(path, file)
        write_yaml(path.with_suffix(""), {"conversations": [shown(entry) for entry in file.conversations]})
    write_record(folder / ASSISTANT_CARD, card)
    if flows is not None:
        write_record(folder / FLOW_MAP, flows)
    write_json(folder / FAILED_TESTS, [entry.model_dump() for entry in summary.failed])
    write_record(folder / SUMMARY, summary)


def shown(conversation: Conversation) -> dict[str, Any]:
    """What a person sees of a conversation: its steps, each user step with its commands or why it has none."""
    return {"original_test_case": conversation.id, "steps": shown_steps(conversation, _user_step)}


def _user_step(_: int, turn: Turn) -> dict[str, Any]:
    if turn.annotation is None:
        return {"user": turn.message, "not_annotated": turn.unannotated}
    return {"user": turn.message, "llm_commands": lines_of(turn.annotation.labels, turn.annotation.syntax)}


def _of_file(file: TestFile, tests: Sequence[Test], found: Sequence[Conversation | FailedTest]) -> AnnotatedFile:
    own = [entry for test, entry in zip(tests, found, strict=True) if test.file == file.file]
    return AnnotatedFile(
        source=file,
        conversations=tuple(entry for entry in own if isinstance(entry, Conversation)),
        failed=tuple(entry for entry in own if isinstance(entry, FailedTest)),
    )


def _refuse_nothing(summary: AnnotateSummary) -> None:
    if summary.passed:
        return
    reasons = "".join(f"\n  - {failed.id}: {failed.reason}" for failed in summary.failed[:10])
    more = f"\n  - and {len(summary.failed) - 10} more" if len(summary.failed) > 10 else ""
    raise AssistantError(
        f"None of the {summary.tests} E2E tests passes on this assistant, so there is nothing to learn from. Mend the "
        f"assistant, its LLM or the tests first (`rasa test e2e` shows more):{reasons}{more}"
    )


def _kind(reason: str) -> str:
    """The kind of a reason: what stands before the particulars."""
    return reason.split(" (")[0].split(" '")[0].split(' "')[0]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()

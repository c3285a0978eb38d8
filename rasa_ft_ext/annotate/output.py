"""What `annotate` writes: for every test file its record and a YAML file, then what is to be known of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import Field

from rasa_ft_ext.conversation import AnnotatedFile, AssistantCard, Conversation, FailedTest, Record, Turn
from rasa_ft_ext.drafts import Draft
from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.flow_map import FlowMap
from rasa_ft_ext.llm.usage import LLMUsage, together, used
from rasa_ft_ext.records import as_json, record_path, write_json, write_record
from rasa_ft_ext.steps import lines_of, shown_steps
from rasa_ft_ext.workspace import ASSISTANT_CARD, FLOW_MAP, SUMMARY, TIMINGS
from rasa_ft_ext.yaml import to_yaml

FAILED_TESTS = "failed_tests.json"

Seconds = Mapping[str, Sequence[float | None]]
"""What each turn's LLM call took, by test."""

_NONE: Seconds = MappingProxyType({})


class AnnotateSummary(Record):
    """What `annotate` found.

    `annotated` counts the user messages that an example can be made of, `not_annotated` the others by reason, and
    `to_rephrase` the annotated ones that a person typed. `llm_usage` is what their answers took; nothing where the
    annotations were recorded elsewhere.
    """

    tests: int
    passed: int
    user_messages: int
    annotated: int
    to_rephrase: int
    not_annotated: dict[str, int]
    failed: tuple[FailedTest, ...] = ()
    llm_usage: tuple[LLMUsage, ...] = ()


class _Note(Record):
    """What a test file adds to the summary, and the seconds of its calls."""

    summary: AnnotateSummary
    seconds: dict[str, tuple[float | None, ...]] = Field(default={})


def add(draft: Draft, file: AnnotatedFile, llm: Mapping[str, Any] | None = None, seconds: Seconds = _NONE) -> None:
    """Write a test file's part.

    Args:
        draft: Gets it.
        file: The annotations.
        llm: The settings of the LLM that has just answered; None where nothing was asked.
        seconds: What the calls took.
    """
    path = record_path(draft.folder, file.source.file)
    conversations = [_shown(entry) for entry in file.conversations]
    files = {path: as_json(file), path.with_suffix(""): to_yaml({"conversations": conversations})}
    summary = _summary(file, llm)
    note = _Note(summary=summary, seconds={test: tuple(found) for test, found in seconds.items()})
    draft.add(file.source.file, files, note)


def finish(
    draft: Draft, card: AssistantCard, names: Iterable[str], flows: FlowMap | None, *, timings: bool = True
) -> AnnotateSummary:
    """Write what belongs to no test file, when all parts are there.

    Args:
        draft: Has the parts.
        card: What is to be known of the assistant.
        names: The test files, in order.
        flows: The assistant's flows; None where they are not known.
        timings: Whether there are any.

    Raises:
        AssistantError: not one test passes.
    """
    names = list(names)
    summary = _together(draft.note(name, _Note).summary for name in names)
    if not summary.passed:
        draft.forget(draft.done)
        raise _nothing(summary)
    with draft.writing() as folder:
        write_record(folder / ASSISTANT_CARD, card)
        if flows is not None:
            write_record(folder / FLOW_MAP, flows)
        write_json(folder / FAILED_TESTS, [entry.model_dump() for entry in summary.failed])
        write_record(folder / SUMMARY, summary)
        if timings:
            found = (draft.note(name, _Note).seconds for name in names)
            write_json(folder / TIMINGS, {test: seconds for entry in found for test, seconds in entry.items()})
    return summary


def _summary(file: AnnotatedFile, llm: Mapping[str, Any] | None) -> AnnotateSummary:
    turns = [turn for conversation in file.conversations for turn in conversation.turns]
    annotated = [turn for turn in turns if turn.annotation is not None]
    return AnnotateSummary(
        tests=len(file.conversations) + len(file.failed),
        passed=len(file.conversations),
        user_messages=len(turns),
        annotated=len(annotated),
        to_rephrase=sum(turn.typed for turn in annotated),
        not_annotated=Counter(_kind(turn.unannotated) for turn in turns if turn.unannotated),
        failed=file.failed,
        llm_usage=used("annotate", llm, [of.annotation.usage for of in annotated if of.annotation]) if llm else (),
    )


def _together(found: Iterable[AnnotateSummary]) -> AnnotateSummary:
    entries = list(found)
    reasons: Counter[str] = Counter()
    for entry in entries:
        reasons.update(entry.not_annotated)
    return AnnotateSummary(
        tests=sum(entry.tests for entry in entries),
        passed=sum(entry.passed for entry in entries),
        user_messages=sum(entry.user_messages for entry in entries),
        annotated=sum(entry.annotated for entry in entries),
        to_rephrase=sum(entry.to_rephrase for entry in entries),
        not_annotated=dict(sorted(reasons.items())),
        failed=tuple(failed for entry in entries for failed in entry.failed),
        llm_usage=together(usage for entry in entries for usage in entry.llm_usage),
    )


def _nothing(summary: AnnotateSummary) -> AssistantError:
    reasons = "".join(f"\n  - {failed.id}: {failed.reason}" for failed in summary.failed[:10])
    more = f"\n  - and {len(summary.failed) - 10} more" if len(summary.failed) > 10 else ""
    return AssistantError(
        f"None of the {summary.tests} E2E tests passes on this assistant, so there is nothing to learn from. Mend the "
        f"assistant, its LLM or the tests first (`rasa test e2e` shows more):{reasons}{more}"
    )


def _shown(conversation: Conversation) -> dict[str, Any]:
    """What a person sees of a conversation: its steps, each user step with its commands or why it has none."""
    return {"original_test_case": conversation.id, "steps": shown_steps(conversation, _user_step)}


def _user_step(_: int, turn: Turn) -> dict[str, Any]:
    if turn.annotation is None:
        return {"user": turn.message, "not_annotated": turn.unannotated}
    return {"user": turn.message, "llm_commands": lines_of(turn.annotation.labels, turn.annotation.syntax)}


def _kind(reason: str) -> str:
    """The kind of a reason: what stands before the particulars."""
    return reason.split(" (")[0].split(" '")[0].split(' "')[0]

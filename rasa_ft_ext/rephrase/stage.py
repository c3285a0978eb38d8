"""The stage `rephrase`: other wordings for every user message, and which of them may be learned from.

For each conversation the rephraser's LLM is asked once, for all of its messages. Each wording is then put to the
assistant in the place of the original message. All are kept: those that give the original's commands as passing, the
others with the reason. `rasa_ft_ext.rephrase.one` does that for one conversation, `rasa_ft_ext.rephrase.variety` says
where more wordings come from.

The stage reads `1_command_annotations` and writes `2_rephrasings`: for every E2E test file a YAML file to look at and,
beside it, the record that the later stages read. Each such pair is a part that a later run need not make again
(`rasa_ft_ext.drafts`), and only the conversations under way are in memory. The stage knows neither Rasa nor where an
LLM stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass
from typing import Any

from rasa_ft_ext import prompts
from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.concurrency import stream_groups
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, RephrasedFile, SparseRecord
from rasa_ft_ext.drafts import Draft
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.llm.usage import LLMUsage
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.records import as_json
from rasa_ft_ext.rephrase.checking import Teacher
from rasa_ft_ext.rephrase.counts import Counts, together
from rasa_ft_ext.rephrase.hope import Hope, HopelessError
from rasa_ft_ext.rephrase.one import Outcome, Rephraser
from rasa_ft_ext.rephrase.output import shown
from rasa_ft_ext.rephrase.request import request_for
from rasa_ft_ext.rephrase.values import SlotChoices
from rasa_ft_ext.rephrase.variety import Variety
from rasa_ft_ext.rephrase.verdict import SlotValues
from rasa_ft_ext.teacher_agreement import TeacherAgreement
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    REPHRASINGS,
    SUMMARY,
    TIMINGS,
    Workspace,
    read_flow_map,
    read_record,
    read_summary,
    record_path,
    write_json,
    write_record,
)
from rasa_ft_ext.yaml import to_yaml

_SILENT = Progress()
_NOTHING_BESIDES = Variety()


class RephraseSummary(SparseRecord):
    """The numbers of a run.

    `failed_calls` counts the calls to either LLM that failed; `reasons` says how many rephrasings failed for which
    kind of reason. `passing_by_origin` and `failing_by_origin`, with keys such as `noise: typo`, are there where not
    all wordings are the rephraser's, `teacher` where the assistant's LLM was asked several times. `llm_usage` is
    what the answers of both LLMs took.
    """

    optional = frozenset({"passing_by_origin", "failing_by_origin", "teacher", "llm_usage"})

    conversations: int
    messages_to_rephrase: int
    rephrasings: int
    passing: int
    failing: int
    failed_calls: int
    reasons: dict[str, int]
    notes: tuple[str, ...] = ()
    passing_by_origin: dict[str, int] | None = None
    failing_by_origin: dict[str, int] | None = None
    teacher: TeacherAgreement | None = None
    llm_usage: tuple[LLMUsage, ...] = ()


async def rephrase(
    workspace: Workspace,
    assistant: Assistant,
    llm: LLM,
    *,
    num_rephrases: int,
    template: str,
    slot_values: SlotValues = "own",
    variety: Variety = _NOTHING_BESIDES,
    concurrency: int = 16,
    in_flight: int | None = None,
    notes: Sequence[str] = (),
    progress: Progress = _SILENT,
) -> RephraseSummary:
    """Rephrase the annotated conversations of a workspace.

    Args:
        workspace: Holds the annotations, and gets the rephrasings.
        assistant: Says which commands a wording gives.
        llm: The rephraser.
        num_rephrases: How many wordings to ask for; 0 asks nobody, and the files hold no rephrasings.
        template: The rephraser's prompt template, see `rasa_ft_ext.rephrase.config`.
        slot_values: What becomes of a wording that sets a slot to another value.
        variety: Where more wordings come from, and how often the assistant's LLM is asked about each.
        concurrency: How many conversations are under way at a time, and how many calls.
        in_flight: How many conversations instead, with all of their calls at once: for LLMs that take many together.
        notes: What the summary shall say besides.
        progress: Is told how far the stage is.

    Returns:
        The numbers; those of the earlier run if the workspace already holds just these rephrasings.

    Raises:
        ConfigError: the template fails while it is rendered, or listed slot values do not fit the recording.
        LLMUnavailableError: one of the two LLMs cannot be reached any more; the test files that are done are kept.
        LLMError: no rephrasing came back; a LLMAnswerError where answers came and none could be read.
        WorkspaceError: there are no annotations, or the folder cannot be read or written.
    """
    key = key_of(workspace, llm.settings, num_rephrases, template, slot_values, variety)
    if workspace.is_done(REPHRASINGS, key):
        return read_summary(workspace.folder(REPHRASINGS), RephraseSummary)
    plan = _look(workspace, num_rephrases, template, variety)
    calls: AbstractAsyncContextManager[object] = nullcontext() if in_flight else asyncio.Semaphore(max(concurrency, 1))
    teacher = Teacher(assistant, variety.self_consistency, calls)
    rephraser = Rephraser(llm, teacher, num_rephrases, template, slot_values, variety, plan.choices)
    with workspace.resuming(REPHRASINGS, key) as draft:
        await _make(workspace, draft, plan, rephraser, in_flight or max(concurrency, 1), progress)
        counts = together(draft.note(name, Counts) for name in plan.files)
        asked = counts.rephrasing.used("rephrase", llm.settings)
        checked = counts.checking.used("validate", assistant.card.llm)
        summary = summarise(counts, notes).model_copy(update={"llm_usage": (*asked, *checked)})
        with draft.writing() as folder:
            write_record(folder / SUMMARY, summary)
            write_json(folder / TIMINGS, _timings(counts))
    return summary


def key_of(
    workspace: Workspace,
    llm: Mapping[str, Any],
    num_rephrases: int,
    template: str,
    slot_values: SlotValues,
    variety: Variety,
) -> dict[str, Any]:
    """What the rephrasings are made from; `llm` are the public settings of the rephraser's.

    Raises:
        WorkspaceError: there are no annotations.
    """
    return {
        "annotations": workspace.fingerprint(ANNOTATIONS),
        "num_rephrases": num_rephrases,
        "slot_values": slot_values,
        "template": prompts.template_id(template),
        "llm": llm,
        **variety.key(),
    }


def summarise(counts: Counts, notes: Sequence[str] = ()) -> RephraseSummary:
    """The numbers of all conversations together."""
    passing, failing = sum(counts.passing.values()), sum(counts.failing.values())
    by_others = {*counts.passing, *counts.failing} - {"rephraser"}
    return RephraseSummary(
        conversations=counts.conversations,
        messages_to_rephrase=counts.messages,
        rephrasings=passing + failing,
        passing=passing,
        failing=failing,
        failed_calls=counts.failed_calls,
        reasons=counts.reasons,
        notes=(*notes, *(counts.teacher.notes if counts.teacher else ())),
        passing_by_origin=counts.passing if by_others else None,
        failing_by_origin=counts.failing if by_others else None,
        teacher=counts.teacher,
    )


@dataclass(frozen=True)
class _Plan:
    """The test files with the number of their conversations, in order, and what is known of all of them beforehand."""

    files: dict[str, int]
    choices: SlotChoices | None


def _look(workspace: Workspace, num_rephrases: int, template: str, variety: Variety) -> _Plan:
    """Go through all conversations once; tells what cannot work before anything is paid for."""
    files: dict[str, int] = {}

    def conversations() -> Iterator[Conversation]:
        for file in workspace.annotations():
            files[file.source.file] = len(file.conversations)
            for conversation in file.conversations:
                request_for(conversation, num_rephrases, template)
                yield conversation

    flow_map = read_flow_map(workspace.folder(ANNOTATIONS))
    if variety.substitute_slots:
        return _Plan(files, SlotChoices(conversations(), flow_map, variety.values))
    for _ in conversations():
        pass
    return _Plan(files, None)


async def _make(
    workspace: Workspace, draft: Draft, plan: _Plan, rephraser: Rephraser, in_flight: int, progress: Progress
) -> None:
    """Make the parts that are not done."""
    # What failed for good in a run that ended early may go well now; all else of it is in the cache.
    draft.forget([name for name in draft.done if draft.note(name, Counts).failed_calls])
    draft.expect(len(plan.files))
    hope = Hope(draft.note(name, Counts) for name in draft.done)
    progress.start("Rephrasing conversations", sum(plan.files.values()))
    progress.step(sum(plan.files[name] for name in draft.done))

    def each(outcome: Outcome) -> None:
        progress.step()
        hope.note(outcome)

    groups = stream_groups(_files(workspace, draft, plan), rephraser.rephrase, limit=in_flight, each=each)
    try:
        async with aclosing(groups) as results:
            async for file, found in results:
                _add(draft, file, found)
        hope.check()
    except HopelessError as hopeless:
        draft.forget(draft.done)  # none of it is worth keeping
        raise hopeless.error from hopeless


def _files(workspace: Workspace, draft: Draft, plan: _Plan) -> Iterator[tuple[AnnotatedFile, tuple[Conversation, ...]]]:
    for name in plan.files:
        if name not in draft.done:
            file = read_record(record_path(workspace.folder(ANNOTATIONS), name), AnnotatedFile)
            yield file, file.conversations


def _add(draft: Draft, annotated: AnnotatedFile, found: Sequence[Outcome]) -> None:
    name = annotated.source.file
    record = RephrasedFile(file=name, conversations=tuple(outcome.rephrased for outcome in found))
    files = {record_path(draft.folder, name): as_json(record), draft.folder / name: to_yaml(shown(annotated, record))}
    draft.add(name, files, together(outcome.counts for outcome in found))


def _timings(counts: Counts) -> dict[str, object]:
    return {
        "rephrasing_seconds": round(counts.rephrasing_seconds, 3),
        "checking_seconds": round(counts.checking_seconds, 3),
        "tokens": {"rephrasing": counts.rephrasing.model_dump(), "checking": counts.checking.model_dump()},
    }

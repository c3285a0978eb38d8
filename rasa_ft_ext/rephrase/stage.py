"""The stage `rephrase`: other wordings for every user message, and which of them may be learned from.

For each conversation the rephraser's LLM is asked once, for all of its messages. Each wording is then put to the
assistant in the place of the original message. All are kept: those that give the original's commands as passing, the
others with the reason. A call that fails costs what it was made for and no more.

The stage reads `1_command_annotations` and writes `2_rephrasings`: for every E2E test file a YAML file to look at and,
beside it, the record that the later stages read. It knows neither Rasa nor where an LLM stands.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rasa_ft_ext import prompts
from rasa_ft_ext.assistant.base import Answer, Assistant
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Annotation,
    Conversation,
    Record,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
)
from rasa_ft_ext.errors import LLMAnswerError, LLMError
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rephrase.answer import read_answer
from rasa_ft_ext.rephrase.calls import call_all
from rasa_ft_ext.rephrase.output import shown
from rasa_ft_ext.rephrase.request import Request, requests_for
from rasa_ft_ext.rephrase.verdict import CALL_FAILED, SlotValues, judge, kind, unasked
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    REPHRASINGS,
    SUMMARY,
    TIMINGS,
    Workspace,
    read_summary,
    record_path,
    write_json,
    write_record,
)
from rasa_ft_ext.yaml import write_yaml

_SILENT = Progress()
_EXCERPT = 300

Wordings = tuple[tuple[str, ...], ...]
"""For each turn of a request, the wordings that the rephraser gave."""


class RephraseSummary(Record):
    """The numbers of a run.

    `failed_calls` counts the calls to either LLM that failed; `reasons` says how many rephrasings failed for which
    kind of reason.
    """

    conversations: int
    messages_to_rephrase: int
    rephrasings: int
    passing: int
    failing: int
    failed_calls: int
    reasons: dict[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Check:
    """One wording that is put to the assistant in the place of a turn's message."""

    conversation: Conversation
    turn: int
    annotation: Annotation
    text: str


async def rephrase(
    workspace: Workspace,
    assistant: Assistant,
    llm: LLM,
    *,
    num_rephrases: int,
    template: str,
    slot_values: SlotValues = "own",
    concurrency: int = 16,
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
        concurrency: How many calls there may be at a time.
        notes: What the summary shall say besides.
        progress: Is told how far the stage is.

    Returns:
        The numbers; those of the earlier run if the workspace already holds just these rephrasings.

    Raises:
        ConfigError: the template fails while it is rendered.
        LLMUnavailableError: not a single call to one of the two LLMs got through.
        LLMError: no rephrasing came back; a LLMAnswerError where answers came and none could be read.
        WorkspaceError: there are no annotations, or the folder cannot be read or written.
    """
    key = {
        "annotations": workspace.fingerprint(ANNOTATIONS),
        "num_rephrases": num_rephrases,
        "slot_values": slot_values,
        "template": prompts.template_id(template),
        "llm": llm.settings,
    }
    if workspace.is_done(REPHRASINGS, key):
        return read_summary(workspace.folder(REPHRASINGS), RephraseSummary)
    files = workspace.annotations()
    conversations = [conversation for file in files for conversation in file.conversations]
    requests = requests_for(conversations, num_rephrases, template)
    times = [time.perf_counter()]
    wordings = await _ask_rephraser(requests, llm, num_rephrases, concurrency, progress)
    times.append(time.perf_counter())
    verdicts = await _check(_checks(requests, wordings), assistant, slot_values, concurrency, progress)
    times.append(time.perf_counter())
    rephrased = _assembled(files, requests, wordings, verdicts)
    summary = summarise(rephrased, notes)
    with workspace.writing(REPHRASINGS, key) as folder:
        for annotated, file in zip(files, rephrased, strict=True):
            write_record(record_path(folder, file.file), file)
            write_yaml(folder / file.file, shown(annotated, file))
        write_record(folder / SUMMARY, summary)
        seconds = [round(end - start, 3) for start, end in itertools.pairwise(times)]
        write_json(folder / TIMINGS, {"rephrasing_seconds": seconds[0], "checking_seconds": seconds[1]})
    return summary


def summarise(files: Iterable[RephrasedFile], notes: Sequence[str] = ()) -> RephraseSummary:
    """Count what is in the files."""
    conversations = [conversation for file in files for conversation in file.conversations]
    turns = [turn for conversation in conversations for turn in conversation.turns]
    rephrasings = [rephrasing for turn in turns for rephrasing in turn.rephrasings]
    reasons = Counter(kind(rephrasing) for rephrasing in rephrasings if not rephrasing.passed)
    return RephraseSummary(
        conversations=len(conversations),
        messages_to_rephrase=len(turns),
        rephrasings=len(rephrasings),
        passing=len(rephrasings) - reasons.total(),
        failing=reasons.total(),
        failed_calls=sum(entry.problem is not None for entry in conversations) + reasons[CALL_FAILED],
        reasons=dict(sorted(reasons.items())),
        notes=tuple(notes),
    )


async def _ask_rephraser(
    requests: Sequence[Request], llm: LLM, num_rephrases: int, concurrency: int, progress: Progress
) -> dict[str, Wordings | LLMError]:
    """For each conversation's id the wordings, or why there are none."""

    async def ask(request: Request) -> Completion:
        return await llm.complete(request.prompt)

    progress.start("Rephrasing conversations", len(requests))
    answers = await call_all(requests, ask, concurrency=concurrency, progress=progress)
    wordings: dict[str, Wordings | LLMError] = {}
    for request, answer in zip(requests, answers, strict=True):
        if isinstance(answer, LLMError):
            wordings[request.conversation.id] = answer
        else:
            wordings[request.conversation.id] = read_answer(answer.text, request.messages, num_rephrases)
    if requests and not any(any(found) for found in wordings.values() if not isinstance(found, LLMError)):
        raise _nothing_read(answers)
    return wordings


def _nothing_read(answers: Sequence[Completion | LLMError]) -> LLMError:
    answered = [answer for answer in answers if isinstance(answer, Completion)]
    if not answered:
        return LLMError(f"All {len(answers)} calls to the rephraser failed. The first one: {answers[0]}")
    return LLMAnswerError(
        f"No rephrasing could be read from what the rephraser said ({len(answered)} of {len(answers)} calls were "
        "answered). Name a more capable LLM or another prompt template with --rephrase-config, or go on without "
        f"rephrasings with --num-rephrases 0. The first answer begins: {answered[0].text[:_EXCERPT]!r}"
    )


def _checks(requests: Sequence[Request], wordings: Mapping[str, Wordings | LLMError]) -> list[_Check]:
    checks = []
    for request in requests:
        found = wordings[request.conversation.id]
        if isinstance(found, LLMError):
            continue
        for turn, texts in zip(request.turns, found, strict=True):
            annotation = request.conversation.turns[turn].annotation
            checks += [_Check(request.conversation, turn, annotation, text) for text in texts if annotation]
    return checks


async def _check(
    checks: Sequence[_Check], assistant: Assistant, slot_values: SlotValues, concurrency: int, progress: Progress
) -> dict[tuple[str, int], list[Rephrasing]]:
    """The verdicts by conversation and turn, in the order of the wordings."""

    async def ask(check: _Check) -> Answer:
        return await assistant.ask(check.conversation, check.turn, check.text)

    progress.start("Checking rephrasings", len(checks))
    answers = await call_all(checks, ask, concurrency=concurrency, progress=progress)
    verdicts: dict[tuple[str, int], list[Rephrasing]] = {}
    for check, answer in zip(checks, answers, strict=True):
        if isinstance(answer, LLMError):
            verdict = unasked(check.text, answer)
        else:
            verdict = judge(check.text, answer, check.annotation, slot_values=slot_values, read=assistant.read)
        verdicts.setdefault((check.conversation.id, check.turn), []).append(verdict)
    return verdicts


def _assembled(
    files: Sequence[AnnotatedFile],
    requests: Sequence[Request],
    wordings: Mapping[str, Wordings | LLMError],
    verdicts: Mapping[tuple[str, int], Sequence[Rephrasing]],
) -> list[RephrasedFile]:
    asked = {request.conversation.id: request for request in requests}

    def one(conversation: Conversation) -> RephrasedConversation:
        request, found = asked.get(conversation.id), wordings.get(conversation.id)
        problem = f"the rephraser's LLM: {found}" if isinstance(found, LLMError) else None
        turns = []
        for turn in request.turns if request else ():
            rephrasings = tuple(verdicts.get((conversation.id, turn), ()))
            missing = None if rephrasings or problem else "the rephraser's answer holds no rephrasing of this message"
            message = conversation.turns[turn].message
            turns.append(RephrasedTurn(turn=turn, message=message, rephrasings=rephrasings, problem=missing))
        return RephrasedConversation(id=conversation.id, turns=tuple(turns), problem=problem)

    return [
        RephrasedFile(file=file.source.file, conversations=tuple(one(entry) for entry in file.conversations))
        for file in files
    ]

"""The stage `rephrase`: other wordings for every user message, and which of them may be learned from.

For each conversation the rephraser's LLM is asked once, for all of its messages. Each wording is then put to the
assistant in the place of the original message. All are kept: those that give the original's commands as passing, the
others with the reason. A call that fails costs what it was made for and no more. `rasa_ft_ext.rephrase.variety` says
where more wordings come from.

The stage reads `1_command_annotations` and writes `2_rephrasings`: for every E2E test file a YAML file to look at and,
beside it, the record that the later stages read. It knows neither Rasa nor where an LLM stands.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rasa_ft_ext import prompts
from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.conversation import (
    AnnotatedFile,
    Conversation,
    RephrasedConversation,
    RephrasedFile,
    RephrasedTurn,
    Rephrasing,
    SparseRecord,
)
from rasa_ft_ext.errors import LLMAnswerError, LLMError
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rephrase.answer import read_answer
from rasa_ft_ext.rephrase.calls import call_all
from rasa_ft_ext.rephrase.checking import Check, Checked, Teacher, contested_turns
from rasa_ft_ext.rephrase.output import shown
from rasa_ft_ext.rephrase.request import Request, requests_for, turns_to_rephrase
from rasa_ft_ext.rephrase.tokens import of_completions, of_votes
from rasa_ft_ext.rephrase.variety import Variety, slipped, substituted
from rasa_ft_ext.rephrase.verdict import CALL_FAILED, SlotValues, kind
from rasa_ft_ext.rephrase.votes import Vote, agreement
from rasa_ft_ext.teacher_agreement import TeacherAgreement
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    REPHRASINGS,
    SUMMARY,
    TIMINGS,
    Workspace,
    read_flow_map,
    read_summary,
    record_path,
    write_json,
    write_record,
)
from rasa_ft_ext.yaml import write_yaml

_SILENT = Progress()
_NOTHING_BESIDES = Variety()
_EXCERPT = 300

Wordings = tuple[tuple[str, ...], ...]
"""For each turn of a request, the wordings that the rephraser gave."""


class RephraseSummary(SparseRecord):
    """The numbers of a run.

    `failed_calls` counts the calls to either LLM that failed; `reasons` says how many rephrasings failed for which
    kind of reason. `passing_by_origin` and `failing_by_origin`, with keys such as `noise: typo`, are there where not
    all wordings are the rephraser's, `teacher` where the assistant's LLM was asked several times.
    """

    optional = frozenset({"passing_by_origin", "failing_by_origin", "teacher"})

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
        concurrency: How many calls there may be at a time.
        notes: What the summary shall say besides.
        progress: Is told how far the stage is.

    Returns:
        The numbers; those of the earlier run if the workspace already holds just these rephrasings.

    Raises:
        ConfigError: the template fails while it is rendered, or listed slot values do not fit the recording.
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
        **variety.key(),
    }
    if workspace.is_done(REPHRASINGS, key):
        return read_summary(workspace.folder(REPHRASINGS), RephraseSummary)
    files = workspace.annotations()
    conversations = [conversation for file in files for conversation in file.conversations]
    requests = requests_for(conversations, num_rephrases, template)
    flow_map = read_flow_map(workspace.folder(ANNOTATIONS))
    exchanged = list(substituted(conversations, flow_map, variety))  # tells what cannot work before anything is paid
    times = [time.perf_counter()]
    answers = await _ask_rephraser(requests, llm, concurrency, progress)
    wordings = _read(requests, answers, num_rephrases)
    times.append(time.perf_counter())
    teacher = Teacher(assistant, variety.self_consistency, concurrency, progress)
    checked = await teacher.judge(_new([*_checks(requests, wordings, slot_values), *exchanged]))
    slips = _new(slipped(conversations, checked, variety, slot_values), checked)
    checked += await teacher.judge(slips, "Checking noisy wordings") if slips else []
    recalled = await teacher.recall(conversations) if variety.self_consistency > 1 else {}
    times.append(time.perf_counter())
    rephrased = _assembled(files, requests, wordings, checked, recalled)
    summary = summarise(rephrased, notes, _agreement(variety.self_consistency, checked, recalled, rephrased))
    with workspace.writing(REPHRASINGS, key) as folder:
        for annotated, file in zip(files, rephrased, strict=True):
            write_record(record_path(folder, file.file), file)
            write_yaml(folder / file.file, shown(annotated, file))
        write_record(folder / SUMMARY, summary)
        seconds = [round(end - start, 3) for start, end in itertools.pairwise(times)]
        spent = {"rephrasing": of_completions(answers), "checking": of_votes(checked, recalled)}
        write_json(
            folder / TIMINGS, {"rephrasing_seconds": seconds[0], "checking_seconds": seconds[1], "tokens": spent}
        )
    return summary


def summarise(
    files: Iterable[RephrasedFile], notes: Sequence[str] = (), teacher: TeacherAgreement | None = None
) -> RephraseSummary:
    """Count what is in the files."""
    conversations = [conversation for file in files for conversation in file.conversations]
    turns = [turn for conversation in conversations for turn in conversation.turns]
    rephrasings = [rephrasing for turn in turns for rephrasing in turn.rephrasings]
    reasons = Counter(kind(rephrasing) for rephrasing in rephrasings if not rephrasing.passed)
    passing = Counter(entry.maker for entry in rephrasings if entry.passed)
    failing = Counter(entry.maker for entry in rephrasings if not entry.passed)
    by_others = {entry.origin for entry in rephrasings} - {"rephraser"}
    return RephraseSummary(
        conversations=len(conversations),
        messages_to_rephrase=len(turns),
        rephrasings=len(rephrasings),
        passing=passing.total(),
        failing=failing.total(),
        failed_calls=sum(entry.problem is not None for entry in conversations) + reasons[CALL_FAILED],
        reasons=dict(sorted(reasons.items())),
        notes=(*notes, *(teacher.notes if teacher else ())),
        passing_by_origin=dict(sorted(passing.items())) if by_others else None,
        failing_by_origin=dict(sorted(failing.items())) if by_others else None,
        teacher=teacher,
    )


async def _ask_rephraser(
    requests: Sequence[Request], llm: LLM, concurrency: int, progress: Progress
) -> list[Completion | LLMError]:
    async def ask(request: Request) -> Completion:
        return await llm.complete(request.prompt)

    progress.start("Rephrasing conversations", len(requests))
    return await call_all(requests, ask, concurrency=concurrency, progress=progress)


def _read(
    requests: Sequence[Request], answers: Sequence[Completion | LLMError], num_rephrases: int
) -> dict[str, Wordings | LLMError]:
    """For each conversation's id the wordings, or why there are none."""
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


def _checks(
    requests: Sequence[Request], wordings: Mapping[str, Wordings | LLMError], slot_values: SlotValues
) -> Iterator[Check]:
    for request in requests:
        found = wordings[request.conversation.id]
        if isinstance(found, LLMError):
            continue
        for turn, texts in zip(request.turns, found, strict=True):
            annotation = request.conversation.turns[turn].annotation
            for text in texts:
                if annotation is not None:
                    yield Check(request.conversation, turn, annotation, text, slot_values)


def _new(checks: Iterable[Check], before: Sequence[Checked] = ()) -> list[Check]:
    """The checks whose wording is neither the turn's own nor there already: each is asked about once."""
    seen = {(entry.check.conversation.id, entry.check.turn, entry.check.text) for entry in before}
    kept = []
    for check in checks:
        place = (check.conversation.id, check.turn, check.text)
        if place not in seen and check.text != check.conversation.turns[check.turn].message:
            seen.add(place)
            kept.append(check)
    return kept


def _assembled(
    files: Sequence[AnnotatedFile],
    requests: Sequence[Request],
    wordings: Mapping[str, Wordings | LLMError],
    checked: Sequence[Checked],
    recalled: Mapping[tuple[str, int], Vote],
) -> list[RephrasedFile]:
    asked = {request.conversation.id for request in requests}
    verdicts: dict[tuple[str, int], list[Rephrasing]] = {}
    for entry in checked:
        verdicts.setdefault((entry.check.conversation.id, entry.check.turn), []).append(entry.rephrasing)

    def turn_of(conversation: Conversation, turn: int, problem: str | None) -> RephrasedTurn:
        found = tuple(verdicts.get((conversation.id, turn), ()))
        is_missed = conversation.id in asked and not problem and all(entry.origin != "rephraser" for entry in found)
        missing = "the rephraser's answer holds no rephrasing of this message" if is_missed else None
        message = conversation.turns[turn].message
        return RephrasedTurn(turn=turn, message=message, rephrasings=found, problem=missing)

    def one(conversation: Conversation) -> RephrasedConversation:
        failed = wordings.get(conversation.id)
        problem = f"the rephraser's LLM: {failed}" if isinstance(failed, LLMError) else None
        turns = [
            turn_of(conversation, turn, problem)
            for turn in turns_to_rephrase(conversation)
            if conversation.id in asked or (conversation.id, turn) in verdicts
        ]
        contested = contested_turns(conversation, recalled)
        return RephrasedConversation(id=conversation.id, turns=tuple(turns), problem=problem, contested=contested)

    return [
        RephrasedFile(file=file.source.file, conversations=tuple(one(entry) for entry in file.conversations))
        for file in files
    ]


def _agreement(
    times: int,
    checked: Sequence[Checked],
    recalled: Mapping[tuple[str, int], Vote],
    rephrased: Iterable[RephrasedFile],
) -> TeacherAgreement | None:
    if times == 1:
        return None
    contested = [
        f"{conversation.id}, message {turn.turn + 1}: {turn.reason}"
        for file in rephrased
        for conversation in file.conversations
        for turn in conversation.contested
    ]
    return agreement(times, [entry.vote for entry in checked], list(recalled.values()), contested)

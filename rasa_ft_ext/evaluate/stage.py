"""The stage `evaluate`: what a served model is worth, to `5_evaluation/` and `report.html`.

    evaluation.json         everything, with the verdict: what `connect` reads
    evaluation.md           the same for a pull request
    junit.xml               each E2E test and each threshold as a test case
    answers.jsonl           what the model said to each example
    outcomes.jsonl          how each E2E test ended; teacher_outcomes.jsonl with the teacher

A server is not a file: what was measured yesterday says nothing of it today. So this stage always measures, and
replaces what it left before. A measurement that cannot be finished leaves what is there as it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rasa_ft_ext._version import __version__
from rasa_ft_ext.errors import ServeError
from rasa_ft_ext.evaluate import commands, output, parity
from rasa_ft_ext.evaluate.assistant import changes, refuse_itself
from rasa_ft_ext.evaluate.commands import Answered, Asked
from rasa_ft_ext.evaluate.conversations import run_conversations
from rasa_ft_ext.evaluate.output import Found
from rasa_ft_ext.evaluate.paired import compare, differing_turns
from rasa_ft_ext.evaluate.request import Request
from rasa_ft_ext.evaluate.served import Served, check_name
from rasa_ft_ext.evaluate.verdict import LEFT_OUT, PARTS, SIDES, judge, pass_rate
from rasa_ft_ext.evaluation import Answer, Evaluation, Part, Probe, Side, Subject, TestOutcome, Verdict
from rasa_ft_ext.finetuned import TrainManifest, changed_files, read_manifest
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.workspace import EVALUATION, SPLIT, SUMMARY, Workspace

Item = TypeVar("Item")

_PROBES = 8


async def evaluate(workspace: Workspace, request: Request, *, progress: Progress | None = None) -> Evaluation:
    """Measure a served model and write what was found, whether it is good or not.

    Args:
        workspace: Holds the split; receives the evaluation and the report.
        request: What is evaluated, and how.
        progress: Is told how far it is.

    Raises:
        ConfigError: an option cannot work, or the server knows no such model.
        WorkspaceError: a stage before has not been run, or the folder cannot be written.
        LLMError: the model cannot be reached, or never answers.
        ServeError: the served model is not the one in the model folder. That is written as well.
    """
    progress = progress or Progress()
    request.check()
    refuse_itself(request)
    workspace.check((EVALUATION,))
    found = _begin(workspace, request)
    examples = commands.find_examples(workspace)
    await check_name(request.served)
    found = await _parity(found, request, examples, progress)
    broken = found.evaluation.parity is not None and bool(found.evaluation.parity.problems)
    if broken:
        rest = [part for part in request.parts if part != "parity"]
        found = _without(found, dict.fromkeys(rest, "the served model is not the one in the model folder"))
    else:
        found = await _commands(found, workspace, request, examples, progress)
        found = await _conversations(found, workspace, request, progress)
    found = _with(found, verdict=judge(found.evaluation))
    output.write(workspace, found)
    if broken:
        raise ServeError(_broken(found.evaluation, workspace))
    return found.evaluation


def _begin(workspace: Workspace, request: Request) -> Found:
    """An evaluation in which nothing is measured so far, and what will not be."""
    manifest = read_manifest(request.model_folder) if request.model_folder is not None else None
    subject = Subject(
        model=request.served.model,
        api_base=request.served.api_base,
        model_hash=manifest.model_hash if manifest else None,
        trained_on=manifest.facts.data_hash if manifest else None,
        data_hash=workspace.fingerprint(SPLIT),
        template_hash=hashlib.sha256(workspace.template().encode()).hexdigest(),
        rasa_version=workspace.card().rasa_version,
        max_tokens=request.max_tokens,
    )
    evaluation = Evaluation(
        version=__version__,
        subject=subject,
        verdict=Verdict(passed=False),
        thresholds=request.thresholds,
        notes=(*_final(manifest), *changes(request, workspace.card())),
    )
    not_measured: dict[Part, str] = {part: LEFT_OUT for part in PARTS if part not in request.parts}
    if isinstance(request.conversations, str):
        not_measured.setdefault("conversations", request.conversations)
    if isinstance(request.reference, str):
        not_measured.setdefault("parity", request.reference)
    return _without(Found(evaluation), not_measured)


def _final(manifest: TrainManifest | None) -> tuple[str, ...]:
    if manifest is None or manifest.facts.validation_rows:
        return ()
    return (
        "The model was trained without validation rows, or on these as well: the figures of validation do not say how "
        "it does on what it has never seen.",
    )


def _with(found: Found, **changes: Any) -> Found:
    """The same with other fields of the evaluation."""
    return replace(found, evaluation=found.evaluation.model_copy(update=changes))


def _without(found: Found, reasons: Mapping[Part, str]) -> Found:
    """The same without these parts."""
    return _with(found, not_measured={**found.evaluation.not_measured, **reasons})


async def _parity(
    found: Found, request: Request, examples: Mapping[Side, Sequence[Asked]], progress: Progress
) -> Found:
    folder, reference = request.model_folder, request.reference
    if "parity" in found.evaluation.not_measured or isinstance(reference, str) or folder is None:
        return found
    prompts = [asked.row.prompt for asked in spread(examples["validation"] or examples["train"], parity.PROMPTS)]
    if not prompts:
        return _without(found, {"parity": "there are no examples to ask"})
    changed = changed_files(folder)
    server = reference()
    progress.start("Loading the model of the model folder", 1)
    await asyncio.to_thread(server.start)
    try:
        progress.step()
        progress.start("Comparing it with the served model", len(prompts))
        figures = await parity.compare(
            Served(server.name, server.base_url),
            request.served,
            prompts,
            dtype=read_manifest(folder).facts.dtype,
            max_tokens=request.max_tokens,
            changed=changed,
            done=progress.step,
        )
    except parity.NoLogProbabilities as error:
        return _without(found, {"parity": str(error).rstrip(".")})
    finally:
        await asyncio.to_thread(server.stop)
    return _with(found, parity=figures)


async def _commands(
    found: Found,
    workspace: Workspace,
    request: Request,
    examples: Mapping[Side, Sequence[Asked]],
    progress: Progress,
) -> Found:
    if "commands" not in request.parts:
        return found
    card = workspace.card()
    figures = {}
    answers: list[Answer] = []
    probes: tuple[Probe, ...] = ()
    notes: tuple[str, ...] = ()
    for side, asked in examples.items():
        if asked:
            progress.start(f"Asking the {side} examples", len(asked))
            answered = await commands.ask(asked, request.llm, concurrency=request.concurrency, done=progress.step)
            figures[side], of_side = commands.measure(
                answered, syntax=card.syntax, flows=tuple(card.flows), price=request.price
            )
            answers += of_side
            if not probes:
                probes, notes = await _probes(answered, request)
    notes = (*found.evaluation.notes, *notes)
    return replace(_with(found, commands=figures, probes=probes, notes=notes), answers=tuple(answers))


async def _probes(answered: Sequence[Answered], request: Request) -> tuple[tuple[Probe, ...], tuple[str, ...]]:
    """Prompts whose answers are the same when they are asked alone, as `connect` does, and a note on the others.

    Beside others a server sums in another order, so that one of two tokens that are nearly as likely may win.
    """
    first = spread([entry for entry in answered if entry.error is None], 2 * _PROBES)
    if not first:
        return (), ()
    second = await commands.ask([entry.asked for entry in first], request.llm, concurrency=1)
    same = [one for one, other in zip(first, second, strict=True) if other.error is None and one.text == other.text]
    probes = tuple(Probe(prompt=entry.asked.row.prompt, answer=entry.text) for entry in spread(same, _PROBES))
    if len(same) == len(first):
        return probes, ()
    return probes, (f"Asked once more, the model answered {len(first) - len(same)} of {len(first)} prompts otherwise.",)


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many of the items, evenly spread over them; all if there are fewer."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


async def _conversations(found: Found, workspace: Workspace, request: Request, progress: Progress) -> Found:
    given = request.conversations
    if "conversations" in found.evaluation.not_measured or isinstance(given, str):
        return found
    groups = _groups(workspace)
    how: dict[str, Any] = {"repeats": request.repeats, "concurrency": request.concurrency, "progress": progress}
    template = workspace.template()
    outcomes = await run_conversations(given.assistant, given.tests, llm=request.llm, template=template, **how)
    ours = _by_side(outcomes)
    found = _with(found, conversations={side: pass_rate(ours[side], groups) for side in ours})
    found = replace(found, outcomes=outcomes)
    if not request.against_teacher:
        return found
    of_teacher = await run_conversations(given.assistant, given.tests, **how)
    theirs = _by_side(of_teacher)
    margin = request.thresholds.margin
    found = _with(
        found,
        teacher={side: pass_rate(theirs[side], groups) for side in theirs},
        comparison={side: compare(ours[side], theirs[side], groups, margin=margin, side=side) for side in ours},
        differing_turns=differing_turns(outcomes, of_teacher),
    )
    return replace(found, of_teacher=of_teacher)


def _by_side(outcomes: Sequence[TestOutcome]) -> dict[Side, list[TestOutcome]]:
    sides = {side: [outcome for outcome in outcomes if outcome.side == side] for side in SIDES}
    return {side: of_side for side, of_side in sides.items() if of_side}


def _groups(workspace: Workspace) -> dict[str, str]:
    """The group of each test, also under the name that the split has written it by."""
    groups = dict(commands.conversation_groups(workspace))
    renamed = json.loads((workspace.folder(SPLIT) / SUMMARY).read_text(encoding="utf-8")).get("renamed", {})
    return groups | {new: groups[old] for old, new in renamed.items() if old in groups}


def _broken(evaluation: Evaluation, workspace: Workspace) -> str:
    problems = evaluation.parity.problems if evaluation.parity is not None else ()
    return (
        f"{evaluation.subject.model} at {evaluation.subject.api_base} is not the model in the model folder:"
        + "".join(f"\n  - {problem}" for problem in problems)
        + "\nNothing else was measured. Serve that folder, with its own chat template and dtype, or give the folder of "
        f"the model that is served. The comparison is in {workspace.folder(EVALUATION)}."
    )

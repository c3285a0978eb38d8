"""The stage `dataset`: from annotations and rephrasings to `3_llm_finetune_data/llm_ft_data.jsonl`.

`rasa_ft_ext.dataset.making` makes the examples of one conversation. Those of an E2E test file are a part that a later
run need not make again (`rasa_ft_ext.drafts`); `rasa_ft_ext.dataset.merging` puts all of them together.
"""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.checks.contradictions import contradictions_of
from rasa_ft_ext.concurrency import stream_groups
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, RephrasedConversation, RephrasedFile, TestFile
from rasa_ft_ext.dataset.making import Maker
from rasa_ft_ext.dataset.merging import lines_of, merge
from rasa_ft_ext.dataset.student import StudentPrompt, check_recordings, check_variables
from rasa_ft_ext.dataset.summary import Counts, counts_of, summarise, together
from rasa_ft_ext.dataset.summary import DatasetSummary as DatasetSummary
from rasa_ft_ext.drafts import Draft
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.file_names import inside
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.records import read_record, record_files, record_path
from rasa_ft_ext.review.applying import EditedLabels, apply
from rasa_ft_ext.review.fitting import Fitted
from rasa_ft_ext.review.place import FOLLOWS, read_review
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    EXAMPLES,
    PROMPT_TEMPLATE,
    REPHRASINGS,
    SUMMARY,
    Workspace,
    read_examples,
    read_summary,
    write_record,
)


async def dataset(
    workspace: Workspace,
    assistant: Assistant,
    *,
    student: StudentPrompt | None = None,
    redact: bool = False,
    review: Path | None = None,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Make the examples.

    Args:
        workspace: Holds the annotations and rephrasings; receives the examples.
        assistant: Reads completions back and, if it can, runs conversations whose course changes.
        student: The template to render prompts with; None for the assistant's own.
        redact: Mask what is personal (see `rasa_ft_ext.dataset.redacting`).
        review: The file with the decisions of a review; None for the folder's own, if it has one. Examples that were
            made with other decisions, and differ in nothing else, are made anew.
        concurrency: How many conversations are run at a time.
        progress: Is told how far it is.

    Raises:
        ConfigError: the student's template cannot be rendered with what was recorded, or decisions cannot be read.
        WorkspaceError: a stage before has not been run, or no example can be made.
    """
    progress = progress or Progress()
    decided = read_review(workspace, review)
    key = {
        "annotations": workspace.fingerprint(ANNOTATIONS),
        "rephrasings": workspace.fingerprint(REPHRASINGS),
        "simulate": assistant.can_simulate,
        "student_prompt": hashlib.sha256(student.source.encode()).hexdigest() if student else None,
        "review": decided.key,
    }
    key |= {"redact": True} if redact else {}
    if workspace.is_done(DATASET, key, follows=FOLLOWS):
        return read_summary(workspace.folder(DATASET), DatasetSummary)
    if student is not None:
        check_variables(student, assistant.card)
        check_recordings(student, workspace.annotations())
    fitted = decided.fit(workspace, workspace.annotations(), workspace.rephrasings())
    with workspace.resuming(DATASET, key) as draft:
        names = await _make(workspace, draft, fitted, _Making(assistant, student, redact), concurrency, progress)
        counts = together(draft.note(name, Counts) for name in names)
        template = student.source if student else _only_template(counts, assistant)
        with draft.writing() as folder:
            parts = (_part(draft, name) for name in names)
            merged = merge(parts, draft.scratch / EXAMPLES, folder / EXAMPLES)
            if not merged.examples:
                draft.forget(draft.done)
                raise WorkspaceError(f"No example can be made of {workspace.folder(ANNOTATIONS)}: {_why_none(counts)}")
            if template is not None:
                (folder / PROMPT_TEMPLATE).write_bytes(template.encode())
            found = contradictions_of(read_examples(folder / EXAMPLES))
            summary = summarise(counts, merged, found, student.name if student else None).model_copy(
                update={"review": apply([], [], fitted).counts, "review_misfits": fitted.told}
            )
            write_record(folder / SUMMARY, summary)
    return summary


_Entry = tuple[TestFile, Conversation, RephrasedConversation | None, EditedLabels]


@dataclass(frozen=True)
class _Making:
    """How examples are made."""

    assistant: Assistant
    student: StudentPrompt | None
    redact: bool

    async def make(self, entry: _Entry) -> Maker:
        template = self.student.source if self.student else None
        return await Maker(self.assistant, template, *entry, redact=self.redact).make()


async def _make(
    workspace: Workspace, draft: Draft, fitted: Fitted, making: _Making, concurrency: int, progress: Progress
) -> list[str]:
    """Make the parts that are not done; return the names of all, in order."""
    folder = workspace.folder(ANNOTATIONS)
    names = [path.relative_to(folder).as_posix().removesuffix(".json") for path in record_files(folder)]
    draft.expect(len(names))
    progress.start("Making examples of test files", len(names))
    progress.step(len(draft.done))
    todo = (_entries(workspace, name, fitted) for name in names if name not in draft.done)
    async with aclosing(stream_groups(todo, making.make, limit=concurrency)) as results:
        async for (name, conversations), made in results:
            lines = lines_of(example for entry in made for example in entry.examples)
            draft.add(name, {_part(draft, name): lines}, counts_of(conversations, made))
            progress.step()
    return names


def _entries(
    workspace: Workspace, name: str, fitted: Fitted
) -> tuple[tuple[str, tuple[Conversation, ...]], list[_Entry]]:
    """What the examples of a test file are made of."""
    file = read_record(record_path(workspace.folder(ANNOTATIONS), name), AnnotatedFile)
    path = record_path(workspace.folder(REPHRASINGS), name)
    reviewed = apply([file], [read_record(path, RephrasedFile)] if path.is_file() else [], fitted)
    rephrased = {entry.id: entry for of in reviewed.rephrased for entry in of.conversations}
    entries = [(file.source, of, rephrased.get(of.id), reviewed.labels.get(of.id, {})) for of in file.conversations]
    return (name, file.conversations), entries


def _part(draft: Draft, name: str) -> Path:
    """Where the examples of a test file stand until they are put together."""
    return inside(draft.kept, f"{name}.jsonl")


def _why_none(counts: Counts) -> str:
    if counts.left_out:
        return "its prompts cannot be rendered from the recording. Run with the assistant itself, with --model."
    return (
        "no user step has commands to learn. Look at the reasons in its YAML files (`not_annotated`), change the "
        "tests, and run `rasa-ft annotate` again."
    )


def _only_template(counts: Counts, assistant: Assistant) -> str | None:
    """The template of all annotations; None if there are several, or if its source was not kept."""
    return assistant.card.templates.get(counts.templates[0]) if len(counts.templates) == 1 else None

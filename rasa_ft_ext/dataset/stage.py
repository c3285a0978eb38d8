"""The stage `dataset`: from annotations and rephrasings to `3_llm_finetune_data/llm_ft_data.jsonl`.

`rasa_ft_ext.dataset.making` makes the examples of one conversation; here those of all are put together, counted and
written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rasa_ft_ext.assistant.base import Assistant
from rasa_ft_ext.checks.contradictions import contradictions_of
from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import AnnotatedFile, Conversation, Example, RephrasedConversation, TestFile
from rasa_ft_ext.dataset.making import Maker
from rasa_ft_ext.dataset.student import StudentPrompt, check_recordings, check_variables
from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.review.applying import EditedLabels, Reviewed, apply
from rasa_ft_ext.review.place import FOLLOWS, read_review
from rasa_ft_ext.workspace import (
    ANNOTATIONS,
    DATASET,
    EXAMPLES,
    PROMPT_TEMPLATE,
    REPHRASINGS,
    SUMMARY,
    Workspace,
    read_summary,
    write_jsonl,
    write_record,
)

_TOLD = 3  # decisions that do not fit


class DatasetSummary(BaseModel):
    """What `dataset` made.

    `recombinations` counts the new conversations, `duplicates` the examples that were the same as one before,
    `simulated` the conversations that the assistant ran again and `diverged` those of them that ended up in another
    state. `left_out` counts the steps whose prompt could not be had. `unreadable` lists completions that the
    assistant's parser does not read back as the same commands: no example is made of these. `contradictions` lists the
    prompts that several examples have with other commands, by their tests. `student_prompt` is the name of the
    template that the prompts were rendered with, None for the assistant's own. `review` counts the decisions of the
    review, `review_misfits` names those of them that are about nothing that is there, or about other commands.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversations: int
    recombinations: int
    examples: int
    duplicates: int
    simulated: int
    diverged: int
    left_out: int
    made_by: dict[str, int]
    commands: dict[str, int]
    unreadable: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()
    student_prompt: str | None = None
    review: dict[str, int] = {}
    review_misfits: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of it, a sentence each."""
        notes = []
        if self.left_out:
            what = "user steps" if self.student_prompt else "recombined user steps"
            notes.append(
                f"{self.left_out} {what} are left out: their prompts cannot be rendered from the recording. Run with "
                "the assistant itself to have them."
            )
        if self.unreadable:
            notes.append(
                f"{len(self.unreadable)} labels are left out, since the assistant's parser does not read them back as "
                "the same commands; see `unreadable` in summary.json."
            )
        if self.contradictions:
            why = ". The student's prompt may leave out what tells them apart" if self.student_prompt else ""
            notes.append(
                f"{len(self.contradictions)} prompts have examples with different commands, of which a model can "
                f"learn one only{why}; see `contradictions` in summary.json."
            )
        if self.review_misfits:
            more = "; and so on, see `review_misfits` in summary.json" if len(self.review_misfits) > _TOLD else ""
            notes.append(
                f"{len(self.review_misfits)} decisions of the review do not fit and are not applied; they stay in its "
                f"file. {' '.join(self.review_misfits[:_TOLD])}{more}"
            )
        return tuple(notes)


async def dataset(
    workspace: Workspace,
    assistant: Assistant,
    *,
    student: StudentPrompt | None = None,
    review: Path | None = None,
    concurrency: int = 16,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Make the examples.

    Args:
        workspace: Holds the annotations and rephrasings; receives the examples.
        assistant: Reads completions back and, if it can, runs conversations whose course changes.
        student: The template to render prompts with; None for the assistant's own.
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
    if workspace.is_done(DATASET, key, follows=FOLLOWS):
        return read_summary(workspace.folder(DATASET), DatasetSummary)
    annotated = workspace.annotations()
    if student is not None:
        check_variables(student, assistant.card)
        check_recordings(student, annotated)
    rephrased = workspace.rephrasings()
    fitted = decided.fit(workspace, annotated, rephrased)
    reviewed = apply(annotated, rephrased, fitted)
    work = list(_pairs(annotated, reviewed))
    progress.start("Making examples", len(work))

    async def make(entry: tuple[TestFile, Conversation, RephrasedConversation | None, EditedLabels]) -> Maker:
        return await Maker(assistant, student.source if student else None, *entry).make()

    made = await in_order(work, make, limit=concurrency, done=progress.step)
    examples, duplicates = _merged([example for entry in made for example in entry.examples])
    if not examples:
        raise WorkspaceError(f"No example can be made of {workspace.folder(ANNOTATIONS)}: {_why_none(made)}")
    summary = _summary(made, examples, duplicates, student).model_copy(
        update={"review": reviewed.counts, "review_misfits": fitted.told}
    )
    template = student.source if student else _only_template(annotated, assistant)
    with workspace.writing(DATASET, key) as folder:
        write_jsonl(folder / EXAMPLES, [example.model_dump(mode="json") for example in examples])
        if template is not None:
            (folder / PROMPT_TEMPLATE).write_bytes(template.encode())
        write_record(folder / SUMMARY, summary)
    return summary


def _summary(
    made: Sequence[Maker], examples: list[Example], duplicates: int, student: StudentPrompt | None
) -> DatasetSummary:
    return DatasetSummary(
        conversations=len(made),
        recombinations=sum(entry.recombinations for entry in made),
        examples=len(examples),
        duplicates=duplicates,
        simulated=sum(entry.simulated for entry in made),
        diverged=sum(entry.diverged for entry in made),
        left_out=sum(entry.left_out for entry in made),
        made_by=dict(sorted(Counter(example.made_by for example in examples).items())),
        commands=dict(sorted(Counter(c.type for example in examples for c in example.commands).items())),
        unreadable=tuple(dict.fromkeys(text for entry in made for text in entry.unreadable)),
        contradictions=contradictions_of(examples),
        student_prompt=student.name if student else None,
    )


def _why_none(made: Sequence[Maker]) -> str:
    if any(entry.left_out for entry in made):
        return "its prompts cannot be rendered from the recording. Run with the assistant itself, with --model."
    return (
        "no user step has commands to learn. Look at the reasons in its YAML files (`not_annotated`), change the "
        "tests, and run `rasa-ft annotate` again."
    )


def _only_template(annotated: Sequence[AnnotatedFile], assistant: Assistant) -> str | None:
    """The template of all annotations; None if there are several, or if its source was not kept."""
    annotations = [turn.annotation for file in annotated for entry in file.conversations for _, turn in entry.annotated]
    found = {annotation.template for annotation in annotations if annotation is not None}
    return assistant.card.templates.get(found.pop()) if len(found) == 1 else None


def _pairs(
    annotated: Sequence[AnnotatedFile], reviewed: Reviewed
) -> Iterator[tuple[TestFile, Conversation, RephrasedConversation | None, EditedLabels]]:
    rephrased = {entry.id: entry for file in reviewed.rephrased for entry in file.conversations}
    for file in annotated:
        for conversation in file.conversations:
            yield file.source, conversation, rephrased.get(conversation.id), reviewed.labels.get(conversation.id, {})


def _merged(examples: list[Example]) -> tuple[list[Example], int]:
    """Keep each prompt with its completion once; note which other tests gave it, too."""
    first: dict[tuple[str, str], Example] = {}
    others: dict[tuple[str, str], list[str]] = {}
    for example in examples:
        key = (example.prompt, example.completion)
        if key not in first:
            first[key] = example
        elif example.test != first[key].test:
            others.setdefault(key, []).append(example.test)
    merged = [
        example.model_copy(update={"also_in": tuple(dict.fromkeys(others[key]))}) if key in others else example
        for key, example in first.items()
    ]
    return merged, len(examples) - len(merged)

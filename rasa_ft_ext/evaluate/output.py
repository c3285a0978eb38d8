"""What an evaluation leaves: the files of `5_evaluation/`, all or none, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rasa_ft_ext.evaluate.junit import write_junit
from rasa_ft_ext.evaluate.markdown import to_markdown
from rasa_ft_ext.evaluation import (
    ANSWERS_FILE,
    EVALUATION_FILE,
    OUTCOMES_FILE,
    TEACHER_OUTCOMES_FILE,
    Answer,
    Evaluation,
    TestOutcome,
)
from rasa_ft_ext.report.page import write_report
from rasa_ft_ext.workspace import EVALUATION, Workspace, write_jsonl, write_record

MARKDOWN_FILE = "evaluation.md"
JUNIT_FILE = "junit.xml"


@dataclass(frozen=True)
class Found:
    """What was measured: the evaluation, and what it was made of."""

    evaluation: Evaluation
    answers: tuple[Answer, ...] = ()
    outcomes: tuple[TestOutcome, ...] = ()
    of_teacher: tuple[TestOutcome, ...] = ()


def write(workspace: Workspace, found: Found) -> None:
    """Write everything, in place of what was there.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    evaluation = found.evaluation
    with workspace.writing(EVALUATION, {"subject": evaluation.subject.model_dump(mode="json")}) as folder:
        write_record(folder / EVALUATION_FILE, evaluation)
        write_jsonl(folder / ANSWERS_FILE, _plain(found.answers))
        write_jsonl(folder / OUTCOMES_FILE, _plain(found.outcomes))
        write_jsonl(folder / TEACHER_OUTCOMES_FILE, _plain(found.of_teacher))
        markdown = to_markdown(evaluation, found.answers)
        (folder / MARKDOWN_FILE).write_text(markdown, encoding="utf-8", newline="\n")
        write_junit(folder / JUNIT_FILE, evaluation, found.outcomes)
    write_report(workspace.root)


def _plain(records: Sequence[Answer | TestOutcome]) -> list[dict[str, object]]:
    return [record.model_dump(mode="json") for record in records]

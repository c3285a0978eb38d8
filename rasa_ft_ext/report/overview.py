"""What the report says first: what the data is, in a sentence, the verdicts, and what a person should know of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from rasa_ft_ext.errors import WorkspaceError
from rasa_ft_ext.report import coverage, evaluation, findings, monitoring, reviewed
from rasa_ft_ext.report.figures import DataFigures, read_figures
from rasa_ft_ext.report.sections import Headline, Section, section
from rasa_ft_ext.report.words import count
from rasa_ft_ext.report.words import number_of as _of

HEADLINES: tuple[Callable[[Path], Headline | None], ...] = (
    coverage.headline,
    findings.headline,
    evaluation.headline,
    monitoring.headline,
)
_KINDS = {"commands": "command", "flows": "flow", "slots": "slot"}


def sections(output: Path) -> Iterator[Section]:
    """The summary of the prepared data, if there is any."""
    found = read_figures(output)
    if found is None:
        return
    yield section(
        "glance",
        "At a glance",
        "data.summary",
        sentence=_sentence(found),
        headlines=list(_headlines(output)),
        worries=(*_worries(found), *reviewed.worries(output)),
        notes=(*found.notes, *_review(found)),
    )


def _headlines(output: Path) -> Iterator[Headline]:
    """The verdicts that there are; a file that cannot be read is told by the section that shows it."""
    for headline in HEADLINES:
        try:
            found = headline(output)
        except WorkspaceError:
            continue
        if found is not None:
            yield found


def _sentence(found: DataFigures) -> str:
    tests = f"{_of(found.annotated.passed, 'E2E test')} that passed" if found.annotated else "the E2E tests"
    if found.divided is not None:
        total = found.divided.train_examples + found.divided.val_examples
        train, validation = count(found.divided.train_examples), count(found.divided.val_examples)
        return f"{_of(total, 'example')} of {tests}: {train} to train on and {validation} to validate with."
    if found.made is not None:
        return f"{_of(found.made.examples, 'example')} of {tests}; not yet split."
    if found.rephrased is not None:
        return f"{_of(found.rephrased.passing, 'passing rephrasing')} of {tests}; no examples yet."
    annotated = found.annotated.annotated if found.annotated else 0
    return f"{_of(annotated, 'annotated user message')} of {tests}; no rephrasings yet."


def _review(found: DataFigures) -> Iterator[str]:
    """What a person decided of the data."""
    if found.made and found.made.review:
        parts = [f"{count(number)} {what}" for what, number in found.made.review.items() if number]
        yield f"Decisions of the review: {', '.join(parts)}."


def _worries(found: DataFigures) -> Iterator[str]:
    """What is wrong or missing in the data; everything else is in the sections below."""
    yield from found.stale
    if found.annotated and found.annotated.failed:
        number = len(found.annotated.failed)
        yield f"{_of(number, 'E2E test')} failed and {_verb(number)} no data; the reasons stand below."
    if found.rephrased and found.rephrased.failed_calls:
        yield f"{_of(found.rephrased.failed_calls, 'call')} of an LLM failed, so there are fewer rephrasings."
    if found.made:
        if found.made.unreadable:
            yield (
                f"{_of(len(found.made.unreadable), 'label')} left out: the assistant does not read them back as the "
                "same commands."
            )
        if found.made.contradictions:
            yield (
                f"{_of(len(found.made.contradictions), 'prompt')} with several examples that have different commands: "
                "a model can learn one of them only."
            )
        if found.made.review_misfits:
            number = len(found.made.review_misfits)
            yield f"{_of(number, 'decision')} of the review not applied: {' '.join(found.made.review_misfits[:3])}"
    if found.divided:
        for kind, names in found.divided.missing_in_train.items():
            number = len(names)
            yield f"{_of(number, _KINDS.get(kind, kind))} missing from the training data: {', '.join(names)}."
        if not found.divided.val_examples:
            yield "There is no validation data, so nothing can be measured on it."


def _verb(number: int) -> str:
    return "gives" if number == 1 else "give"

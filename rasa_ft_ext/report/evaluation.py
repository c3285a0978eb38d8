"""What the report shows of an evaluation: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rasa_ft_ext.evaluation import (
    EVALUATION_FILE,
    Answer,
    Evaluation,
    Side,
    TestOutcome,
    read_answers,
    read_evaluation,
    read_outcomes,
)
from rasa_ft_ext.report.sections import Headline, Section, section
from rasa_ft_ext.report.words import COMMAND_ROWS
from rasa_ft_ext.workspace import EVALUATION

ANCHOR = "verdict"
GROUP = "Evaluation"
SIDES: tuple[Side, ...] = ("validation", "train")
_OPEN = 10  # failed tests and wrong answers of a side; more are folded
_MOST = 200  # wrong answers of a side; more are in answers.jsonl


def sections(output: Path) -> Iterator[Section]:
    """The sections of an evaluation, if there is one."""
    if not (output / EVALUATION / EVALUATION_FILE).is_file():
        return
    found = read_evaluation(output)
    yield section(ANCHOR, "Verdict", "evaluation.verdict", group=GROUP, found=found, bars=_bars(found))
    if found.conversations:
        outcomes = read_outcomes(output)
        yield section(
            "conversations",
            "E2E tests",
            "evaluation.conversations",
            group=GROUP,
            found=found,
            sides=SIDES,
            failed=_failed(outcomes),
            open=_OPEN,
        )
    if found.comparison:
        yield section(
            "teacher", "Against the teacher", "evaluation.teacher", group=GROUP, found=found, sides=SIDES, open=_OPEN
        )
    if found.commands:
        sides = [side for side in SIDES if side in found.commands]
        yield section(
            "commands", "Commands", "evaluation.commands", group=GROUP, found=found, sides=sides, rows=COMMAND_ROWS
        )
        wrong = _wrong(read_answers(output))
        yield section(
            "answers", "Wrong answers", "evaluation.answers", group=GROUP, wrong=wrong, most=_MOST, open=_OPEN
        )
    yield section("parity", "Parity", "evaluation.parity", group=GROUP, found=found)
    yield section("subject", "What was evaluated", "evaluation.subject", group=GROUP, found=found)


def headline(output: Path) -> Headline | None:
    """The answer at the top of the page, if there is an evaluation."""
    if not (output / EVALUATION / EVALUATION_FILE).is_file():
        return None
    verdict = read_evaluation(output).verdict
    return Headline("May the model replace the LLM?", verdict.sentence, verdict.passed, ANCHOR)


def _bars(found: Evaluation) -> list[tuple[str, object, float | None]]:
    """The figures at the top: what they are called, the figure, and the threshold if there is one."""
    asked = found.thresholds
    bars: list[tuple[str, object, float | None]] = []
    for side, threshold in (("validation", asked.min_validation), ("train", asked.min_train)):
        if side in found.conversations:
            bars.append((f"E2E tests passed, {side}", found.conversations[side].rate, threshold))
    for side in SIDES:
        if side in found.commands:
            threshold_of_side = asked.min_accuracy if side == "validation" else None
            bars.append((f"Command accuracy, {side}", found.commands[side].exact_match, threshold_of_side))
    return bars


def _failed(outcomes: Sequence[TestOutcome]) -> dict[str, list[tuple[str, int, int, str]]]:
    """By side the tests that failed: name, failed runs, runs, and the first reason."""
    failed: dict[str, list[tuple[str, int, int, str]]] = {}
    for side in SIDES:
        runs: dict[str, list[TestOutcome]] = {}
        for outcome in outcomes:
            if outcome.side == side:
                runs.setdefault(outcome.id, []).append(outcome)
        for test, of_test in runs.items():
            bad = [outcome for outcome in of_test if not outcome.passed]
            if bad:
                failed.setdefault(side, []).append((test, len(bad), len(of_test), bad[0].reason or ""))
    return failed


def _wrong(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    return {
        side: [answer for answer in answers if answer.side == side and not answer.right]
        for side in SIDES
        if any(answer.side == side for answer in answers)
    }

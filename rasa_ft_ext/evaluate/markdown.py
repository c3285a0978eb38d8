"""The evaluation as Markdown, to be put under a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rasa_ft_ext.evaluate.verdict import SIDES
from rasa_ft_ext.evaluation import Answer, CommandFigures, Evaluation, KindFigures, OutcomeTurn
from rasa_ft_ext.report.words import COMMAND_ROWS, percent, shown

_WRONG = 20
_LONGEST_TEXT = 160


def to_markdown(evaluation: Evaluation, answers: Sequence[Answer]) -> str:
    """The whole text."""
    return "\n".join([*_head(evaluation), *_conversations(evaluation), *_commands(evaluation), *_wrong(answers), ""])


def _head(evaluation: Evaluation) -> Iterator[str]:
    subject, problems = evaluation.subject, evaluation.verdict.problems
    yield f"# Evaluation of {text(subject.model)}"
    yield ""
    yield f"**{text(evaluation.verdict.sentence)}**"
    yield ""
    yield from (f"- {text(problem)}" for problem in problems)
    yield from (f"- Note: {text(note)}" for note in evaluation.notes)
    yield from [""] * bool(problems or evaluation.notes)
    if evaluation.parity is not None and not evaluation.parity.problems:
        found = evaluation.parity
        yield (
            f"Parity: on {found.prompts} prompts the served model says what the model folder's says; log "
            f"probabilities differ by at most {found.largest_difference:.2g} ({found.allowed:g} is allowed in "
            f"{found.dtype})."
        )
        yield ""


def _conversations(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.conversations:
        return
    yield "## E2E tests"
    yield ""
    rows = []
    for side in SIDES:
        for who, rates in (("model", evaluation.conversations), ("teacher", evaluation.teacher)):
            if side in rates:
                rate = rates[side]
                rows.append([side, who, str(rate.tests), str(rate.repeats), shown(rate.rate), percent(rate.noise)])
    yield from table(["side", "answers", "tests", "runs", "pass rate (95 %)", "changes between runs"], rows)
    for side in SIDES:
        if side in evaluation.comparison:
            yield text(evaluation.comparison[side].sentence)
            yield ""
    if evaluation.differing_turns:
        yield "<details><summary>Where model and teacher part</summary>"
        yield ""
        turns = [
            [turn.test, turn.message, _said(turn.model), _said(turn.teacher)] for turn in evaluation.differing_turns
        ]
        yield from table(["test", "message", "model", "teacher"], turns)
        yield "</details>"
        yield ""


def _said(turn: OutcomeTurn | None) -> str:
    if turn is None:
        return "(the test was over)"
    return turn.answer if turn.answer is not None else "(not asked)"


def _commands(evaluation: Evaluation) -> Iterator[str]:
    sides = [side for side in SIDES if side in evaluation.commands]
    if not sides:
        return
    yield "## Commands"
    yield ""
    rows = [[name, *(of(evaluation.commands[side]) for side in sides)] for name, of in COMMAND_ROWS.items()]
    yield from table(["", *sides], rows)
    for title, kinds in _tables(evaluation.commands[sides[0]]):
        yield f"By {title}, {sides[0]}:"
        yield ""
        yield from table(
            [title, "expected", "precision", "recall", "F1"],
            [[name, str(k.support), shown(k.precision), shown(k.recall), shown(k.f1)] for name, k in kinds.items()],
        )


def _tables(figures: CommandFigures) -> Iterator[tuple[str, dict[str, KindFigures]]]:
    named = (("command", figures.by_command), ("flow", figures.by_flow), ("slot", figures.by_slot))
    return ((title, kinds) for title, kinds in named if kinds)


def _wrong(answers: Sequence[Answer]) -> Iterator[str]:
    wrong = [answer for answer in answers if not answer.right and answer.side == "validation"]
    if not wrong:
        return
    more = f", the first {_WRONG}" if len(wrong) > _WRONG else ""
    yield f"<details><summary>{len(wrong)} wrong answers to validation examples{more}</summary>"
    yield ""
    yield from table(
        ["example", "expected", "answered", "why"],
        [
            [answer.row, answer.expected, answer.answered, answer.error or answer.reason or ""]
            for answer in wrong[:_WRONG]
        ],
    )
    yield "</details>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table, with an empty line after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(text(cell) for cell in row)} |"
    yield ""


def text(value: str) -> str:
    """Text of others in one line of Markdown: what would be markup is shown as it is."""
    shortened = value if len(value) <= _LONGEST_TEXT or "\n" not in value else value[:_LONGEST_TEXT] + "..."
    for character in "\\`*_[]|~#":
        shortened = shortened.replace(character, f"\\{character}")
    escaped = shortened.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "<br>".join(escaped.split("\n"))

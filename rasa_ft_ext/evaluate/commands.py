"""The examples of `split` against the served model: what it answers, how well that fits, how long it takes.

    asked = find_examples(workspace)
    answered = await ask(asked["validation"], llm, concurrency=16)
    figures, answers = measure(answered, syntax="v2", flows=["book_car"], price=(0.0, 0.0))

A call that gives no answer counts as a wrong one and is named; only when nobody answers at all it is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.evaluate.intervals import grouped, groups_of_tests, kinds, share_of
from rasa_ft_ext.evaluation import Answer, CommandFigures, Figure, Side
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.rows import TRAIN_ROWS, VALIDATION_ROWS, Row, read_rows
from rasa_ft_ext.scores import Comparison, compare, summarize
from rasa_ft_ext.workspace import SPLIT, Workspace

Prices = tuple[float, float]
"""What 1,000 tokens cost: of prompts, and of answers."""

FILES: dict[Side, str] = {"validation": VALIDATION_ROWS, "train": TRAIN_ROWS}


@dataclass(frozen=True)
class Asked:
    """One example to ask, the test that it comes from, and that test's group; None where they are not known."""

    row: Row
    side: Side
    test: str | None
    group: str | None


@dataclass(frozen=True)
class Answered:
    """What came of asking: the text and the tokens, or an error in their place, and the seconds that it took."""

    asked: Asked
    text: str
    usage: Usage
    seconds: float
    error: str | None = None


def find_examples(workspace: Workspace) -> dict[Side, list[Asked]]:
    """The rows of both sides; a row that a user has added or changed comes from no known test.

    Raises:
        WorkspaceError: a stage before has not been run.
        ConfigError: rows cannot be read.
    """
    groups = conversation_groups(workspace)
    tests = {(example.prompt, example.completion): example.test for example in workspace.examples()}
    found: dict[Side, list[Asked]] = {}
    for side, name in FILES.items():
        rows = read_rows(workspace.folder(SPLIT) / name, may_be_empty=True)
        of_rows = [tests.get((row.prompt, row.completion)) for row in rows]
        found[side] = [
            Asked(row, side, test, groups[test] if test is not None else None)
            for row, test in zip(rows, of_rows, strict=True)
        ]
    return found


def conversation_groups(workspace: Workspace) -> Mapping[str, str]:
    """The group of each test that gave an example: tests with an example in common depend on each other."""
    return groups_of_tests((example.test, example.also_in) for example in workspace.examples())


async def ask(
    examples: Sequence[Asked], llm: LLM, *, concurrency: int, done: Callable[[], None] = lambda: None
) -> list[Answered]:
    """Ask the model all examples, so many at a time; the answers come in the examples' order.

    Raises:
        LLMUnavailableError: nobody answers at the address.
        LLMError: not one call gave an answer.
    """

    async def one(example: Asked) -> Answered:
        start = time.perf_counter()
        try:
            completion = await llm.complete(example.row.prompt)
        except LLMUnavailableError:
            raise
        except LLMAnswerError as error:
            return Answered(example, "", Usage(), time.perf_counter() - start, str(error))
        except LLMError as error:
            failures.append(error)
            return Answered(example, "", Usage(), time.perf_counter() - start, str(error))
        return Answered(example, completion.text, completion.usage, time.perf_counter() - start)

    failures: list[LLMError] = []
    answers = await in_order(examples, one, limit=concurrency, done=done)
    if failures and len(failures) == len(examples):
        raise LLMError(f"Not one of {len(examples)} calls gave an answer. The first error: {failures[0]}")
    return answers


def measure(
    answered: Sequence[Answered], *, syntax: Syntax, flows: Collection[str], price: Prices
) -> tuple[CommandFigures, list[Answer]]:
    """Compare the answers with what was expected.

    Args:
        answered: The answers of one side, at least one.
        syntax: The syntax of expected and answered commands.
        flows: The flows that a user can start; without any, none is dropped from an answer.
        price: What 1,000 tokens cost, of prompts and of answers.
    """
    compared = [compare(entry.asked.row.completion, entry.text, syntax, flows or None) for entry in answered]
    groups = grouped(
        (entry.asked.group or entry.asked.row.name, each) for entry, each in zip(answered, compared, strict=True)
    )
    by_command = kinds(groups, "command")
    everything = kinds(groups, "all").get("all")
    seconds = [entry.seconds for entry in answered]
    prompt_tokens = sum(entry.usage.prompt_tokens for entry in answered)
    completion_tokens = sum(entry.usage.completion_tokens for entry in answered)
    figures = CommandFigures(
        examples=len(answered),
        conversations=len(groups),
        exact_match=share_of(groups, lambda each: [each.exact]),
        unparsable=share_of(groups, lambda each: [each.unparsable]),
        slot_value_accuracy=share_of(groups, lambda each: each.same_values),
        micro_f1=everything.f1 if everything else Figure(),
        macro_f1=Figure(value=summarize(compared).macro_f1),
        by_command=by_command,
        by_flow=kinds(groups, "flow"),
        by_slot=kinds(groups, "slot"),
        failed_calls=sum(entry.error is not None for entry in answered),
        seconds_p50=percentile(seconds, 50),
        seconds_p95=percentile(seconds, 95),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        price=(prompt_tokens * price[0] + completion_tokens * price[1]) / 1000,
    )
    return figures, [_answer(entry, each) for entry, each in zip(answered, compared, strict=True)]


def _answer(entry: Answered, compared: Comparison) -> Answer:
    return Answer(
        row=entry.asked.row.name,
        side=entry.asked.side,
        test=entry.asked.test,
        expected=entry.asked.row.completion,
        answered=entry.text,
        right=compared.exact,
        reason=compared.reason,
        error=entry.error,
        seconds=round(entry.seconds, 6),
    )


def percentile(seconds: Sequence[float], percent: int) -> float:
    """What so many percent of the values are at or below, between neighbours in proportion."""
    if len(seconds) < 2:
        return seconds[0]
    return quantiles(seconds, n=100, method="inclusive")[percent - 1]

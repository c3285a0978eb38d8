"""Run E2E tests beside each other, and those that failed once more, alone.

Custom actions may share a file or a database, so that a test fails only because of what runs beside it. Such a failure
says nothing of the test; the one that it has alone counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.progress import Progress

BESIDE = "Running E2E tests"
AGAIN = "Running failed tests again, alone"

Test = TypeVar("Test")
Outcome = TypeVar("Outcome")


async def run_beside_then_alone(
    tests: Sequence[Test],
    run: Callable[[Test], Awaitable[Outcome]],
    *,
    again: Callable[[Test, Outcome], Awaitable[Outcome]],
    failed: Callable[[Outcome], bool],
    concurrency: int,
    progress: Progress,
    what: str = BESIDE,
) -> list[Outcome]:
    """Run all tests; return their outcomes in their order.

    Args:
        tests: The tests.
        run: Runs one.
        again: Runs one alone, after this outcome. Not called where tests run one by one anyway.
        failed: Whether an outcome is a failure.
        concurrency: How many run at a time.
        progress: Is told how far it is, and how many failed only beside others.
        what: What is done, for the progress.
    """
    progress.start(what, len(tests))
    outcomes = await in_order(tests, run, limit=concurrency, done=progress.step)
    places = [index for index, outcome in enumerate(outcomes) if failed(outcome)]
    if concurrency == 1 or not places:
        return outcomes
    progress.start(AGAIN, len(places))
    alone = await in_order(
        [(tests[index], outcomes[index]) for index in places], lambda pair: again(*pair), limit=1, done=progress.step
    )
    for index, outcome in zip(places, alone, strict=True):
        outcomes[index] = outcome
    tell_of_flaky(progress, sum(not failed(outcome) for outcome in alone))
    return outcomes


def tell_of_flaky(progress: Progress, passed: int) -> None:
    """Tell how many tests failed only beside others, if any did."""
    if passed:
        progress.note(f"{passed} tests failed beside others and passed alone; they may share a file or a database.")

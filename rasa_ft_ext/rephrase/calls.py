"""Many calls to an LLM of which some may fail, and a stop where none gets through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.progress import Progress

Job = TypeVar("Job")
Result = TypeVar("Result")

_HOPELESS = 50  # so many calls in which nobody answered, and none that got through


async def call_all(
    jobs: Sequence[Job], call: Callable[[Job], Awaitable[Result]], *, concurrency: int, progress: Progress
) -> list[Result | LLMError]:
    """Make one call for each job, at most `concurrency` at a time.

    Returns:
        The results in the order of the jobs; for a call that failed, its error.

    Raises:
        LLMUnavailableError: not a single call got through, and at least one found nobody there.
    """
    unavailable: list[LLMUnavailableError] = []
    got_through = False

    async def attempt(job: Job) -> Result | LLMError:
        nonlocal got_through
        try:
            result = await call(job)
        except LLMError as error:
            got_through = got_through or isinstance(error, LLMAnswerError)
            if isinstance(error, LLMUnavailableError):
                unavailable.append(error)
            if len(unavailable) >= _HOPELESS and not got_through:
                raise
            return error
        got_through = True
        return result

    results = await in_order(jobs, attempt, limit=max(concurrency, 1), done=progress.step)
    if unavailable and not got_through:
        raise unavailable[0]
    return results

"""A rephraser of which nothing can be read is given up early, not after all is paid for."""

from __future__ import annotations

from collections.abc import Iterable

from rasa_ft_ext.errors import LLMAnswerError, LLMError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.rephrase.counts import Counts
from rasa_ft_ext.rephrase.one import Outcome

ENOUGH = 20
"""So many conversations without a single wording, and the rephraser is given up."""

_EXCERPT = 300


class HopelessError(Exception):
    """Nothing will come of the run; `error` is what the user is told."""

    def __init__(self, error: LLMError) -> None:
        super().__init__(str(error))
        self.error = error


class Hope:
    """What came of the conversations so far; of an earlier run, what is kept of them."""

    def __init__(self, before: Iterable[Counts]) -> None:
        found = list(before)
        self._asked = sum(counts.asked for counts in found)
        self._worded = sum(counts.worded for counts in found)
        self._answered = 0
        self._first: Completion | None = None
        self._error: LLMError | None = None

    def note(self, outcome: Outcome) -> None:
        """Count one conversation.

        Raises:
            HopelessError: enough was asked to say that nothing will come.
        """
        self._asked += outcome.counts.asked
        self._worded += outcome.counts.worded
        if isinstance(outcome.said, Completion):
            self._answered += 1
            self._first = self._first or outcome.said
        elif outcome.said is not None:
            self._error = self._error or outcome.said
        if self._asked >= ENOUGH:
            self.check()

    def check(self) -> None:
        """Refuse a run without a single wording.

        Raises:
            HopelessError: something was asked, and no wording came.
        """
        if self._worded or not self._asked:
            return
        if self._first is None:
            why = f" The first one: {self._error}" if self._error else ""
            raise HopelessError(LLMError(f"All {self._asked} calls to the rephraser failed.{why}"))
        raise HopelessError(
            LLMAnswerError(
                f"No rephrasing could be read from what the rephraser said ({self._answered} of {self._asked} calls "
                "were answered). Name a more capable LLM or another prompt template with --rephrase-config, or go on "
                f"without rephrasings with --num-rephrases 0. The first answer begins: {self._first.text[:_EXCERPT]!r}"
            )
        )

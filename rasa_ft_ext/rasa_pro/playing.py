"""Runs of E2E tests that are to be judged: with another LLM in the command generator's place, and a second time.

A test that failed beside others is played again alone, to see whether they were in its way. What the LLM said the
first time it does not say anew: where the prompt is the same, so is the answer. Else a model whose answers vary would
get a second throw of the dice for every test that it failed.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from rasa.shared.exceptions import ProviderClientAPIException

from rasa_ft_ext.assistant.base import Played
from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.evaluation import OutcomeTurn
from rasa_ft_ext.llm.base import LLM
from rasa_ft_ext.rasa_pro.llm_errors import as_llm_error
from rasa_ft_ext.rasa_pro.recording import failure_reason
from rasa_ft_ext.rasa_pro.run import Call, Run, RunTurn
from rasa_ft_ext.rasa_pro.suite import SuiteTest
from rasa_ft_ext.rasa_pro.translate import parsed


@dataclass(frozen=True)
class _Trace:
    """What another run of the test is to repeat: answers by prompt, and the time that each turn's prompt showed."""

    calls: dict[str, Call]
    clocks: list[Any]


def run_of(test: SuiteTest) -> Run:
    """A run of the test, over as soon as nobody answers."""
    run = Run(sender_id=f"{test.case.name}_{uuid.uuid4().hex}", name=test.id, stubs=test.stubs)
    run.is_over = lambda: unavailable(run) is not None
    return run


def run_with(test: SuiteTest, llm: LLM | None, template: str | None, again: Played | None) -> Run:
    """A run with another LLM or template, to be judged; it knows what was said the first time."""
    run = run_of(test)
    run.llm, run.template, run.blanking, run.judged = llm, template, False, True
    trace: _Trace | None = again.trace if again is not None else None
    if trace is not None:
        run.known = trace.calls
        run.times = trace.clocks + [None] * len(test.raw["steps"])
    return run


def unavailable(run: Run) -> Exception | None:
    """Why it is no use to go on, if one of the run's calls found that: nobody answers, or no answer can be kept."""
    error = run.failure or _llm_error(run)
    return error if run.failure is not None or isinstance(error, LLMUnavailableError) else None


def played(run: Run, result: Any) -> Played:
    """What came of a finished run, by the result that Rasa's test runner gives it."""
    calls = [turn.call for turn in run.turns]
    answered = [call for call in calls if call is not None and call.prompt and call.error is None]
    trace = _Trace(
        {call.prompt: Call(answer=call.answer, usage=call.usage, latency=call.latency) for call in answered},
        [call.variables.get("current_datetime") if call is not None else None for call in calls],
    )
    reason = reason_of(run, result)
    return Played(
        turns=tuple(_turn(turn) for turn in run.turns),
        seconds=tuple(call.latency for call in answered),
        reason=reason,
        error=_llm_error(run),
        trace=trace if reason is not None else None,
    )


def reason_of(run: Run, result: Any) -> str | None:
    """Why a finished run counts as failed: a call, the command generator, or what the test expects; None: it passed."""
    failures = _failures(run)
    if failures:
        error = _llm_error(run) or f"the command generator failed: {type(failures[0]).__name__}: {failures[0]}"
        return str(error)
    return None if result.pass_status else failure_reason(result)


def _turn(turn: RunTurn) -> OutcomeTurn:
    call = turn.call
    if call is None or not call.prompt or call.error is not None:
        return OutcomeTurn(message=turn.text)
    return OutcomeTurn(message=turn.text, answer=call.answer, commands=parsed(call.commands))


def _llm_error(run: Run) -> LLMError | None:
    """The first failure of an LLM call; what else fails in a command generator is the test's own failure."""
    calls = (error for error in _failures(run) if isinstance(error, ProviderClientAPIException))
    first = next(calls, None)
    return as_llm_error(first) if first is not None else None


def _failures(run: Run) -> list[Exception]:
    return [turn.call.error for turn in run.turns if turn.call is not None and turn.call.error is not None]

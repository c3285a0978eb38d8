"""The limits of one server: how many calls at a time, how many a minute, when to wait, and when to give up.

    lane = Lane("gpt-4.1 at api.openai.com", ceiling=16)
    async with lane.call(tokens=1200) as call:
        ...
        call.answered()                     # or call.failed(fault)

How many calls may be under way is found out (AIMD: additive increase, multiplicative decrease). It begins with one;
once that is answered, up to `_FIRST`, and one more with every third answer until the server throttles for the first
time. From then on it is a quarter less for every burst of refusals (calls that were under way before the last decrease
say nothing new), and one more after 80 answers near the limit that was too much; sooner where that is far off, or is
left behind because the server takes more again.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.llm.faults import Fault, Policy

_FIRST = 32
_OPENING = 3  # answers for one more, as long as nothing was refused
_NEAR, _BELOW, _BEYOND = 80, 4, 6  # the same near the limit that was too much last, below it, beyond it
_DECREASE = 0.75
_MOST_REFUSED = 3  # requests in a row, before any was answered, until none of them can be right
_FAILING = 10  # calls without an answer in between, before the server as a whole is given up, and not they alone
_LONGEST_PAUSE = 600.0  # seconds that a server may ask to wait
_MOST_PAUSES = 10  # pauses in a row after which a server throttles all the same, before it is given up
_MINUTE = 60.0

Sleep = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Rates:
    """What may be asked of one server within any 60 seconds; None: as much as it takes."""

    requests: int | None = None
    tokens: int | None = None


class Lane:
    """See the module.

    Args:
        who: The server, for messages.
        ceiling: How many calls may be under way at most.
        rates: What may be asked within a minute.
        policy: How long to go on where calls fail.
        sleep: Waits so many seconds.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        who: str,
        *,
        ceiling: int = 16,
        rates: Rates | None = None,
        policy: Policy | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        rates = rates or Rates()
        self.who = who
        self.answers = 0
        self._ceiling = ceiling
        self._policy = policy or Policy()
        self._sleep = sleep
        self._clock = clock
        self._slots = anyio.CapacityLimiter(1)
        self._requests = _Window(rates.requests, sleep, clock)
        self._tokens = _Window(rates.tokens, sleep, clock)
        self._answers_at_limit = 0
        self._throttled = False
        self._too_much = 0  # the limit when it was throttled last
        self._decreases = 0
        self._in_vain = 0  # decreases since the last answer
        self._failing: set[int] = set()  # calls that failed since the last answer
        self._failing_since = 0.0
        self._pauses = 0  # since the last answer
        self._refused = 0
        self._quiet_since = 0.0
        self._paused_until = 0.0
        self._given_up: LLMUnavailableError | None = None

    @property
    def limit(self) -> int:
        """How many calls may be under way now."""
        return int(self._slots.total_tokens)

    @asynccontextmanager
    async def call(self, number: int, tokens: int = 0) -> AsyncIterator[OneCall]:
        """Wait until a call may be made, and hold its place.

        Args:
            number: Tells the calls apart; all attempts at one have the same.
            tokens: How many tokens it will take, as far as that is known.

        Raises:
            LLMUnavailableError: the server has been given up.
        """
        holder = object()
        await self._slots.acquire_on_behalf_of(holder)
        try:
            await self._requests.wait(1)
            await self._tokens.wait(tokens)
            await self._pause()
            if self._given_up is not None:
                raise self._given_up
            if self._slots.borrowed_tokens == 1 and not self._failing:
                self._quiet_since = self._clock()
            yield OneCall(self, number, self._decreases)
        finally:
            self._slots.release_on_behalf_of(holder)

    async def _pause(self) -> None:
        until = 0.0
        while until < self._paused_until and self._given_up is None:
            until = self._paused_until
            if (seconds := until - self._clock()) > 0:
                await self._sleep(seconds)

    def note_answer(self) -> None:
        is_full = self._slots.statistics().tasks_waiting > 0 or self._slots.available_tokens <= 0
        self.answers += 1
        self._refused = self._in_vain = self._pauses = 0
        self._failing.clear()
        self._quiet_since = self._clock()
        if not is_full:
            return
        self._answers_at_limit += 1
        if self.answers == 1 and not self._throttled:
            self._set(_FIRST)
        elif self._answers_at_limit >= self._needed():
            self._set(self.limit + 1)

    def _needed(self) -> int:
        if not self._throttled:
            return _OPENING
        if self.limit < _DECREASE * 1.2 * self._too_much:
            return _BELOW
        return _NEAR if self.limit < self._too_much else _BEYOND

    def note_fault(self, fault: Fault, number: int, decreases_at_start: int) -> None:
        if fault.kind == "answer":
            return  # the server works
        if not self._failing:
            self._failing_since = self._clock()
        self._failing.add(number)
        if fault.kind == "throttled":
            self._throttle(fault, is_new=decreases_at_start == self._decreases)
        if fault.kind == "request":
            self._refused += 1
        self._judge(fault)

    def _throttle(self, fault: Fault, *, is_new: bool) -> None:
        self._throttled = True
        if is_new:
            self._decreases += 1
            self._in_vain += 1
            self._too_much = self.limit
            self._set(int(self.limit * _DECREASE))
        pause = fault.retry_after
        if pause is None and self._in_vain > 1 and self.limit == 1:
            pause = min(self._policy.first_wait * 2.0 ** (self._in_vain - 2), self._policy.longest_wait)
        if pause is not None and pause <= _LONGEST_PAUSE:
            self._pauses += self._clock() >= self._paused_until
            self._quiet_since = max(self._quiet_since, self._clock() + pause)
            self._paused_until = max(self._paused_until, self._clock() + pause)

    def _judge(self, fault: Fault) -> None:
        """Give the server up where it is no use to go on."""
        quiet, failing = self._clock() - self._quiet_since, self._clock() - self._failing_since
        if fault.kind == "fatal" or (fault.kind == "unreachable" and not self.answers):
            self._give_up(str(fault.error), fault.error)
        elif self._refused >= _MOST_REFUSED and not self.answers:
            self._give_up(f"{fault.error} So it was with the first {self._refused} requests.", fault.error)
        elif (fault.retry_after or 0) > _LONGEST_PAUSE:
            self._give_up(
                f"{self.who} asks to wait {fault.retry_after:.0f} seconds, as its quota is used up. Run the same "
                "command again after that: it goes on from here.",
                fault.error,
            )
        elif fault.kind == "throttled" and self._pauses > _MOST_PAUSES and failing > self._policy.patience:
            self._give_up(
                f"{self.who} has let nothing through for {failing:.0f} seconds, however long it was left alone; the "
                f"last call: {fault.error} Run the same command again later: it goes on from here.",
                fault.error,
            )
        elif quiet > self._policy.patience and len(self._failing) >= max(2, min(_FAILING, self._ceiling)):
            self._give_up(
                f"Nothing has got through to {self.who} for {quiet:.0f} seconds; the last call: {fault.error} Run the "
                "same command again when the server works: it goes on from here.",
                fault.error,
            )

    def _give_up(self, message: str, cause: LLMError) -> None:
        if self._given_up is None:
            self._given_up = LLMUnavailableError(message)
            self._given_up.__cause__ = cause

    @property
    def given_up(self) -> LLMUnavailableError | None:
        """Why no call will be made any more, if so."""
        return self._given_up

    def _set(self, limit: int) -> None:
        limit = max(1, min(limit, self._ceiling))
        if limit != self.limit:
            self._slots.total_tokens = limit
            self._answers_at_limit = 0


class OneCall:
    """A place in the lane: whoever holds it says how the call ended."""

    def __init__(self, lane: Lane, number: int, decreases: int) -> None:
        self._lane = lane
        self._number = number
        self._decreases = decreases

    def answered(self) -> None:
        self._lane.note_answer()

    def failed(self, fault: Fault) -> None:
        self._lane.note_fault(fault, self._number, self._decreases)


class _Window:
    """So much within any 60 seconds; those who wait are served in their order."""

    def __init__(self, most: int | None, sleep: Sleep, clock: Clock) -> None:
        self._most = most
        self._sleep = sleep
        self._clock = clock
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._turn = asyncio.Lock()

    async def wait(self, amount: int) -> None:
        if self._most is None:
            return
        amount = min(amount, self._most)  # what is more than a minute's worth goes alone
        async with self._turn:
            while True:
                now = self._clock()
                while self._spent and self._spent[0][0] <= now - _MINUTE:
                    self._sum -= self._spent.popleft()[1]
                if self._sum + amount <= self._most:
                    break
                await self._sleep(self._spent[0][0] + _MINUTE - now)
            self._spent.append((self._clock(), amount))
            self._sum += amount

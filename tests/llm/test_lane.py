"""How many calls a lane lets through: it finds out what a server takes, waits where asked to, and gives up in time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rasa_ft_ext.errors import LLMError, LLMUnavailableError
from rasa_ft_ext.llm.faults import Fault, Kind, Policy
from rasa_ft_ext.llm.lane import Lane, Rates


class Time:
    """A clock that goes on when somebody sleeps, and only then; the others have their turn before it does."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(round(seconds, 3))
        self.now += seconds
        await asyncio.sleep(0)


def lane(time: Time, *, ceiling: int = 16, policy: Policy | None = None, **rates: int) -> Lane:
    return Lane("m at x", ceiling=ceiling, rates=Rates(**rates), policy=policy, sleep=time.sleep, clock=time.clock)


def fault(kind: Kind, retry_after: float | None = None) -> Fault:
    return Fault(kind, LLMError(f"it was {kind}."), retry_after)


async def waves(found: Lane, capacities: Sequence[int]) -> list[tuple[int, int]]:
    """Calls in waves to a server that takes so many at a time: for each wave, how many got through and how many not."""
    told: list[tuple[int, int]] = []
    ended, numbers = asyncio.Event(), iter(range(1_000_000))
    state: dict[str, Any] = {"in": 0, "capacity": 0, "through": 0, "refused": 0}

    async def worker() -> None:
        while True:
            async with found.call(next(numbers)) as call:
                if state["in"] >= state["capacity"]:
                    state["refused"] += 1
                    for _ in range(5):  # a refusal is on its way for a moment, too
                        await asyncio.sleep(0)
                    call.failed(fault("throttled"))
                else:
                    state["in"] += 1
                    state["through"] += 1
                    await ended.wait()
                    call.answered()
            await asyncio.sleep(0)

    workers = [asyncio.create_task(worker()) for _ in range(100)]
    for capacity in capacities:
        state.update({"in": 0, "capacity": capacity, "through": 0, "refused": 0})
        for _ in range(50):  # turns of the loop: everybody who can has begun
            await asyncio.sleep(0)
        told.append((state["through"], state["refused"]))
        before, ended = ended, asyncio.Event()
        before.set()
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    return told


async def test_begins_with_one_call_and_opens_up_when_it_is_answered() -> None:
    found = lane(Time(), ceiling=64)
    assert [through for through, _ in await waves(found, [100] * 5)] == [1, 32, 42, 56, 64]


async def test_settles_below_what_a_server_takes_with_few_refusals() -> None:
    found = lane(Time(), ceiling=64)
    told = await waves(found, [32] * 100)
    through, refused = (sum(entry[place] for entry in told[3:]) for place in (0, 1))
    assert through > 0.85 * 32 * 97
    assert refused < 0.03 * through


async def test_follows_a_server_that_takes_less_and_then_more() -> None:
    found = lane(Time(), ceiling=64)
    told = await waves(found, [32] * 40 + [12] * 40 + [32] * 40)
    assert sum(through for through, _ in told[45:80]) > 0.75 * 12 * 35
    assert sum(through for through, _ in told[90:]) > 0.85 * 32 * 30


async def test_a_burst_of_refusals_counts_once() -> None:
    found = lane(Time(), ceiling=16)
    await waves(found, [16] * 3)
    assert found.limit == 16
    async with asyncio.timeout(1):
        calls = [found.call(number) for number in range(16)]
        held = [await call.__aenter__() for call in calls]
        for call in held:
            call.failed(fault("throttled"))
        for call in calls:
            await call.__aexit__(None, None, None)
    assert found.limit == 12


async def attempt(found: Lane, outcome: Fault | None, number: int = 0, tokens: int = 0) -> None:
    async with found.call(number, tokens) as call:
        if outcome is None:
            call.answered()
        else:
            call.failed(outcome)


async def test_all_wait_as_long_as_the_server_asks() -> None:
    time = Time()
    found = lane(time)
    await attempt(found, fault("throttled", 7.0))
    await attempt(found, None)
    assert time.waits == [7.0]


async def test_refusals_without_a_hint_are_waited_out_longer_and_longer() -> None:
    time = Time()
    found = lane(time, policy=Policy(first_wait=1.0))
    for number in range(5):
        await attempt(found, fault("throttled"), number)
    assert time.waits == [1.0, 2.0, 4.0]
    await attempt(found, None)
    await attempt(found, None)
    assert time.waits == [1.0, 2.0, 4.0, 8.0]


async def test_never_more_requests_than_allowed_within_a_minute() -> None:
    time = Time()
    found = lane(time, requests=3)
    begun = []
    for number in range(8):
        await attempt(found, None, number)
        begun.append(time.now - 1000)
    assert begun == [0, 0, 0, 60, 60, 60, 120, 120]


async def test_never_more_tokens_than_allowed_within_a_minute_and_a_big_call_goes_alone() -> None:
    time = Time()
    found = lane(time, tokens=1000)
    begun = []
    for tokens in (400, 600, 100, 5000, 100):
        await attempt(found, None, tokens=tokens)
        begun.append(time.now - 1000)
    assert begun == [0, 0, 60, 120, 180]


@pytest.mark.parametrize("kind", ["fatal", "unreachable"])
async def test_what_can_never_be_ends_all_at_the_first_call(kind: Kind) -> None:
    found = lane(Time())
    await attempt(found, fault(kind))
    with pytest.raises(LLMUnavailableError, match=f"it was {kind}"):
        await attempt(found, None)


async def test_a_server_that_has_answered_may_be_gone_for_a_while() -> None:
    found = lane(Time())
    await attempt(found, None)
    await attempt(found, fault("unreachable"))
    await attempt(found, None)


async def test_requests_that_are_all_refused_end_it_after_three_unless_one_was_answered() -> None:
    found = lane(Time())
    for number in range(3):
        assert found.given_up is None
        await attempt(found, fault("request"), number)
    with pytest.raises(LLMUnavailableError, match="So it was with the first 3 requests"):
        await attempt(found, None)
    other = lane(Time())
    await attempt(other, None)
    for number in range(20):
        await attempt(other, fault("request"), number)
    await attempt(other, None)


async def test_gives_up_when_nothing_gets_through_for_long() -> None:
    time = Time()
    found = lane(time, policy=Policy(patience=90))
    await attempt(found, None)
    for number in range(9):
        time.now += 20
        await attempt(found, fault("passing"), number)
    assert found.given_up is None  # nine requests alone may fail for reasons of their own
    await attempt(found, fault("passing"), 10)
    with pytest.raises(LLMUnavailableError, match=r"for 160 seconds.*it was passing.*goes on from here"):
        await attempt(found, None)


async def test_one_answer_in_between_and_the_count_begins_anew() -> None:
    time = Time()
    found = lane(time, policy=Policy(patience=90))
    for number in range(50):
        time.now += 20
        await attempt(found, fault("passing") if number % 9 else None, number)
    assert found.given_up is None


async def test_a_time_without_calls_is_no_silence() -> None:
    time = Time()
    found = lane(time, policy=Policy(patience=90))
    await attempt(found, None)
    time.now += 5000
    for number in range(12):
        await attempt(found, fault("passing"), number)
    assert found.given_up is None


async def test_a_wait_that_the_server_asks_for_is_no_silence_but_a_very_long_one_ends_it() -> None:
    time = Time()
    found = lane(time, policy=Policy(patience=90))
    for number in range(8):
        await attempt(found, fault("throttled", 80), number)
    assert found.given_up is None
    await attempt(found, fault("throttled", 3600))
    with pytest.raises(LLMUnavailableError, match="3600 seconds"):
        await attempt(found, None)


@pytest.mark.parametrize(("retry_after", "seconds"), [(None, 303), (0.0, 303), (20.0, 200), (1.0, 121)])
async def test_a_server_that_only_throttles_is_given_up_also_by_a_single_call(
    retry_after: float | None, seconds: int
) -> None:
    time = Time()
    found = lane(time, ceiling=1)
    began = time.now
    while found.given_up is None:
        assert time.now < began + 5000
        await attempt(found, fault("throttled", retry_after))
    assert "however long it was left alone" in str(found.given_up)
    assert time.now - began == seconds


async def test_pauses_in_a_row_count_anew_after_an_answer() -> None:
    time = Time()
    found = lane(time, ceiling=1)
    for _ in range(3):
        for _ in range(8):
            await attempt(found, fault("throttled", 60))
        await attempt(found, None)
    assert found.given_up is None


async def test_others_have_their_turn_while_a_first_call_waits_to_be_tried_again() -> None:
    time = Time()
    found, ended = lane(time, ceiling=1), []

    async def poisonous() -> None:
        for _ in range(3):
            await attempt(found, fault("passing"), 0)
            await asyncio.sleep(0)
        ended.append("poisonous")

    async def good(number: int) -> None:
        await attempt(found, None, number)
        ended.append("good")

    await asyncio.gather(poisonous(), *(good(number) for number in range(1, 4)))
    assert ended == ["good", "good", "good", "poisonous"]

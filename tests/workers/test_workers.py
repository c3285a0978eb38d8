"""Several processes behind the seam of one assistant: the same answers, nobody lost, nobody left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rasa_ft_ext.assistant.recorded import Recorded, RecordedAssistant
from rasa_ft_ext.concurrency import in_order
from rasa_ft_ext.errors import AssistantError, LLMUnavailableError, RasaFtError
from rasa_ft_ext.llm.base import Completion, Readable
from rasa_ft_ext.workers.assistant import WorkersAssistant, open_workers
from rasa_ft_ext.workers.links import ProcessLink, send_frame
from rasa_ft_ext.workers.messages import Ready, Start, Withdraw, packed, unpacked
from tests.workers.workers_builders import (
    CARD,
    CannotOpen,
    Echo,
    Misbehaves,
    is_alive,
    pids,
    questions,
    some_conversations,
    workers,
)

ROOT = Path(__file__).parents[2]


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


class Holding(Echo):
    """Lets nobody have an answer before `release`; `asked` tells that somebody wants one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.release = asyncio.Event()
        self.given_up = asyncio.Event()

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        self.asked.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.given_up.set()
            raise
        return await super().complete(prompt, sample=sample)


def test_answers_are_those_of_one_process_and_the_llm_is_asked_here() -> None:
    llm, jobs = Echo(), list(questions(some_conversations(8)))

    async def asked(assistant: WorkersAssistant | RecordedAssistant) -> list[object]:
        answers = await in_order(jobs, lambda job: assistant.ask(*job, sample=3), limit=8)
        await assistant.close()
        return list(answers)

    expected = asyncio.run(asked(RecordedAssistant(CARD, Echo())))
    with workers(2, llm) as assistant:
        started = pids(assistant)
        assert asyncio.run(asked(assistant)) == expected
        assert len(llm.prompts) == len(jobs) > 10
        assert assistant.card == CARD
    assert not any(is_alive(pid) for pid in started)


def test_a_call_of_rasas_own_says_which_of_several_answers_it_wants() -> None:
    conversation, turn, _ = next(questions(some_conversations(1)))

    async def answers(assistant: WorkersAssistant) -> list[str]:
        jobs = [assistant.ask(conversation, turn, "as Rasa", sample=sample) for sample in (0, 2)]
        found = [answer.text.split()[2] for answer in await asyncio.gather(*jobs)]
        await assistant.close()
        return found

    llm = Echo()
    with workers(1, llm, Misbehaves(CARD)) as assistant:
        assert asyncio.run(answers(assistant)) == ["sample_0", "sample_2"]
    assert llm.prompts == ["hi", "hi"]


def test_a_job_whose_worker_is_killed_is_done_by_another() -> None:
    llm, jobs = Holding(), list(questions(some_conversations(3)))

    async def killed(assistant: WorkersAssistant) -> list[str]:
        asking = asyncio.create_task(in_order(jobs, lambda job: assistant.ask(*job), limit=8))
        await asyncio.wait_for(llm.asked.wait(), 20)
        os.kill(pids(assistant)[0], signal.SIGKILL)
        llm.release.set()
        answers = await asyncio.wait_for(asking, 30)
        assert len(pids(assistant)) == 2  # there is a new one in its place
        await assistant.close()
        return [answer.prompt for answer in answers]

    with workers(2, llm) as assistant:
        prompts = asyncio.run(killed(assistant))
    assert len(set(prompts)) == len(jobs)


def test_work_that_ends_every_worker_is_given_up_in_words() -> None:
    job = next(questions(some_conversations(1)))

    async def run(assistant: WorkersAssistant) -> None:
        with pytest.raises(AssistantError, match=r"killed by signal 9.*2 others at the same work"):
            await asyncio.wait_for(assistant.ask(job[0], job[1], "die"), 60)
        with pytest.raises(ZeroDivisionError, match="a bug of ours") as bug:
            await asyncio.wait_for(assistant.ask(job[0], job[1], "break"), 60)  # the next one is at work by now
        assert "workers_builders.py" in bug.value.__notes__[0]
        await assistant.close()

    with workers(1, Echo(), Misbehaves(CARD)) as assistant:
        asyncio.run(run(assistant))


def test_an_error_of_the_llm_is_the_same_error() -> None:
    job = next(questions(some_conversations(1)))

    class Gone(Echo):
        async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
            raise LLMUnavailableError("Nobody answers any more.")

    async def run(assistant: WorkersAssistant) -> None:
        with pytest.raises(LLMUnavailableError, match="Nobody answers any more"):
            await assistant.ask(*job)
        await assistant.close()

    with workers(1, Gone()) as assistant:
        asyncio.run(run(assistant))


def test_what_is_not_wanted_any_more_is_not_waited_for_and_close_takes_no_time() -> None:
    llm, (first, second, *_) = Holding(), questions(some_conversations(2))

    async def run(assistant: WorkersAssistant) -> float:
        asking = asyncio.create_task(assistant.ask(*first))
        await asyncio.wait_for(llm.asked.wait(), 20)
        asking.cancel()
        await asyncio.wait_for(llm.given_up.wait(), 20)
        llm.asked.clear()
        other = asyncio.create_task(assistant.ask(*second))
        await asyncio.wait_for(llm.asked.wait(), 20)
        started = time.monotonic()
        await assistant.close()
        other.cancel()
        return time.monotonic() - started

    with workers(1, llm) as assistant:
        started = pids(assistant)
        assert asyncio.run(asyncio.wait_for(run(assistant), 30)) < 2
    assert not any(is_alive(pid) for pid in started)


def test_a_worker_that_cannot_open_its_assistant_says_why() -> None:
    closed = []

    class Closing(RecordedAssistant):
        async def close(self) -> None:
            closed.append(True)

    with pytest.raises(RasaFtError) as error:
        open_workers(CannotOpen(), 2, inner=lambda: Closing(CARD, Echo()))
    assert "`api_base` is missing" in str(error.value)
    assert "`model` is missing" in str(error.value)
    assert closed == [True]


def test_a_worker_of_a_run_that_was_cut_off_in_a_message_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    start = packed(Start(sys.path, str(ROOT), packed(Recorded(CARD))))
    link = ProcessLink(start)
    assert isinstance(unpacked(link.first() or b""), Ready)
    send_frame(link._socket, packed(Withdraw(1))[5:])
    assert link.first() is None
    assert link.end() == "ended with code 0"
    link.close()
    assert capfd.readouterr().err == ""


PARENT = """
import asyncio
from tests.workers.workers_builders import CARD, Echo, Misbehaves, pids, questions, some_conversations, workers
(conversation, turn, _), *_ = questions(some_conversations(1))
with workers(2, Echo(), Misbehaves(CARD)) as assistant:
    print(*pids(assistant), flush=True)
    asyncio.run(assistant.ask(conversation, turn, "block"))
"""


def test_workers_end_when_the_run_is_killed() -> None:
    """Even one that is in the middle of something and listens to nobody."""
    pipe = subprocess.PIPE
    run = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    try:
        assert run.stdout is not None
        assert run.stderr is not None
        started = [int(pid) for pid in run.stdout.readline().split()]
        assert run.stderr.readline().strip() == "blocked"
        assert len(started) == 2
        assert all(is_alive(pid) for pid in started)
    finally:
        run.kill()
        run.wait()
    assert until(lambda: not any(is_running(pid) for pid in started))


def is_running(pid: int) -> bool:
    """Whether a process that is not ours is at work: one that has ended may stay in the list for a while."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return is_alive(pid) and not Path("/proc").is_dir()
    return state != "Z"

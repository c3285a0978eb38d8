"""The scripted LLM: an HTTP server that speaks OpenAI's API and answers from a file.

It is a real server with a made-up mind: command generators and rephrasers reach it as they reach any self-hosted
model, so tests and demos run whole, offline and with the same outcome each time. `rasa-ft scripted-llm` runs it until
it is told to stop; in Python it runs beside the code that uses it:

    with scripted_llm(Path("answers.yml")) as llm:
        ...                                   # point `api_base` to llm.base_url
        llm.stats()["max_in_flight"]

What it answers is the business of `api`, what the file holds that of `script`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rasa_ft_ext.commands import Syntax
from rasa_ft_ext.llm.scripted.api import ScriptedLLM
from rasa_ft_ext.llm.scripted.faults import NO_FAULTS, Faults
from rasa_ft_ext.llm.scripted.script import Script
from rasa_ft_ext.local_http import LOCALHOST, listening, run_until_signal

_NAME = "The scripted LLM"


@dataclass(frozen=True)
class Running:
    """A scripted LLM that accepts connections at `base_url`, such as `http://127.0.0.1:40123/v1`."""

    base_url: str
    llm: ScriptedLLM

    def stats(self) -> dict[str, Any]:
        """Calls by kind, faults by kind, the maximum in flight and more, see `ScriptedLLM.stats`."""
        return self.llm.stats()

    @property
    def requests(self) -> list[str]:
        """The prompts in the order in which they came, the last 10,000 of them."""
        return list(self.llm.requests)


@contextmanager
def scripted_llm(
    answers: Path | Script,
    *,
    latency: float = 0.0,
    port: int = 0,
    syntax: Syntax | None = None,
    faults: Faults | None = None,
    capacity: int | None = None,
    batch_seconds: float = 0.0,
) -> Iterator[Running]:
    """Run a scripted LLM in a thread of its own for as long as the block lasts.

    Args:
        answers: The file with the answers, or a script.
        latency: Seconds that a chat answer takes.
        port: The port; 0 picks a free one.
        syntax: The syntax to answer in; None: the one that the prompt shows.
        faults: Which requests go wrong, and how; None: none does.
        capacity: How many chat answers may be under way at a time; None: any number. `llm.capacity` changes it.
        batch_seconds: How long a batch takes.

    Raises:
        ConfigError: the file cannot work.
        RasaFtError: the port is taken.
    """
    llm = ScriptedLLM(
        answers if isinstance(answers, Script) else Script.load(answers),
        latency=latency,
        syntax=syntax,
        faults=faults or NO_FAULTS,
        capacity=capacity,
        batch_seconds=batch_seconds,
    )
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        async with listening(llm.app(), LOCALHOST, port, _NAME) as address:
            started.set_result((asyncio.get_running_loop(), stop, f"{address}/v1"))
            await stop.wait()

    def work() -> None:
        try:
            asyncio.run(until_stopped())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work, name="scripted-llm", daemon=True)
    thread.start()
    loop, stop, base_url = started.result()
    try:
        yield Running(base_url, llm)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def serve(llm: ScriptedLLM, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Run a scripted LLM in this thread until Ctrl-C or SIGTERM.

    Args:
        llm: What answers.
        host: The address to listen on.
        port: The port; 0 picks a free one.
        announce: Called with the base URL once connections are accepted.

    Raises:
        RasaFtError: the port is taken, or the address cannot be listened on.
    """
    run_until_signal(llm.app(), host, port, lambda address: announce(f"{address}/v1"), _NAME)

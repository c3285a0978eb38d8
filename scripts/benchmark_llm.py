"""How fast the one way to an LLM is, and how well it finds out what a server takes.

    python scripts/benchmark_llm.py [--only overhead latency capacity] [--json FILE]

`overhead`: calls a second that the client makes of a server that answers after 20 ms. `latency`: 2,000 calls to one
that takes a second, at most 64 at a time; then the same again, from the cache. `capacity`: a server that takes 32 calls
at a time, then 12, then 32 again, and refuses the others with 429; as many rows as it could answer within `--seconds`
are asked for with the adaptive limit, and with fixed ones of 8 and 64 (five attempts at a call, as one does without).

The server is a process of its own, so with the client two cores are busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.cache import Cache
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.gateway import Gateway, Send
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import resolve

HIGH, LOW = 32, 12
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "StartFlow(x)"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
}
BENCHMARKS = ("overhead", "latency", "capacity")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, help="Which figures (all).")
    parser.add_argument("--calls", type=int, default=4_000, help="Calls of `overhead` (4000).")
    parser.add_argument("--seconds", type=float, default=60.0, help="Length of `capacity`, each time (60).")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Write the figures to this file as well.")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
        return 0
    figures: dict[str, Any] = {}
    if "overhead" in args.only:
        figures["overhead"] = asyncio.run(overhead(args.calls))
    if "latency" in args.only:
        figures["latency"] = asyncio.run(latency())
    if "capacity" in args.only:
        figures["capacity"] = {
            name: asyncio.run(capacity(make, args.seconds))
            for name, make in (("adaptive", adaptive), ("fixed 8", lambda: fixed(8)), ("fixed 64", lambda: fixed(64)))
        }
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


async def overhead(calls: int) -> dict[str, float]:
    """Calls a second of a server that takes 20 ms, with and without the cache."""
    with server() as address, tempfile.TemporaryDirectory() as folder:
        control(address, {"latency": 0.02})
        found = {}
        for name, cache in (("without_cache", None), ("with_cache", Cache(Path(folder)))):
            llm = model(address, Gateway(concurrency=32, cache=cache))
            await asyncio.gather(*(llm.complete(f"warm {n}") for n in range(64)))
            seconds = await timed(llm, [f"{name} {n}" for n in range(calls)])
            found[f"{name}_calls_per_second"] = round(calls / seconds)
            if cache is not None:
                cache.close()
    return {"calls": calls, **found}


async def latency(calls: int = 2_000, at_once: int = 64) -> dict[str, float]:
    """Seconds for calls that take one second each, and for the same calls again."""
    with server() as address, tempfile.TemporaryDirectory() as folder:
        control(address, {"latency": 1.0})
        prompts = [f"question {n}" for n in range(calls)]
        seconds = []
        for _ in range(2):
            cache = Cache(Path(folder))
            seconds.append(await timed(model(address, Gateway(concurrency=at_once, cache=cache)), prompts))
            cache.close()
        made = stats(address)["answered"]
    return {
        "calls": calls,
        "concurrency": at_once,
        "seconds": round(seconds[0], 2),
        "again_seconds": round(seconds[1], 3),
        "times_faster": round(seconds[0] / seconds[1]),
        "calls_of_both_runs": made,
    }


async def capacity(make: Callable[[], Ask], length: float) -> dict[str, Any]:
    """Rows done by a server whose capacity falls and rises, of those that it could have done meanwhile."""
    each = 0.5
    phases = [(0.0, HIGH), (length / 3, LOW), (2 * length / 3, HIGH)]
    rows = int(sum(taken * length / 3 for _, taken in phases) / each)
    ask = make()
    with server() as address:
        control(address, {"latency": each, "capacity": HIGH})
        llm = model(address, Gateway())
        await llm.complete("warm")  # the import of litellm is not what is measured
        lost = 0

        async def one(number: int) -> None:
            nonlocal lost
            request = Request(llm.settings, ({"role": "user", "content": f"row {number}"},))
            try:
                await ask(request, lambda: llm.send(request.messages))
            except Exception:
                lost += 1

        started = time.perf_counter()
        changing = asyncio.create_task(change(address, phases[1:]))
        waiting = iter(range(rows))
        await asyncio.gather(*(_each(waiting, one) for _ in range(256)))
        seconds = time.perf_counter() - started
        await changing
        found = stats(address)
    could = _possible(phases, seconds) / each
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "used_of_capacity": round((rows - lost) / could, 3),
        "refused_429": round(found["refused"] / (found["refused"] + found["answered"]), 4),
        "lost": lost,
    }


def _possible(phases: list[tuple[float, int]], seconds: float) -> float:
    """Call-seconds that the server offered within the first `seconds`."""
    ends = [start for start, _ in phases[1:]] + [float("inf")]
    return sum(taken * max(min(end, seconds) - start, 0) for (start, taken), end in zip(phases, ends, strict=True))


Ask = Callable[[Request, Send], Awaitable[Completion]]


def adaptive() -> Ask:
    return Gateway(concurrency=64).ask


def fixed(limit: int) -> Ask:
    """What one does without: so many at a time, five attempts, longer and longer waits."""
    slots = asyncio.Semaphore(limit)
    retrying = AsyncRetrying(
        stop=stop_after_attempt(5),
        wait=wait_exponential_jitter(initial=1, max=30),
        retry=retry_if_exception_type(Fault),
    )

    async def ask(request: Request, send: Send) -> Completion:
        async def attempt() -> Completion:
            async with slots:
                return await send()

        return await retrying(attempt)

    return ask


async def _each(waiting: Iterator[int], work: Callable[[int], Awaitable[None]]) -> None:
    for entry in waiting:
        await work(entry)


async def timed(llm: LiteLLM, prompts: list[str]) -> float:
    started = time.perf_counter()
    waiting = iter(range(len(prompts)))

    async def one(number: int) -> None:
        await llm.complete(prompts[number])

    await asyncio.gather(*(_each(waiting, one) for _ in range(128)))
    return time.perf_counter() - started


async def change(address: str, phases: list[tuple[float, int]]) -> None:
    started = time.perf_counter()
    for start, taken in phases:
        await asyncio.sleep(start - (time.perf_counter() - started))
        await asyncio.to_thread(control, address, {"capacity": taken})


def model(address: str, gateway: Gateway) -> LiteLLM:
    config = {"provider": "self-hosted", "model": "m", "api_base": f"{address}/v1"}
    return LiteLLM(resolve(config, {}, "benchmark"), gateway)


def control(address: str, settings: dict[str, float]) -> None:
    with urlopen(HttpRequest(f"{address}/control", json.dumps(settings).encode())):
        pass


def stats(address: str) -> dict[str, int]:
    with urlopen(f"{address}/stats") as response:
        found: dict[str, int] = json.load(response)
    return found


@contextmanager
def server() -> Iterator[str]:
    """The server in a process of its own; its address."""
    process = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


async def serve() -> None:
    """A server that does nothing but wait, as fast as Python can: HTTP by hand, keep-alive, no parsing of prompts."""
    state: dict[str, float] = {"latency": 0.0, "capacity": 1e9, "now": 0, "answered": 0, "refused": 0}
    body = json.dumps(ANSWER).encode()

    async def respond(head: bytes, content: bytes) -> tuple[str, bytes]:
        if head.startswith(b"POST /control"):
            state.update(json.loads(content))
            return "200 OK", b"{}"
        if head.startswith(b"GET /stats"):
            return "200 OK", json.dumps(state).encode()
        if state["now"] >= state["capacity"]:
            state["refused"] += 1
            return "429 Too Many Requests", b'{"error": {"message": "too many requests"}}'
        state["now"] += 1
        try:
            await asyncio.sleep(state["latency"])
        finally:
            state["now"] -= 1
        state["answered"] += 1
        return "200 OK", body

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                content = await reader.readexactly(int(lengths[0].split(b":")[1])) if lengths else b""
                status, answer = await respond(head, content)
                start = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                writer.write(start.encode() + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024)
    print(running.sockets[0].getsockname()[1], flush=True)
    await running.serve_forever()


if __name__ == "__main__":
    sys.exit(main())

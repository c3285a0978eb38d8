"""Workers as actors on a Ray cluster: that of `RAY_ADDRESS`, or one on this machine for as long as it is needed.

Every machine of the cluster has this package, Rasa and the project's folder in the same place. Nothing but messages
goes over the network; the LLM is asked from the machine that the command runs on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import signal
import socket
import threading
from typing import Any

from rasa_ft_ext.errors import AssistantError, MissingExtraError
from rasa_ft_ext.workers.links import Backend, Link
from rasa_ft_ext.workers.messages import packed, unpacked
from rasa_ft_ext.workers.serving import Relay, opened, serve, with_packing

_OBJECT_STORE = 200 * 2**20  # bytes; messages are small
_METHODS_AT_ONCE = 1000
_SECONDS_TO_CONNECT = 5.0


class RayBackend(Backend):
    """See the module.

    Args:
        started: The first message to each worker.
        workers: How many will be started.

    Raises:
        MissingExtraError: Ray is not installed.
        AssistantError: the cluster cannot be reached.
    """

    def __init__(self, started: bytes, workers: int) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("Ray", "ray") from error
        self._ray: Any = ray
        self._started = started
        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            _connect(ray, workers)
        self._actor = ray.remote(num_cpus=1, max_concurrency=_METHODS_AT_ONCE, scheduling_strategy="SPREAD")(_Actor)
        free = int(ray.available_resources().get("CPU", 0))
        if free < workers:
            self.note = f"The Ray cluster has {free} CPUs free for {workers} workers; the others wait for more."

    def start(self) -> Link:
        return RayLink(self._ray, self._actor.remote(self._started))

    def close(self) -> None:
        if self._is_ours:
            self._ray.shutdown()


def _connect(ray: Any, workers: int) -> None:
    """Connect to the cluster, or start one; the handler of SIGTERM that Ray sets is taken back."""
    handler = signal.getsignal(signal.SIGTERM)
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            _look_for(address)
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=max(workers, os.cpu_count() or 1),
                object_store_memory=_OBJECT_STORE,
                include_dashboard=False,
                _node_ip_address="127.0.0.1",
                **quiet,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = f"The Ray cluster at {address} cannot be reached" if address else "Ray cannot be started"
        line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise AssistantError(f"{where}: {line}. Is RAY_ADDRESS right? `ray status` uses it, too.") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _look_for(address: str) -> None:
    """See that somebody listens there: Ray itself would try for minutes."""
    host, _, port = address.partition("://")[2].rpartition(":") if "://" in address else address.rpartition(":")
    if host:
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()


class RayLink(Link):
    """An actor, whose messages are fetched as they come, several at a time."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._fetched: list[bytes] = []
        self._lost = ""

    def first(self) -> bytes | None:
        try:
            self._fetched += self._ray.get(self._actor.get.remote())
        except self._ray.exceptions.RayActorError as error:
            self._lost = str(error)
        return self._fetched.pop(0) if self._fetched else None

    async def send(self, content: bytes) -> None:
        self._actor.put.remote(content)

    async def receive(self) -> bytes | None:
        if not self._fetched:
            try:
                self._fetched += await self._actor.get.remote()
            except self._ray.exceptions.RayActorError as error:
                self._lost = str(error)
        return self._fetched.pop(0) if self._fetched else None

    def close(self) -> None:
        self._ray.kill(self._actor)

    def end(self) -> str:
        line = " ".join(self._lost.split())[:300]
        return f"on Ray was lost: {line}" if line else "on Ray ended"


class _Actor:
    """A worker within an actor: it has a thread and an event loop of its own, so that the actor's loop stays free."""

    def __init__(self, start: bytes) -> None:
        self._incoming: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(start,), daemon=True).start()

    async def put(self, content: bytes) -> None:
        """Take a message from the run."""
        self._incoming.put(content)

    async def get(self) -> list[bytes]:
        """Wait for messages to the run; none: there will be no more."""
        found = [await asyncio.to_thread(self._outgoing.get)]
        while not self._outgoing.empty():
            found.append(self._outgoing.get())
        return [content for content in found if content is not None]

    def _work(self, start: bytes) -> None:
        try:
            relay = Relay()
            assistant, told = opened(unpacked(start), relay)
            self._outgoing.put(packed(told))
            if assistant is not None:
                asyncio.run(serve(assistant, relay, self._fetch, with_packing(self._outgoing.put)))
        finally:
            self._outgoing.put(None)

    async def _fetch(self) -> object:
        return unpacked(await asyncio.to_thread(self._incoming.get))

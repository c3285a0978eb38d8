"""A worker as the run sees it: something that takes messages and gives messages until it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import rasa_ft_ext

_LENGTH = struct.Struct("!Q")
_SECONDS_TO_END = 3.0


class Link(ABC):
    """One worker. It is started when the link is made."""

    @abstractmethod
    def first(self) -> bytes | None:
        """Wait, outside of an event loop, for the worker's first message; None: it has ended before."""

    @abstractmethod
    async def send(self, content: bytes) -> None:
        """Send a message; to a worker that has ended, nothing is sent."""

    @abstractmethod
    async def receive(self) -> bytes | None:
        """Wait for the next message; None: the worker has ended."""

    @abstractmethod
    def close(self) -> None:
        """End the worker, at once."""

    @abstractmethod
    def end(self) -> str:
        """How the worker has ended, in words that go on after "A worker"."""


class Backend(ABC):
    """Where workers are started. `note` is what a person should know of it, if anything."""

    note = ""

    @abstractmethod
    def start(self) -> Link:
        """Start one more worker."""

    def close(self) -> None:
        """Release what all of them needed."""
        return None


class Processes(Backend):
    """Processes on this machine; `started` is the first message to each."""

    def __init__(self, started: bytes) -> None:
        self._started = started

    def start(self) -> Link:
        return ProcessLink(self._started)


class ProcessLink(Link):
    """A process on this machine, at the other end of a pair of sockets.

    It has a session of its own, so that Ctrl-C is the run's business; and it ends when the socket is closed, be it
    because the run was killed.
    """

    def __init__(self, start: bytes) -> None:
        self._socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "rasa_ft_ext.workers.process", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
                env=_environment(),
            )
        send_frame(self._socket, start)
        self._opening: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def first(self) -> bytes | None:
        return read_frame(self._socket)

    async def send(self, content: bytes) -> None:
        _, writer = await self._opened()
        try:
            write_frame(writer, content)
            await writer.drain()
        except ConnectionError:
            return

    async def receive(self) -> bytes | None:
        reader, _ = await self._opened()
        return await next_frame(reader)

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.open_connection(sock=self._socket))
        return await asyncio.shield(self._opening)

    def close(self) -> None:
        if self._opening is not None and self._opening.done() and not self._opening.cancelled():
            self._opening.result()[1].transport.abort()
        self._socket.close()
        self._wait()

    def end(self) -> str:
        code = self._wait()
        if code < 0:
            return f"was killed by signal {-code}; the machine may have run out of memory"
        return f"ended with code {code}"

    def _wait(self) -> int:
        try:
            return self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _environment() -> dict[str, str]:
    """This process's, in which the package is found wherever it was found here."""
    home = str(Path(rasa_ft_ext.__file__).parents[1])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def send_frame(to: socket.socket, content: bytes) -> None:
    """Send a message, waiting until all of it is on its way."""
    to.sendall(_LENGTH.pack(len(content)) + content)


def read_frame(source: socket.socket) -> bytes | None:
    """Wait for a message; None: the other end is closed."""
    with source.makefile("rb", buffering=0) as file:
        length = _exactly(file.read, _LENGTH.size)
        return _exactly(file.read, _LENGTH.unpack(length)[0]) if length is not None else None


def _exactly(read: Callable[[int], bytes | None], size: int) -> bytes | None:
    found = bytearray()
    try:
        while len(found) < size:
            part = read(size - len(found))
            if not part:
                return None
            found += part
    except ConnectionError:
        return None
    return bytes(found)


def write_frame(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Put a message on its way."""
    writer.write(_LENGTH.pack(len(content)) + content)


async def next_frame(reader: asyncio.StreamReader) -> bytes | None:
    """As `read_frame`, in an event loop."""
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None

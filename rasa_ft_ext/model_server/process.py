"""A model server that is a process of its own: started, watched until it answers, stopped without a trace.

The process is run by `guard`, which ends it when we ask for it, and also when we die. What it writes goes to the log
(level INFO); the end of it is kept, for the message if the server dies.
"""

from __future__ import annotations

import errno
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from abc import abstractmethod
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import IO

from rasa_ft_ext.errors import ServeError
from rasa_ft_ext.model_server import guard
from rasa_ft_ext.model_server.base import ModelServer
from rasa_ft_ext.model_server.probe import is_ready
from rasa_ft_ext.model_server.settings import LOCALHOST, ServeSettings

TIMEOUT = 600.0  # seconds from the start to the first answer: a big model is read from a slow disk
_GRACE = 20  # seconds that the server has to end in
_POLL = 0.1
_LAST_WORDS = 3  # seconds
_KEPT, _SHOWN, _CAUSES = 1000, 15, 5  # lines of the log
_NOISE = re.compile(r"^\s*$|nanobind: |^ - (leaked|\.\.\. skipped)|resource_tracker|^\s+warnings\.warn\(")
_CAUSE = re.compile(r"\b[A-Za-z_.]*(?:Error|Exception|Killed)\b: .*|error: .*")

logger = logging.getLogger(__name__)


class ProcessServer(ModelServer):
    """What all servers have in common that are run by a command."""

    def __init__(self, settings: ServeSettings, *, timeout: float = TIMEOUT) -> None:
        """Take what is served.

        Args:
            settings: The model, and how it is served.
            timeout: Seconds that the server has from its start to its first answer.
        """
        super().__init__(settings)
        self._timeout = timeout
        self._port = settings.port
        self._log: deque[str] = deque(maxlen=_KEPT)
        self._guard: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The command that listens at a port. It holds no secret."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment of that command, with the key in it if there is one."""

    @property
    def base_url(self) -> str:
        host = {"0.0.0.0": LOCALHOST, "": LOCALHOST, "::": "::1"}.get(self.settings.host, self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/v1"

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines that the server wrote."""
        return tuple(self._log)

    def start(self) -> None:
        self._port = _free_port(self.settings.host, self.settings.port)
        self._run(self.command(self._port))
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        if self._guard is not None:
            raise self._died(self._guard.wait())

    def stop(self) -> None:
        if self._guard is None or self._guard.stdin is None or self._reader is None:
            return
        self._guard.stdin.close()
        self._guard.wait()
        self._reader.join(_GRACE)
        self._guard = None

    def _run(self, command: list[str]) -> None:
        logger.info("Starting %s", " ".join(command))
        self._log.clear()
        self._guard = subprocess.Popen(
            [sys.executable, "-S", str(Path(guard.__file__)), str(_GRACE), *command],
            env=self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that Ctrl-C reaches us alone, and we stop it in order
        )
        self._reader = threading.Thread(target=self._read, args=(self._guard.stdout,), daemon=True)
        self._reader.start()

    def _read(self, lines: IO[str]) -> None:
        key = self.settings.api_key
        with lines:
            for line in lines:
                text = line.rstrip().replace(key, "***") if key else line.rstrip()
                if not _NOISE.search(text):
                    self._log.append(text)
                    logger.info("%s", text)

    def _wait_until_ready(self) -> None:
        assert self._guard is not None
        deadline = time.monotonic() + self._timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                ready = is_ready(self.base_url, self.name, self.settings.api_key, timeout=left)
            except ServeError as error:
                with suppress(subprocess.TimeoutExpired):
                    self._guard.wait(_LAST_WORDS)  # it may die of what it was asked, and say so
                raise ServeError(f"{error} {self._end_of_log()}") from error
            code = self._guard.poll()
            if code is not None:
                raise self._died(code)
            if ready:
                return
            time.sleep(_POLL)
        raise ServeError(
            f"The server of {self.settings.model} did not answer within {self._timeout:g} seconds. Give it more with "
            f"--timeout, or see what it does with --verbose. {self._end_of_log()}"
        )

    def _died(self, code: int) -> ServeError:
        if self._reader is not None:
            self._reader.join(_GRACE)
        return ServeError(f"The server of {self.settings.model} ended with exit code {code}. {self._end_of_log()}")

    def _end_of_log(self) -> str:
        """What its log says of the cause, then its last lines: the cause stands above pages of what follows from it."""
        lines = list(self._log)
        if not lines:
            return "It wrote nothing."
        told = (line for line in lines[:-_SHOWN] if " WARNING " not in line)
        found = dict.fromkeys(match[0] for line in told if (match := _CAUSE.search(line)))
        causes = [f"  {cause}" for cause in list(found)[:_CAUSES]]
        above = ["Its log names these errors:", *causes] if causes else []
        return "\n".join([*above, "The end of its log:", *(f"  {line}" for line in lines[-_SHOWN:])])


def _free_port(host: str, port: int) -> int:
    """The port itself if it can be listened at, any free one for 0.

    Raises:
        ServeError: it is taken, or the address is not one of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServeError(
                f"Port {port} on {host} is taken. Choose another one with --port, or a free one with --port 0."
            ) from error
        raise ServeError(f"The server cannot listen on {host}, port {port}: {error.strerror or error}") from error

"""Run one of our small web applications on this machine until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from rasa_ft_ext.errors import RasaFtError

LOCALHOST = "127.0.0.1"
_GRACE = 1.0  # seconds that calls in flight have to end in when the server stops


def run_until_signal(app: web.Application, host: str, port: int, announce: Callable[[str], None], what: str) -> None:
    """Run an application in this thread until Ctrl-C or SIGTERM.

    Args:
        app: What answers.
        host: The address to listen on.
        port: The port; 0 picks a free one.
        announce: Called with the address, such as `http://127.0.0.1:40123`, once connections are accepted.
        what: What it is called in an error.

    Raises:
        RasaFtError: the port is taken, or the address cannot be listened on.
    """
    with suppress(KeyboardInterrupt):  # where the event loop cannot handle signals
        asyncio.run(_until_signal(app, host, port, announce, what))


async def _until_signal(app: web.Application, host: str, port: int, announce: Callable[[str], None], what: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with listening(app, host, port, what) as address:
        announce(address)
        await stop.wait()


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int, what: str) -> AsyncIterator[str]:
    """Accept connections; gives the address.

    Raises:
        RasaFtError: the port is taken, or the address cannot be listened on.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        await _bind(runner, host, port, what)
        yield f"http://{f'[{host}]' if ':' in host else host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _bind(runner: web.AppRunner, host: str, port: int, what: str) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"Port {port} on {host} is taken. Choose another one with --port, or a free one with --port 0."
        else:
            message = f"{what} cannot listen on {host}, port {port}: {error}"
        raise RasaFtError(message) from error

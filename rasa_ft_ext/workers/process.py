"""A worker process: `python -m rasa_ft_ext.workers.process FD`, with the number of its socket to the run."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import socket
import sys
import threading

from rasa_ft_ext.workers.links import next_frame, read_frame, send_frame, write_frame
from rasa_ft_ext.workers.messages import packed, unpacked
from rasa_ft_ext.workers.serving import Relay, opened, serve, with_packing


def main(descriptor: int) -> int:
    """Open the assistant and run jobs until the run closes its end of the socket, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # that nobody listens any more is no news
    link = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    start = read_frame(link)
    if start is None:
        return 1
    relay = Relay()
    assistant, told = opened(unpacked(start), relay)
    send_frame(link, packed(told))
    if assistant is None:
        return 1

    async def run() -> None:
        reader, writer = await asyncio.open_connection(sock=link)

        async def fetch() -> object:
            content = await next_frame(reader)
            return None if content is None else _understood(content)

        await serve(assistant, relay, fetch, with_packing(lambda content: write_frame(writer, content)))

    asyncio.run(run())
    return 0


def _understood(content: bytes) -> object:
    """A message; None, as if there were no more, where a run that was interrupted has sent a part of one only."""
    try:
        return unpacked(content)
    except Exception:  # what pickle makes of the middle of something
        return None


def _end_with(link: socket.socket) -> None:
    """End this process as soon as the other end of its socket is closed, whatever it is at: nothing is to be saved."""
    poll = select.poll()
    poll.register(link.fileno(), select.POLLHUP)
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

"""What the faults of `faults` look like over HTTP."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

from rasa_ft_ext.llm.scripted.faults import Fault, Faults
from rasa_ft_ext.llm.scripted.openai import RATE_LIMIT, Refusal

_LOOK = 0.02  # seconds between two looks at whether the client is still there
_HARD = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, with RST

REFUSALS: dict[Fault, Refusal] = {
    "429": Refusal(429, RATE_LIMIT, "Rate limit reached for requests. Please try again later."),
    "429-retry-after": Refusal(429, RATE_LIMIT, "Rate limit reached for requests. Please wait as Retry-After says."),
    "500": Refusal(500, "server_error", "The server had an error while processing your request. Sorry about that!"),
    "503": Refusal(503, "service_unavailable", "The server is overloaded or not ready yet."),
}
"""The faults that are nothing but an error."""


async def fail(
    fault: Fault, faults: Faults, request: web.Request, answer: Callable[[], Awaitable[web.Response]]
) -> web.StreamResponse:
    """Answer a request as the fault would have it.

    Args:
        fault: What goes wrong; a fault of the answer's content is in the answer already.
        faults: How long a straggler takes, and what Retry-After says.
        request: The request, read to its end.
        answer: Makes the answer. What it does is done also where the client learns nothing of it.
    """
    if fault in REFUSALS:
        response = REFUSALS[fault].response()
        if fault == "429-retry-after":
            response.headers["Retry-After"] = f"{faults.retry_after:g}"
        return response
    if fault in ("timeout", "straggler"):
        if await _is_gone(request, within=faults.straggle if fault == "straggler" else math.inf):
            return web.Response(status=408)  # which nobody gets
        return await answer()
    response = await answer()
    if fault == "truncated":
        return web.Response(body=_half(response), content_type="application/json", status=response.status)
    if fault == "reset":
        return await _reset(request, response)
    return response


async def _is_gone(request: web.Request, within: float) -> bool:
    """Wait until the client has closed the connection, but no longer than so many seconds; says whether it has."""
    end = asyncio.get_running_loop().time() + within
    while request.transport is not None and not request.transport.is_closing():
        left = end - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await asyncio.sleep(min(_LOOK, left))
    return True


async def _reset(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Send the head and half of the answer, then reset the connection."""
    begun = web.StreamResponse(headers={"Content-Type": "application/json"})
    begun.content_length = len(_body(response))
    await begun.prepare(request)
    await begun.write(_half(response))
    if request.transport is not None:
        end: socket.socket = request.transport.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HARD)
        request.transport.abort()
    return begun


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _half(response: web.Response) -> bytes:
    body = _body(response)
    return body[: len(body) // 2]

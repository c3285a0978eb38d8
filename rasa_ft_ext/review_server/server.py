"""The server of a review: the page, the decisions, and nothing that another web page could reach.

It listens on this machine only. A request must name the server as its host (so no other name leads here), come from its
own page where it says where it comes from, and bring the token that stands in the page to see or change decisions; a
change must be JSON, which no form of another page can send.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from rasa_ft_ext.errors import ConfigError, RasaFtError
from rasa_ft_ext.local_http import LOCALHOST, run_until_signal
from rasa_ft_ext.report.page import Served, render
from rasa_ft_ext.review.place import review_path
from rasa_ft_ext.review.writing import DecidedMeanwhileError
from rasa_ft_ext.review_server.desk import Desk, Request, UnfitError
from rasa_ft_ext.workspace import Workspace

TOKEN = "X-Rasa-Ft-Review"
_NAMES = (LOCALHOST, "localhost")
_LARGEST = 64 * 1024  # bytes of a request
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ReviewServer:
    """The web application of one review.

    Args:
        output: The output folder.
        review: The file of decisions; None for the one that the examples were made with, or the folder's own.

    Raises:
        WorkspaceError: there is nothing to review.
        ConfigError: the file of decisions cannot be read.
    """

    def __init__(self, output: Path, review: Path | None = None) -> None:
        workspace = Workspace(output)
        self.desk = Desk(workspace, review_path(workspace, review))
        self._token = secrets.token_urlsafe(32)
        self._page = render(output, Served(token=self._token, header=TOKEN, file=str(self.desk.path)))
        self._lock = asyncio.Lock()

    def app(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=_LARGEST, middlewares=[self._guard])
        app.router.add_get("/", self._get_page)
        app.router.add_get("/decisions", self._get_decisions)
        app.router.add_post("/decisions", self._post_decision)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep away whoever is not the page; no error is answered with more than a sentence."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _refusal(error.status, error.text or error.reason)
        response.headers.update(_HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        transport = request.transport
        port = transport.get_extra_info("sockname")[1] if transport else None
        hosts = {f"{name}:{port}" for name in _NAMES} | ({*_NAMES} if port == 80 else set())
        if request.headers.getall("Host", []) not in [[host] for host in hosts]:
            raise web.HTTPForbidden(text=f"This server answers to http://{LOCALHOST}:{port} only.")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.headers['Host']}":
            raise web.HTTPForbidden(text="This server answers to its own page only.")
        given = request.headers.get(TOKEN, "").encode(errors="surrogateescape")  # a header may hold any bytes
        if request.path != "/" and not secrets.compare_digest(given, self._token.encode()):
            raise web.HTTPForbidden(text="The page is that of another run of the server. Reload it.")

    async def _get_page(self, _: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", charset="utf-8")

    async def _get_decisions(self, _: web.Request) -> web.Response:
        try:
            return web.json_response(await asyncio.to_thread(self.desk.state))
        except RasaFtError as error:
            return _refusal(409, str(error))

    async def _post_decision(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="A decision must be JSON.")
        try:
            asked = Request.model_validate_json(await request.read())
        except ValidationError as error:
            part = error.errors()[0]
            return _refusal(400, f"This is no decision: {'.'.join(map(str, part['loc']))} {part['msg']}.")
        try:
            async with self._lock:
                entry = await asyncio.to_thread(self.desk.decide, asked)
        except UnfitError as error:
            return _refusal(422, str(error), field=error.field)
        except (DecidedMeanwhileError, ConfigError) as error:
            return _refusal(409, str(error))
        except RasaFtError as error:
            return _refusal(500, str(error))
        return web.json_response({"decided": entry})


def serve(server: ReviewServer, port: int, announce: Callable[[str], None]) -> None:
    """Run the server in this thread until Ctrl-C or SIGTERM.

    Args:
        server: What answers.
        port: The port; 0 picks a free one.
        announce: Called with the address once connections are accepted.

    Raises:
        RasaFtError: the port is taken.
    """
    run_until_signal(server.app(), LOCALHOST, port, announce, "The review")


def _refusal(status: int, message: str, **more: Any) -> web.Response:
    return web.json_response({"error": message, **more}, status=status)

"""The addresses of files and batches: what `batch` does, over HTTP.

`POST /v1/files`, `GET` and `DELETE /v1/files/{id}`, `GET /v1/files/{id}/content`, `POST` and `GET /v1/batches`,
`GET /v1/batches/{id}`, `POST /v1/batches/{id}/cancel`; the same without `/v1`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from rasa_ft_ext.llm.scripted.batch import Batches
from rasa_ft_ext.llm.scripted.files import LARGEST_FILE
from rasa_ft_ext.llm.scripted.openai import INVALID, Refusal, read_body

_MOST_LISTED = 100

Handler = Callable[[web.Request], Awaitable[web.Response]]


class BatchApi:
    """The handlers, each for one address."""

    def __init__(self, batches: Batches, created: Callable[[], None]) -> None:
        self._batches = batches
        self._created = created

    def routes(self) -> list[tuple[str, str, Handler]]:
        """Method, address and handler of each."""
        return [
            ("POST", "/files", self._upload),
            ("GET", "/files/{id}", self._file),
            ("DELETE", "/files/{id}", self._remove),
            ("GET", "/files/{id}/content", self._content),
            ("POST", "/batches", self._create),
            ("GET", "/batches", self._list),
            ("GET", "/batches/{id}", self._look),
            ("POST", "/batches/{id}/cancel", self._cancel),
        ]

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file, purpose = form.get("file"), form.get("purpose")
        if not isinstance(file, web.FileField) or not isinstance(purpose, str):
            raise Refusal(400, INVALID, "An upload is multipart/form-data with a 'file' and a 'purpose'.")
        content = file.file.read()
        if len(content) > LARGEST_FILE:
            raise Refusal(413, INVALID, f"The file has {len(content)} bytes; {LARGEST_FILE} are allowed.")
        return web.json_response(self._batches.upload(file.filename, content, purpose))

    async def _file(self, request: web.Request) -> web.Response:
        return web.json_response(self._batches.files.get(request.match_info["id"]).shown)

    async def _remove(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self._batches.files.remove(name)
        return web.json_response({"id": name, "object": "file", "deleted": True})

    async def _content(self, request: web.Request) -> web.Response:
        file = self._batches.files.get(request.match_info["id"])
        return web.Response(body=file.content, content_type="application/octet-stream")

    async def _create(self, request: web.Request) -> web.Response:
        batch = self._batches.create(await read_body(request))
        self._created()
        return web.json_response(batch)

    async def _list(self, request: web.Request) -> web.Response:
        limit = request.query.get("limit", "20")
        if not limit.isdecimal() or not 1 <= int(limit) <= _MOST_LISTED:
            raise Refusal(400, INVALID, f"The 'limit' must be from 1 to {_MOST_LISTED}.")
        return web.json_response(await self._batches.listed(int(limit), request.query.get("after")))

    async def _look(self, request: web.Request) -> web.Response:
        return web.json_response(await self._batches.look(request.match_info["id"]))

    async def _cancel(self, request: web.Request) -> web.Response:
        return web.json_response(self._batches.cancel(request.match_info["id"]))

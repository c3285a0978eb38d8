"""The batch endpoints of one server, as OpenAI's API has them, behind the openai SDK.

    async with BatchClient(settings) as client:
        file = await client.upload("calls.jsonl", stream)
        batch = await client.create(file, "our own id")
        seen = await client.look(batch)             # until seen.has_ended
        async for outcome in client.outcomes(seen): ...

A request's line holds just what a call through litellm would send. Nothing is tried twice here: what fails is a
`Fault`. openai and litellm are imported where they are used.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Self

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import ConfigError, LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.client import DEFAULT_TIMEOUT, litellm_module, server_of
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.provider_errors import fault_of
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import SELF_HOSTED, LLMSettings

MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000  # OpenAI takes 200 MB

_PROVIDERS = ("openai", "azure", SELF_HOSTED)
_ADDRESSES = {"azure": "/chat/completions"}  # of one request; elsewhere it is the one with /v1
_ENDED = ("completed", "failed", "expired", "cancelled")
_TRANSPORT = (
    *("model", "api_base", "base_url", "api_key", "api_version", "timeout", "extra_headers", "headers"),
    *("organization", "azure_ad_token", "drop_params"),
)
_OURS = "rasa_ft_ext"  # the name of our own id among a batch's metadata


@dataclass(frozen=True)
class Seen:
    """A batch as the provider shows it. `problems` is what it says where it refuses the batch as a whole."""

    id: str
    status: str
    total: int
    completed: int
    output: str | None
    errors: str | None
    codes: frozenset[str]
    problems: str

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED


@dataclass(frozen=True)
class Outcome:
    """What became of one request: an answer, or a fault."""

    key: str
    result: Completion | Fault

    @property
    def is_answer(self) -> bool:
        """Whether the provider counts the request among those it has answered."""
        return isinstance(self.result, Completion) or self.result.kind == "answer"


class BatchClient:
    """See the module.

    Args:
        settings: How the model is reached.

    Raises:
        ConfigError: its provider has no such batches.
    """

    def __init__(self, settings: LLMSettings) -> None:
        check_provider(settings)
        self._settings = settings
        self._server = server_of(settings)
        self._address = _ADDRESSES.get(settings.provider, "/v1/chat/completions")
        self._client: Any = None

    async def __aenter__(self) -> Self:
        with self._in_our_words():
            self._client = _client(self._settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def upload(self, name: str, stream: IO[bytes]) -> str:
        """Upload requests, one on each line; return the file's id.

        Raises:
            Fault: it failed.
        """
        with self._in_our_words():
            return _id(await self._client.files.create(file=(name, stream, "application/jsonl"), purpose="batch"))

    async def is_ready(self, file: str) -> bool:
        """Whether the provider has looked through a file; a batch cannot be made of it before.

        Raises:
            Fault: it failed.
        """
        with self._in_our_words():
            status = (await self._client.files.retrieve(file)).status
        if status == "error":
            raise Fault("request", LLMError(f"{self._server.who} does not take the file {file} with the batch."))
        return status not in ("pending", "running", "notRunning")

    async def create(self, file: str, name: str) -> str:
        """Make a batch of an uploaded file, with our own id `name`; return its id.

        Raises:
            Fault: it failed.
        """
        with self._in_our_words():
            batch = await self._client.batches.create(
                input_file_id=file, endpoint=self._address, completion_window="24h", metadata={_OURS: name}
            )
            return _id(batch)

    async def find(self, file: str | None, name: str) -> str | None:
        """The id of the batch that was made of a file, or with our own id `name`, if there is one.

        Raises:
            Fault: it failed.
        """
        with self._in_our_words():
            async for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(_OURS) == name or (file and batch.input_file_id == file):
                    return _id(batch)
        return None

    async def look(self, batch: str) -> Seen | None:
        """How far a batch is; None where the provider does not know it any more.

        Raises:
            Fault: it failed.
        """
        from openai import NotFoundError

        with self._in_our_words():
            try:
                seen = await self._client.batches.retrieve(batch)
            except NotFoundError:
                return None
            _id(seen)
        told = (seen.errors.data or []) if seen.errors else []
        counts = seen.request_counts
        return Seen(
            id=seen.id,
            status=seen.status,
            total=counts.total if counts else 0,
            completed=counts.completed if counts else 0,
            output=seen.output_file_id,
            errors=seen.error_file_id,
            codes=frozenset(entry.code for entry in told if entry.code),
            problems=self._settings.scrub("; ".join(entry.message or entry.code or "" for entry in told[:3])),
        )

    async def outcomes(self, batch: Seen) -> AsyncIterator[Outcome]:
        """What became of the requests of a batch that has ended, in any order.

        Raises:
            Fault: the files could not be read to their end.
        """
        for file in filter(None, (batch.output, batch.errors)):
            async for line in self._lines(file):
                yield self._outcome(line)

    async def _lines(self, file: str) -> AsyncIterator[dict[str, Any]]:
        """The lines of a file as they come; it may be larger than memory."""
        rest = b""
        with self._in_our_words():
            async with self._client.files.with_streaming_response.content(file) as response:
                async for part in response.iter_bytes():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield json.loads(line)
            if rest.strip():
                yield json.loads(rest)

    def _outcome(self, line: dict[str, Any]) -> Outcome:
        key, response, error = str(line.get("custom_id")), line.get("response") or {}, line.get("error") or {}
        status, body = response.get("status_code"), response.get("body") or {}
        if status == 200:
            return Outcome(key, self._completion(body))
        if error.get("code") == "batch_cancelled":
            return Outcome(key, was_cancelled(self._server.who))
        if error.get("code") == "batch_expired":
            return Outcome(key, Fault("passing", LLMError(f"{self._server.who} did not come to a request in time.")))
        told = body.get("error") or error
        text = str(told.get("message") or told) if isinstance(told, dict) else str(told)
        fault = fault_of(_LineError(text, status or 500), self._server)
        # within a batch, having too much to do is one more way to fail: there is nothing to slow down
        return Outcome(key, Fault("passing", fault.error) if fault.kind == "throttled" else fault)

    def _completion(self, body: dict[str, Any]) -> Completion | Fault:
        try:
            text, usage = body["choices"][0]["message"]["content"], body.get("usage") or {}
            return Completion(
                text=text or "",
                usage=Usage(
                    prompt_tokens=usage.get("prompt_tokens") or 0, completion_tokens=usage.get("completion_tokens") or 0
                ),
                model=body.get("model") or self._settings.model,
                batch=True,
            )
        except (LookupError, TypeError):
            return Fault("answer", LLMAnswerError(f"{self._server.who} gave an answer that holds no text."))

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        import httpx
        from openai import OpenAIError

        try:
            yield
        except (OpenAIError, httpx.HTTPError) as error:
            raise fault_of(error, self._server) from error
        except ValueError as error:
            raise Fault("passing", LLMError(f"{self._server.who} sent what is no JSON: {error}")) from error


class _LineError(Exception):
    """The error of one request in a batch, with the status that a call would have got."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status_code = status


def was_cancelled(who: str) -> Fault:
    """What those are told whose request was in a batch that somebody has cancelled at the provider."""
    words = f"A batch was cancelled at the provider, {who}. The same command asks what is missing in a new one."
    return Fault("fatal", LLMUnavailableError(words))


def check_provider(settings: LLMSettings) -> None:
    """See that a model can be asked in batches.

    Raises:
        ConfigError: its provider has no batches as OpenAI has them.
    """
    if settings.provider not in _PROVIDERS:
        raise ConfigError(
            f"batches of {settings.model}",
            [
                f"the provider {settings.provider} has no batches as OpenAI's API has them; those that have are "
                f"{', '.join(_PROVIDERS)}. Use --llm-mode calls, or another model."
            ],
        )


def line_of(request: Request, settings: LLMSettings) -> bytes:
    """The line of a request in a batch's input."""
    address = _ADDRESSES.get(settings.provider, "/v1/chat/completions")
    body = {"model": settings.model, "messages": list(request.messages), **_parameters(settings)}
    line = {"custom_id": request.key, "method": "POST", "url": address, "body": body}
    return json.dumps(line).encode() + b"\n"


def _parameters(settings: LLMSettings) -> dict[str, Any]:
    """The parameters as litellm would send them: under the names that the model knows, without those it does not."""
    litellm_module()
    from litellm.types.utils import all_litellm_params
    from litellm.utils import get_optional_params

    leave_out = {*all_litellm_params, *_TRANSPORT} - {"extra_body"}
    given = {name: value for name, value in settings.arguments.items() if name not in leave_out}
    provider = str(settings.arguments["model"]).partition("/")[0]
    found = get_optional_params(model=settings.model, custom_llm_provider=provider, drop_params=True, **given)
    more = found.pop("extra_body", None) or {}
    found.pop("stream", None)
    return {**found, **more}


def _id(found: Any) -> str:
    """The id of what the server shows.

    Raises:
        ValueError: it shows something else.
    """
    if isinstance(name := getattr(found, "id", None), str):
        return name
    raise ValueError("an answer without an id")


def _client(settings: LLMSettings) -> Any:
    from openai import AsyncAzureOpenAI, AsyncOpenAI

    given = settings.arguments
    shared = {
        "max_retries": 0,
        "timeout": given.get("timeout", DEFAULT_TIMEOUT),
        "default_headers": given.get("extra_headers"),
    }
    if settings.provider == "azure":
        return AsyncAzureOpenAI(
            azure_endpoint=given.get("api_base") or os.environ.get("AZURE_API_BASE", ""),
            api_version=given.get("api_version") or os.environ.get("AZURE_API_VERSION"),
            api_key=given.get("api_key") or os.environ.get("AZURE_API_KEY") or os.environ.get("AZURE_OPENAI_API_KEY"),
            azure_ad_token=given.get("azure_ad_token") or os.environ.get("AZURE_AD_TOKEN"),
            **shared,
        )
    address = given.get("api_base") or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    return AsyncOpenAI(base_url=address, api_key=given.get("api_key"), organization=given.get("organization"), **shared)

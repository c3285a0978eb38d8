"""The command generator's own LLM, asked through the gateway like any other.

Rasa's client makes one attempt at a time; limits, retries and the cache are the gateway's. So while a teacher is open,
the generator's configuration says that the transport is not to retry by itself, and Rasa's log says nothing of attempts
that failed: the gateway tells what stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from typing import Any, Protocol

import structlog
from rasa.core.constants import DEFAULT_REQUEST_TIMEOUT
from rasa.shared.exceptions import ProviderClientAPIException, ProviderClientValidationError
from rasa.shared.providers.llm.llm_response import LLMResponse
from rasa.shared.utils.llm import resolve_model_client_config

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import ConfigError, LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.base import Completion, Readable
from rasa_ft_ext.llm.client import server_of
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.gateway import Send
from rasa_ft_ext.llm.provider_errors import Server, fault_of
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import resolve
from rasa_ft_ext.rasa_pro.llm_errors import SET_KEY, causes_of, without_keys
from rasa_ft_ext.rasa_pro.recording import models_of

Prompt = str | list[Any]
"""What Rasa's client takes: a text, or a list of messages."""

_ONE_ATTEMPT = {"max_retries": 0, "num_retries": 0}
_ATTEMPTING: ContextVar[bool] = ContextVar("rasa_ft_ext_attempting", default=False)


class Asking(Protocol):
    """What a request is asked of: `rasa_ft_ext.llm.gateway.Gateway`, or what stands for it in another process."""

    async def ask(self, request: Request, send: Send, readable: Readable | None = None) -> Completion: ...


class Teacher:
    """See the module.

    Args:
        generator: The command generator's instance.
        gateway: Where its LLM is asked.
        timeout: Seconds that one attempt may take, in place of what the generator's configuration says.
    """

    def __init__(self, generator: Any, gateway: Asking, timeout: float | None = None) -> None:
        self._generator = generator
        self._gateway = gateway
        self._timeout = timeout
        self._invoke = generator.invoke_llm
        self._config = generator.config
        self.model, self._server = _known_as(models_of(generator), timeout)
        generator.config = {**self._config, "llm": _one_attempt(generator, timeout)}
        structlog.get_config()["processors"].insert(0, _unless_attempting)

    def close(self) -> None:
        """Leave the generator as it was."""
        self._generator.config = self._config
        processors = structlog.get_config()["processors"]
        if _unless_attempting in processors:
            processors.remove(_unless_attempting)

    async def ask(
        self, prompt: Prompt, sample: int = 0, readable: Readable | None = None, given: tuple[Any, Any] | None = None
    ) -> Completion:
        """The LLM's answer to a prompt.

        Args:
            prompt: The prompt, as Rasa gives it to its client.
            sample: Which of several answers to the same prompt is wanted.
            readable: Tells an answer of the wrong form.
            given: Positional and other arguments of `invoke_llm`, where Rasa has put them together already.

        Raises:
            LLMUnavailableError: every further call would fail as well.
            LLMError: this call failed.
        """
        args, kwargs = given or ((_as_input(prompt),), {})
        request = Request(self.model, _messages(prompt), sample)
        return await self._gateway.ask(request, lambda: self._attempt(args, kwargs), readable)

    async def _attempt(self, args: Any, kwargs: Any) -> Completion:
        try:
            with _quietly():
                async with asyncio.timeout(self._timeout):
                    answer = await self._invoke(*args, **kwargs)
        except ProviderClientValidationError as error:
            text = without_keys(str(error))
            raise Fault("fatal", LLMUnavailableError(f"{self._server.who} cannot be asked: {text}")) from error
        except (ProviderClientAPIException, TimeoutError) as error:
            raise self._fault(error) from error
        except Exception as error:  # a generator of one's own may fail in its own ways
            told = without_keys(f"The command generator failed: {type(error).__name__}: {error}")
            raise Fault("request", LLMError(told)) from error
        response = LLMResponse.ensure_llm_response(answer) if answer is not None else None
        if response is None or not response.choices:
            raise Fault("answer", LLMAnswerError(f"{self._server.who} gave an answer that holds no text."))
        return Completion(response.choices[0] or "", _usage(response), response.model or "")

    def _fault(self, error: Exception) -> Fault:
        fault = fault_of(error, self._server)
        resting = (getattr(cause, "cooldown_time", None) for cause in causes_of(error))  # all models of a router
        fault.retry_after = fault.retry_after or next((seconds for seconds in resting if seconds), None)
        return fault


def _usage(response: LLMResponse) -> Usage:
    if response.usage is None:
        return Usage()
    return Usage(
        prompt_tokens=response.usage.prompt_tokens or 0,
        completion_tokens=response.usage.completion_tokens or 0,
    )


def _known_as(models: list[dict[str, Any]], timeout: float | None) -> tuple[Mapping[str, Any], Server]:
    """What names the LLM in a request, and whom errors speak of.

    It is what `LiteLLM` would say of the same model, so that both share the limits of its server, and the answers. A
    model that `LiteLLM` cannot call is known by what Rasa says of it.
    """
    first, *others = models
    try:
        settings = resolve(first, {}, "the command generator's LLM")
        model, server = dict(settings.known_as), server_of(settings)
        who, scrub, set_key = server.who, server.scrub, server.set_key
    except ConfigError:
        model = dict(first)
        who, scrub, set_key = Request(model, ()).who, without_keys, SET_KEY
    if first.get("use_chat_completions_endpoint") is False:
        model["use_chat_completions_endpoint"] = False
    if others:
        model["others"] = others
    seconds = timeout or first.get("timeout") or DEFAULT_REQUEST_TIMEOUT
    who = f"{who} (set in endpoints.yml or config.yml)"
    return model, Server(who=who, set_key=set_key, scrub=scrub, timeout=float(seconds))


def _one_attempt(generator: Any, timeout: float | None) -> dict[str, Any]:
    """The generator's LLM configuration, with no retries of the transport and the timeout, if there is one."""
    resolved = resolve_model_client_config(generator.config.get("llm"), type(generator).__name__)
    config: dict[str, Any] = deepcopy(dict(resolved or generator.get_default_llm_config()))
    for model in config.get("models") or [config]:
        model.update(_ONE_ATTEMPT)
        if timeout is not None:
            model["timeout"] = timeout
    if "router" in config:
        config["router"] = {**config["router"], "num_retries": 0}
        if timeout is not None:
            config["timeout"] = timeout
    return config


def _messages(prompt: Prompt) -> tuple[Mapping[str, Any], ...]:
    """The messages that Rasa's client makes of a prompt."""
    entries = [prompt] if isinstance(prompt, str) else prompt
    return tuple({"role": "user", "content": entry} if isinstance(entry, str) else entry for entry in entries)


def _as_input(prompt: Prompt) -> Any:
    """The argument of `invoke_llm`."""
    try:
        from rasa.shared.utils.llm import LLMInput
    except ImportError:  # Rasa before 3.15 takes the prompt itself
        return prompt
    return LLMInput(prompt=prompt)


def prompt_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Prompt:
    """The prompt among the arguments of `invoke_llm`."""
    given = args[0] if args else next(iter(kwargs.values()))
    prompt: Prompt = getattr(given, "prompt", given)
    return prompt


@contextmanager
def _quietly() -> Iterator[None]:
    token = _ATTEMPTING.set(True)
    try:
        yield
    finally:
        _ATTEMPTING.reset(token)


def _unless_attempting(_: Any, __: str, event: Any) -> Any:
    """Drop what is logged during an attempt: what failed is made good, or told by the gateway."""
    if _ATTEMPTING.get():
        raise structlog.DropEvent
    return event

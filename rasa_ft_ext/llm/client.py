"""The LLM behind litellm: one model, called through a gateway, with errors in our own words.

    llm = LiteLLM(resolve({"provider": "openai", "model": "gpt-4.1-mini-2025-04-14"}, {}, "rephrase.yml"), gateway)
    completion = await llm.complete("Say hello.")

litellm is imported at the first call. It makes one attempt at a time: retries, limits and the cache are the gateway's.
The connections belong to litellm, which shares them among all who use it in this process and closes them when the
process ends.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import LLMAnswerError
from rasa_ft_ext.llm.base import LLM, Completion, Readable
from rasa_ft_ext.llm.faults import Fault
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.provider_errors import Server, fault_of
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import KEY_VARIABLES, SELF_HOSTED, LLMSettings

DEFAULT_TIMEOUT = 120.0
"""Seconds that one call may take where the configuration says nothing."""


class LiteLLM(LLM):
    """One model, called through litellm.

    Args:
        settings: How the model is reached.
        gateway: What all calls of a run pass through; None: one of its own, without a cache.
    """

    def __init__(self, settings: LLMSettings, gateway: Gateway | None = None) -> None:
        self._settings = settings
        self._gateway = gateway or Gateway()
        self._server = server_of(settings)

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self._settings.public)

    async def complete(self, prompt: str, *, sample: int = 0, readable: Readable | None = None) -> Completion:
        messages = ({"role": "user", "content": prompt},)
        request = Request(self._settings.known_as, messages, sample)
        completion = await self._gateway.ask(request, lambda: self.send(messages), readable)
        if not completion.text.strip():
            raise LLMAnswerError(f"{self._server.who} gave an answer without text.")
        return completion

    async def send(self, messages: Sequence[Mapping[str, Any]]) -> Completion:
        """Make one attempt, past the gateway.

        Raises:
            Fault: it failed.
        """
        litellm = litellm_module()
        from openai import OpenAIError  # the base of all that litellm raises

        try:
            response: Any = await litellm.acompletion(
                messages=list(messages),
                drop_params=True,
                num_retries=0,
                max_retries=0,
                **{"timeout": DEFAULT_TIMEOUT, **self._settings.arguments},
            )
        except OpenAIError as error:
            raise fault_of(error, self._server) from error
        return self._completion(response)

    def _completion(self, response: Any) -> Completion:
        choices = getattr(response, "choices", None)
        if not choices:
            error = LLMAnswerError(f"{self._server.who} gave an answer that holds no text.")
            raise Fault("answer", error)
        usage = getattr(response, "usage", None)
        return Completion(
            text=choices[0].message.content or "",
            usage=Usage(
                prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
                completion_tokens=getattr(usage, "completion_tokens", None) or 0,
            ),
            model=response.model or self._settings.model,
        )


def server_of(settings: LLMSettings) -> Server:
    """Whom errors of calls with these settings speak of."""
    return Server(
        who=f"{settings.model} at {settings.address}",
        set_key=_set_key(settings),
        scrub=settings.scrub,
        timeout=settings.arguments.get("timeout", DEFAULT_TIMEOUT),
    )


def _set_key(settings: LLMSettings) -> str:
    if settings.provider == SELF_HOSTED:
        return "Set HOSTED_VLLM_API_KEY to the key that the server was started with."
    variables = KEY_VARIABLES.get(settings.provider)
    return f"Set {' or '.join(variables)}." if variables else "Set `api_key`."


@cache
def litellm_module() -> Any:
    """litellm, set up to be quiet and to download nothing."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or the import downloads a price list
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.success_callback = []
    litellm.failure_callback = []
    return litellm

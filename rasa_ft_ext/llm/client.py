"""The LLM behind litellm: one model, a limit on calls at a time, our own retries, and errors in our own words.

    llm = LiteLLM(resolve({"provider": "openai", "model": "gpt-4.1-mini-2025-04-14"}, {}, "rephrase.yml"))
    completion = await llm.complete("Say hello.")

litellm is imported at the first call. What its providers raise is understood here and nowhere else. The connections
belong to litellm, which shares them among all who use it in this process and closes them when the process ends.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from rasa_ft_ext.conversation import Usage
from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError, chain_of
from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.llm.settings import KEY_VARIABLES, SELF_HOSTED, LLMSettings

DEFAULT_TIMEOUT = 120.0
"""Seconds that one call may take where the configuration says nothing."""

_LONGEST_WAIT = 60.0
_LONGEST_TEXT = 400
_NO_KEY = re.compile(r"missing credentials|missing \w+ api.?key|unable to locate credentials", re.I)
_NO_CHOICES = re.compile(r"no 'choices'|list index out of range|unable to get json response", re.I)
_TOO_LONG = re.compile(r"context.?(length|window)", re.I)
_NO_MONEY = re.compile(r"insufficient_quota|exceeded your current quota", re.I)
_backoff = wait_exponential_jitter(initial=1, max=30, jitter=1)


class LiteLLM(LLM):
    """One model, called through litellm.

    Args:
        settings: How the model is reached.
        concurrency: How many calls may be under way at a time.
        attempts: How often one call is tried, the first time included.
        sleep: Waits so many seconds between two attempts; tests give one that does not.
    """

    def __init__(
        self,
        settings: LLMSettings,
        *,
        concurrency: int = 16,
        attempts: int = 5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._limit = asyncio.Semaphore(concurrency)
        self._answered = False
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=_wait,
            retry=retry_if_exception(self._may_pass),
            sleep=sleep,
            reraise=True,
        )

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self._settings.public)

    async def complete(self, prompt: str) -> Completion:
        litellm = _litellm()
        from openai import OpenAIError  # the base of all that litellm raises

        try:
            response: Any = await self._retrying(self._call, litellm, prompt)
        except OpenAIError as error:
            raise _in_our_words(error, self._settings) from error
        return self._completion(response)

    async def _call(self, litellm: Any, prompt: str) -> Any:
        async with self._limit:
            response = await litellm.acompletion(
                messages=[{"role": "user", "content": prompt}],
                drop_params=True,
                num_retries=0,
                max_retries=0,
                **{"timeout": DEFAULT_TIMEOUT, **self._settings.arguments},
            )
        self._answered = True
        return response

    def _completion(self, response: Any) -> Completion:
        choices = getattr(response, "choices", None)
        text = choices[0].message.content if choices else None
        if not isinstance(text, str) or not text.strip():
            finish = f" (finish reason: {choices[0].finish_reason})" if choices else ""
            raise LLMAnswerError(f"{_who(self._settings)} gave an answer without text{finish}.")
        usage = getattr(response, "usage", None)
        return Completion(
            text=text,
            usage=Usage(
                prompt_tokens=getattr(usage, "prompt_tokens", None) or 0,
                completion_tokens=getattr(usage, "completion_tokens", None) or 0,
            ),
            model=response.model or self._settings.model,
        )

    def _may_pass(self, error: BaseException) -> bool:
        """Whether the same call may succeed a little later."""
        if _is_refused(error):
            return self._answered  # a server that has answered before is perhaps only being restarted
        text = str(error)
        if _NO_KEY.search(text) or _NO_CHOICES.search(text) or _NO_MONEY.search(text):
            return False
        status = getattr(error, "status_code", None)
        return isinstance(status, int) and (status in (408, 429) or status >= 500)


@cache
def _litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or the import downloads a price list
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.success_callback = []
    litellm.failure_callback = []
    return litellm


def _wait(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the server asks for, or longer and longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = (getattr(error, "litellm_response_headers", None) or {}).get("retry-after", "")
    if re.fullmatch(r"\d+(\.\d+)?", str(asked)):
        return min(float(asked), _LONGEST_WAIT)
    return _backoff(state)


def _in_our_words(error: Exception, settings: LLMSettings) -> LLMError:
    """What happened, where, and what to do, for an error of litellm."""
    who, text, status = _who(settings), str(error), getattr(error, "status_code", None)
    if _is_refused(error):
        return LLMUnavailableError(f"Nobody answers for {who}. Is the server running, and is the address right?")
    if status in (401, 403) or _NO_KEY.search(text):
        return LLMUnavailableError(f"{who} refuses the call (no key, or a wrong one). {_set_key(settings)}")
    if status == 404:
        return LLMError(f"{who} was not found: {_excerpt(text, settings)} (check `model` and `api_base`)")
    if _NO_MONEY.search(text):
        return LLMUnavailableError(f"The quota for {who} is used up. Raise it, or use another key.")
    if _NO_CHOICES.search(text):
        return LLMAnswerError(f"{who} gave an answer that holds no text: {_excerpt(text, settings)}")
    if status == 408:
        seconds = settings.arguments.get("timeout", DEFAULT_TIMEOUT)
        return LLMError(f"{who} did not answer within {seconds:g} seconds. Set a longer `timeout`.")
    if _TOO_LONG.search(text):
        return LLMError(f"The prompt is too long for {who}: {_excerpt(text, settings)}")
    return LLMError(f"The call to {who} failed: {_excerpt(text, settings)}")


def _who(settings: LLMSettings) -> str:
    return f"{settings.model} at {settings.address}"


def _set_key(settings: LLMSettings) -> str:
    if settings.provider == SELF_HOSTED:
        return "Set HOSTED_VLLM_API_KEY to the key that the server was started with."
    variables = KEY_VARIABLES.get(settings.provider)
    return f"Set {' or '.join(variables)}." if variables else "Set `api_key`."


def _excerpt(text: str, settings: LLMSettings) -> str:
    """The first line, without secrets and without what differs from run to run."""
    line = settings.scrub(text.strip().partition("\n")[0])
    line = re.sub(r" at 0x[0-9a-f]+", "", line)
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "..."


def _is_refused(error: BaseException) -> bool:
    """Whether no connection came about: nobody listens, or the host's name is unknown."""
    return any(type(cause).__name__ == "ConnectError" for cause in chain_of(error))

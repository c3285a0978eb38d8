"""What the clients of LLM providers raise, as faults in our own words: the one place where it is understood.

litellm, the openai SDK and Rasa's clients, which wrap the former, all say the status of the answer and its text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rasa_ft_ext.errors import LLMAnswerError, LLMError, LLMUnavailableError
from rasa_ft_ext.llm.faults import Fault

_LONGEST_TEXT = 400
_NO_KEY = re.compile(r"missing credentials|missing \w+ api.?key|unable to locate credentials|incorrect api key", re.I)
_NO_CHOICES = re.compile(
    r"no 'choices'|list index out of range|unable to get json response|expecting value|jsondecodeerror|"
    r"unterminated string|expecting property name|invalid response object|empty or invalid response|"
    r"no attribute 'choices'|'nonetype' object is not (subscriptable|iterable)|error decoding json|'choices'",
    re.I,
)
_TOO_LONG = re.compile(r"context.?(length|window)|maximum context|too many tokens", re.I)
_NEVER_FITS = re.compile(r"request too large", re.I)  # one call takes more tokens than a minute has
_SOON = re.compile(r"per.?minute|retry in \d|retrydelay", re.I)  # a quota that is there again before long
_NO_MONEY = re.compile(r"insufficient_quota|exceeded your current quota|billing_hard_limit", re.I)
_NOBODY_THERE = {
    "ConnectError",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "gaierror",
    "ConnectionRefusedError",
}
_SLOW = {"Timeout", "APITimeoutError", "TimeoutError", "ReadTimeout", "ServerTimeoutError", "SocketTimeoutError"}
_USER_IN_ADDRESS = re.compile(r"cannot combine authorization header with", re.I)  # aiohttp sends one or the other
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class Server:
    """Whom an error speaks of.

    `set_key` is what to do where a key is missing or wrong; `scrub` takes the secrets out of a text; `timeout` are the
    seconds that a call may take.
    """

    who: str
    set_key: str
    scrub: Callable[[str], str]
    timeout: float


def fault_of(error: BaseException, server: Server) -> Fault:
    """What happened, where, and what to do, for an error of a provider's client."""
    causes = list(_causes(error))
    names = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
    status = next((code for cause in causes if isinstance(code := getattr(cause, "status_code", None), int)), None)
    text = " ".join(dict.fromkeys(str(cause) for cause in causes))
    teller = next((cause for cause in causes if hasattr(cause, "status_code")), causes[-1])
    told = _excerpt(str(teller) or type(teller).__name__, server)
    who = server.who
    if names & _NOBODY_THERE and not names & {"ReadTimeout"}:
        where = LLMUnavailableError(f"Nobody answers for {who}. Is the server running, and is the address right?")
        return Fault("unreachable", where)
    if _USER_IN_ADDRESS.search(text):
        words = f"{who} cannot be called: a user and a password in `api_base` cannot be sent beside an API key."
        return Fault("fatal", LLMUnavailableError(f"{words} Take them out of the address."))
    if status in (401, 403) or _NO_KEY.search(text) or "AuthenticationError" in names:
        return Fault("fatal", LLMUnavailableError(f"{who} refuses the call (no key, or a wrong one). {server.set_key}"))
    if _NO_MONEY.search(text) and not (status == 429 and _SOON.search(text)):
        return Fault("fatal", LLMUnavailableError(f"The quota for {who} is used up. Raise it, or use another key."))
    if status == 429 and not _NEVER_FITS.search(text):
        return Fault("throttled", LLMError(f"{who} has too much to do: {told}"), _retry_after(causes))
    if status == 404:
        return Fault("request", LLMError(f"{who} was not found: {told} (check `model` and `api_base`)"))
    if _TOO_LONG.search(text) or _NEVER_FITS.search(text):
        return Fault("request", LLMError(f"The prompt is too long for {who}: {told}"))
    if status == 408 or names & _SLOW:
        slow = LLMError(f"{who} did not answer within {server.timeout:g} seconds. Set a longer `timeout`.")
        return Fault("passing", slow)
    if _NO_CHOICES.search(text):
        return Fault("answer", LLMAnswerError(f"{who} gave an answer that holds no text: {told}"))
    if isinstance(status, int) and 400 <= status < 500:
        return Fault("request", LLMError(f"The call to {who} failed: {told}"))
    return Fault("passing", LLMError(f"The call to {who} failed: {told}"), _retry_after(causes))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it comes from; Rasa's keep that in `original_exception`."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "original_exception", None) or current.__cause__ or current.__context__


def _retry_after(causes: list[BaseException]) -> float | None:
    """The seconds that the server asks to wait, where it says so in a number."""
    for cause in causes:
        for headers in (getattr(cause, "litellm_response_headers", None), _headers(cause)):
            asked = str((headers or {}).get("retry-after", ""))
            if _NUMBER.fullmatch(asked):
                return float(asked)
    return None


def _headers(cause: BaseException) -> Any:
    return getattr(getattr(cause, "response", None), "headers", None)


def _excerpt(text: str, server: Server) -> str:
    """The first line, without secrets and without what differs from run to run."""
    line = server.scrub(text.strip().partition("\n")[0])
    line = re.sub(r" at 0x[0-9a-f]+", "", line)
    return line if len(line) <= _LONGEST_TEXT else line[:_LONGEST_TEXT] + "..."

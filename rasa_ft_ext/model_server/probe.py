"""Whether a server that speaks OpenAI's API really answers: it is healthy, knows the model, and completes a chat.

A server may be healthy and die at the first request, as vLLM does where a model has what its kernels cannot compute. So
ready means that one token came back.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from rasa_ft_ext.errors import ServeError

_QUICK = 5.0  # seconds for what costs no computing


def is_ready(base_url: str, model: str, api_key: str | None, *, timeout: float) -> bool:
    """Ask for one token, if the server is up; False where it is not so far.

    Args:
        base_url: Such as `http://127.0.0.1:8000/v1`.
        model: The name that it is served under.
        api_key: What is shown to the server, if it asks for one.
        timeout: Seconds that the first answer may take.

    Raises:
        ServeError: it answers, but will never do so as it should.
    """
    if _call(f"{base_url.removesuffix('/v1')}/health", None, timeout=_QUICK) is None:
        return False
    models = _call(f"{base_url}/models", api_key, timeout=_QUICK)
    if models is None:
        return False
    names = [entry["id"] for entry in models["data"]]
    if model not in names:
        raise ServeError(f"The server at {base_url} has no model '{model}', only: {', '.join(names)}.")
    question = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
    return _call(f"{base_url}/chat/completions", api_key, question, timeout=timeout) is not None


def _call(url: str, api_key: str | None, body: Any = None, *, timeout: float) -> Any:
    """The JSON of an answer, {} for one without; None where nobody answers, or nobody can yet."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=timeout) as response:
            return json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")
        if error.code < 500 or body is not None:
            raise ServeError(f"The server fails at the first request, {url}: status {error.code}, {said}") from error
    except (OSError, ValueError):
        pass
    return None

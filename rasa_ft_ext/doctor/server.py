"""The model server as the doctor sees it: which models it has, what its tokens are, what it answers.

Every server speaks of its models; vLLM also says how long a prompt may be, and at `/tokenize` what a prompt becomes
with its chat template. Answers are asked for through `rasa_ft_ext.llm`, as everywhere else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rasa_ft_ext.doctor.findings import Unknown
from rasa_ft_ext.errors import LLMError, RasaFtError
from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.settings import LLMSettings

_PATIENCE = 10.0  # seconds that a server may take to say what it serves
_TRIES = 2


class ServerError(RasaFtError):
    """The server gave no answer, or none that helps; `status` is that of the answer, None where there was none."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """One server; what it said once is not asked again.

    Args:
        settings: How the assistant reaches it.
    """

    def __init__(self, settings: LLMSettings) -> None:
        self.settings = settings
        self.base = str(settings.arguments["api_base"]).rstrip("/")

    def ask_models(self) -> Sequence[Mapping[str, Any]]:
        """What it serves, as OpenAI's API lists models.

        Raises:
            ServerError: it does not say.
        """
        listed = self._call(f"{self.base}/models").get("data")
        if not isinstance(listed, list):
            raise ServerError(f"{self.base}/models answers with something other than a list of models")
        return [model for model in listed if isinstance(model, Mapping)]

    @cached_property
    def _models(self) -> Sequence[Mapping[str, Any]] | None:
        try:
            return self.ask_models()
        except ServerError:
            return None

    @property
    def models(self) -> dict[str, Mapping[str, Any]]:
        """The models by their name.

        Raises:
            Unknown: the server does not say.
        """
        if self._models is None:
            raise Unknown("the server does not say what it serves")
        return {str(model.get("id")): model for model in self._models}

    def find_model(self) -> Mapping[str, Any]:
        """What it says of the model that the assistant asks for.

        Raises:
            Unknown: it does not serve that one.
        """
        if self.settings.model not in self.models:
            raise Unknown(f"the server has no model {self.settings.model}")
        return self.models[self.settings.model]

    def tokens(self, prompt: str) -> list[int] | None:
        """What the prompt becomes with the server's chat template and tokenizer; None where the server does not say.

        Raises:
            Unknown: the server cannot be asked.
        """
        request = {
            "model": self.find_model()["id"],
            "messages": [{"role": "user", "content": prompt}],
            "add_generation_prompt": True,
        }
        try:
            found = self._call(f"{self.base.removesuffix('/v1')}/tokenize", request).get("tokens")
        except ServerError:
            return None
        return found if isinstance(found, list) else None

    def answers(self, prompts: Sequence[str]) -> list[Completion | LLMError]:
        """What the model says to each prompt, with the assistant's own settings, or why it says nothing.

        Raises:
            Unknown: the server cannot be asked.
        """
        self.find_model()
        llm = LiteLLM(self.settings, Gateway(concurrency=4, policy=Policy(attempts=_TRIES)))

        async def ask(prompt: str) -> Completion | LLMError:
            try:
                return await llm.complete(prompt)
            except LLMError as error:
                return error

        async def ask_all() -> list[Completion | LLMError]:
            return await asyncio.gather(*map(ask, prompts))

        return asyncio.run(ask_all())

    def _call(self, url: str, content: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/json", **self.settings.arguments.get("extra_headers", {})}
        if key := self.settings.arguments.get("api_key"):
            headers["Authorization"] = f"Bearer {key}"
        data = json.dumps(content).encode() if content is not None else None
        try:
            with urlopen(Request(url, data, headers), timeout=_PATIENCE) as response:
                found = json.loads(response.read())
        except HTTPError as error:
            raise ServerError(f"{url} answers with the status {error.code} ({error.reason})", error.code) from error
        except (URLError, OSError, HTTPException) as error:
            raise ServerError(f"Nobody answers at {url} ({getattr(error, 'reason', None) or error})") from error
        except ValueError as error:
            raise ServerError(f"{url} answers with something that is no JSON") from error
        if not isinstance(found, Mapping):
            raise ServerError(f"{url} answers with something other than an object")
        return found

"""transformers as a model server: for machines without vLLM, and to compare vLLM's answers with.

It answers one request at a time and always greedily. `transformers_api` is what runs in the process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec

from rasa_ft_ext.errors import ConfigError, MissingExtraError
from rasa_ft_ext.model_server.process import TIMEOUT, ProcessServer
from rasa_ft_ext.model_server.settings import API_KEY_VARIABLE, ServeSettings

MODULE = "rasa_ft_ext.model_server.transformers_api"


class TransformersServer(ProcessServer):
    """A model served by transformers."""

    def __init__(self, settings: ServeSettings, *, timeout: float = TIMEOUT) -> None:
        """Take what is served; the arguments are those of `ProcessServer`.

        Raises:
            ConfigError: there are arguments for vLLM.
            MissingExtraError: torch, transformers or, for an adapter, peft is not installed.
        """
        if settings.extra:
            raise ConfigError("arguments", [f"{' '.join(settings.extra)} is for vLLM; transformers takes no more."])
        if any(find_spec(name) is None for name in ("torch", "transformers", *(["peft"] if settings.lora else []))):
            raise MissingExtraError("PyTorch with transformers", "train")
        super().__init__(settings, timeout=timeout)

    def command(self, port: int) -> list[str]:
        given = asdict(self.settings) | {"port": port}
        del given["api_key"]
        return [sys.executable, "-m", MODULE, json.dumps(given)]

    def environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop(API_KEY_VARIABLE, None)
        if self.settings.api_key:
            environment[API_KEY_VARIABLE] = self.settings.api_key
        return environment

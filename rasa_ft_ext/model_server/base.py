"""The seam to what serves a model: a model folder in, a base URL out.

    with VllmServer(settings) as server:
        ...                             # OpenAI's API is at server.base_url, such as http://127.0.0.1:8000/v1

There are two: `vllm.VllmServer`, and `transformers.TransformersServer` for machines without vLLM.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from rasa_ft_ext.model_server.settings import ServeSettings


class ModelServer(ABC):
    """One model behind an address that speaks OpenAI's API; as a context manager it runs for as long as the block."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings

    @property
    def name(self) -> str:
        """What callers give as `model`."""
        return self.settings.name

    @property
    @abstractmethod
    def base_url(self) -> str:
        """The address as callers on this machine need it; known once the server was started."""

    @abstractmethod
    def start(self) -> None:
        """Start, and return when the model has answered.

        Raises:
            ServeError: it died, or was not ready in time; with the end of the server's log.
        """

    @abstractmethod
    def wait(self) -> None:
        """Block for as long as it runs.

        Raises:
            ServeError: it ended although nobody had stopped it.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop it and wait until nothing of it is left; without effect where it does not run."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

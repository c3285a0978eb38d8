"""Calls gathered into batches at the provider: half the price, and answers within a day.

    batches = Batches(cache, progress)
    batches.know(settings)
    completion = await batches.sender(request)()      # raises Fault, as a call does

A request waits with others for one model until no new one has come for a while; then all are sent as one batch (see
`rasa_ft_ext.llm.batch.desk`). What is at the provider is known on disk, so that a run which was stopped takes up its
batches again, and sends no request twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from rasa_ft_ext.llm.base import Completion
from rasa_ft_ext.llm.batch.client import check_provider
from rasa_ft_ext.llm.batch.desk import Desk
from rasa_ft_ext.llm.batch.pace import Pace
from rasa_ft_ext.llm.batch.state import BatchState
from rasa_ft_ext.llm.database import Database
from rasa_ft_ext.llm.faults import Policy
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import LLMSettings
from rasa_ft_ext.progress import Progress


class Keeper(Protocol):
    """Where answers and batches are kept: `rasa_ft_ext.llm.cache.Cache`."""

    @property
    def database(self) -> Database: ...


class Batches:
    """See the module.

    Args:
        cache: Where answers are kept, and where it is known what is at the provider.
        progress: Is told what is sent and how far it is.
        policy: How often what fails is tried.
        pace: How batches are made and looked at.
        wanted: Whether the call that is being made is of those that batches are made of; None: every one is.
        sleep: Waits so many seconds; tests give one that does not.
    """

    def __init__(
        self,
        cache: Keeper,
        progress: Progress | None = None,
        *,
        policy: Policy | None = None,
        pace: Pace | None = None,
        wanted: Callable[[], bool] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cache = cache
        self.progress = progress or Progress()
        self.policy = policy or Policy()
        self.pace = pace or Pace()
        self._wanted = wanted
        self.sleep = sleep
        self._known: dict[str, LLMSettings] = {}
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Desk]] = WeakKeyDictionary()

    @property
    def state(self) -> BatchState:
        return BatchState(self._cache.database)

    @property
    def folder(self) -> Path:
        return self._cache.database.path.parent

    def know(self, settings: LLMSettings) -> None:
        """Let requests with these settings be made in batches.

        Raises:
            ConfigError: the provider has no such batches.
        """
        check_provider(settings)
        self._known[_name(settings.known_as)] = settings

    def takes(self, request: Request) -> bool:
        """Whether the request, which is being made, is to go into a batch."""
        return (self._wanted is None or self._wanted()) and self.knows(request.model)

    def knows(self, model: Mapping[str, Any]) -> bool:
        """Whether requests of this model can be made in batches."""
        return _name(model) in self._known

    def sender(self, request: Request) -> Callable[[], Awaitable[Completion]]:
        """What asks a request in a batch, as often as it is called.

        An answer that came with an earlier batch is given first; who calls again says that it was of no use.

        Raises, when it is called:
            Fault: this attempt failed.
        """
        settings = self._known[_name(request.model)]
        is_answered = False

        async def send() -> Completion:
            nonlocal is_answered
            if is_answered:
                await self.state.refuse(request.key)
            is_answered = False
            completion = await self._desk(request, settings).answer(request)
            is_answered = True
            return completion

        return send

    def _desk(self, request: Request, settings: LLMSettings) -> Desk:
        """What gathers the requests to one model, in the event loop that runs now."""
        desks = self._desks.setdefault(asyncio.get_running_loop(), {})
        if request.who not in desks:
            desks[request.who] = Desk(request.who, settings, self)
        return desks[request.who]


def _name(model: Mapping[str, Any]) -> str:
    return json.dumps(model, sort_keys=True, default=str)

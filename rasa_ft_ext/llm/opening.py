"""The gateway of a run, put together from what the user said about calls.

with open_calls(options, workspace.root, progress) as calls:
    assistant = load(..., gateway=calls.gateway)
    rephraser = calls.llm(settings)
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from rasa_ft_ext.llm.base import LLM, Completion
from rasa_ft_ext.llm.batch.batches import Batches
from rasa_ft_ext.llm.cache import FILE, Cache
from rasa_ft_ext.llm.client import LiteLLM
from rasa_ft_ext.llm.cost import IN_BATCHES, Ledger, PaidFor
from rasa_ft_ext.llm.database import Database
from rasa_ft_ext.llm.gateway import Gateway
from rasa_ft_ext.llm.lane import Rates
from rasa_ft_ext.llm.options import CallOptions
from rasa_ft_ext.llm.prices import Prices
from rasa_ft_ext.llm.request import Request
from rasa_ft_ext.llm.settings import LLMSettings
from rasa_ft_ext.llm.usage import Purpose
from rasa_ft_ext.progress import Progress

COSTS = "llm_costs.jsonl"
"""The file in the output folder to which each run appends what it paid; no result is made of it."""


class Kept:
    """The cache of a run, whose file is made when the first answer is looked up: a run that asks nobody leaves none.

    Args:
        folder: The folder of its file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self.folder)

    async def get(self, key: str) -> Completion | None:
        return await self._cache.get(key)

    async def put(self, key: str, request: Request, completion: Completion) -> Completion:
        return await self._cache.put(key, request, completion)

    def has(self, settings: Mapping[str, Any], prompt: str) -> bool:
        """Whether the first answer of the LLM that is known as `settings` to a prompt is kept; makes no file."""
        if not (self.folder / FILE).is_file():
            return False
        request = Request(settings, ({"role": "user", "content": prompt},))
        return asyncio.run(self._cache.get(request.key)) is not None

    @property
    def database(self) -> Database:
        """The file; it is made now."""
        return self._cache.database

    def close(self) -> None:
        if "_cache" in self.__dict__:
            self._cache.close()


@dataclasses.dataclass(frozen=True)
class Calls:
    """What the calls of a run go through, and where their cost is noted."""

    options: CallOptions
    gateway: Gateway
    ledger: Ledger
    cache: Kept | None
    batches: Batches | None = None

    def llm(self, settings: LLMSettings, purpose: Purpose) -> LLM:
        """An LLM that is called through the gateway, for this purpose.

        Raises:
            ConfigError: it is to be asked in batches, and its provider has none.
        """
        seconds = self.options.timeout
        if seconds is not None:
            settings = dataclasses.replace(settings, arguments={**settings.arguments, "timeout": seconds})
        if purpose in IN_BATCHES:
            self.gather(settings)
        return PaidFor(LiteLLM(settings, self.gateway), purpose)

    def gather(self, settings: LLMSettings) -> None:
        """Make the calls of an LLM in batches, those that can be, if that is the mode.

        Raises:
            ConfigError: its provider has none.
        """
        if self.batches is not None:
            self.batches.know(settings)


@contextmanager
def open_calls(options: CallOptions, folder: Path, progress: Progress) -> Iterator[Calls]:
    """Yield the calls of a run; at its end, however it ends, what was paid is told and written down.

    Args:
        options: What the user said.
        folder: The output folder: there answers are kept where no other is named, and `COSTS` is written.
        progress: Is told what was paid.
    """
    cache = Kept(Path(options.cache or folder)) if options.use_cache else None
    ledger = Ledger(Prices(options.price()), options.max_cost, batch=options.mode == "batch")
    if cache is None:
        ledger.how_to_go_on = "With a higher --max-cost the run starts anew, as it keeps no answers (--no-cache)."
    batches = None
    if cache is not None and options.mode == "batch":
        batches = Batches(cache, progress, policy=options.policy, wanted=lambda: ledger.purpose in IN_BATCHES)
    gateway = Gateway(
        concurrency=options.concurrency,
        rates=Rates(options.max_requests_per_minute, options.max_tokens_per_minute),
        policy=options.policy,
        cache=cache,
        book=ledger,
        batches=batches,
    )
    try:
        yield Calls(options, gateway, ledger, cache, batches)
    finally:
        if cache is not None:
            cache.close()
        if told := ledger.told():
            progress.note(told)
            _write_costs(folder / COSTS, ledger, progress)


def _write_costs(path: Path, ledger: Ledger, progress: Progress) -> None:
    """Append what a run paid, as one line; where that fails, the run does not, since it has told it already."""
    line = json.dumps({"paid": ledger.entries()}, ensure_ascii=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        progress.note(f"{path} cannot be written: {error.strerror or error}.")

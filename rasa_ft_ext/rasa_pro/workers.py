"""The trained assistant, with workers that do its work: see `rasa_ft_ext.workers`.

assistant = load_shared(project, "models", "endpoints.yml", workers=4, gateway=gateway, progress=progress)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasa_ft_ext.errors import AssistantError
from rasa_ft_ext.llm.options import Backend
from rasa_ft_ext.progress import Progress
from rasa_ft_ext.rasa_pro.loading import find_model
from rasa_ft_ext.rasa_pro.process import set_up_logs
from rasa_ft_ext.workers.assistant import WorkersAssistant, open_workers

if TYPE_CHECKING:
    from rasa_ft_ext.rasa_pro.assistant import RasaAssistant
    from rasa_ft_ext.rasa_pro.teacher import Asking


def _level_here() -> int:
    level = logging.getLevelName(os.environ.get("LOG_LEVEL", ""))
    return level if isinstance(level, int) else logging.getLogger("rasa").getEffectiveLevel()


@dataclass(frozen=True)
class Trained:
    """Loads a trained assistant in a worker, as `load` does here; its log is as loud as the one here.

    `model` is a file: which of a folder's models is the latest must not depend on when a worker looks.
    """

    project: Path
    model: str
    endpoints: str
    sub_agents: str | None = None
    remote_storage: str | None = None
    stubbed: bool = False
    loglevel: int = field(default_factory=_level_here)

    @classmethod
    def at(cls, project: str | Path, model: str, endpoints: str, **options: Any) -> Trained:
        """The assistant of a project, with the options of `load`."""
        place = Path(project).resolve()
        with suppress(AssistantError):  # where there is none on disk, Rasa fetches it, or `load` tells
            model = str(find_model(place, model))
        return cls(place, model, endpoints, **options)

    def open(self, llm: Any) -> RasaAssistant:
        set_up_logs(self.loglevel)
        return _load()(
            self.project,
            self.model,
            self.endpoints,
            sub_agents=self.sub_agents,
            remote_storage=self.remote_storage,
            stubbed=self.stubbed,
            gateway=llm,
        )


def load_shared(
    project: str | Path = ".",
    model: str = "models",
    endpoints: str = "endpoints.yml",
    *,
    workers: int = 1,
    backend: Backend = "processes",
    sub_agents: str | None = None,
    remote_storage: str | None = None,
    stubbed: bool = False,
    gateway: Asking | None = None,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> RasaAssistant | WorkersAssistant:
    """Load a trained assistant whose work is done by several; must be called outside of an event loop.

    Args:
        project, model, endpoints, sub_agents, remote_storage, stubbed, gateway, timeout: As those of `load`.
        workers: How many there are; one process is this very one.
        backend: Where they are.
        progress: Is told how far it is.

    Raises:
        AssistantError: there is no such model, it cannot be loaded, or it is of a kind that cannot be learned from.
        MissingExtraError: Rasa Pro is not installed, or Ray is not.
    """
    place: dict[str, Any] = {"sub_agents": sub_agents, "remote_storage": remote_storage, "stubbed": stubbed}

    def load_here() -> RasaAssistant:
        return _load()(project, model, endpoints, **place, gateway=gateway, timeout=timeout)

    if workers == 1 and backend == "processes":
        return load_here()
    factory = Trained.at(project, model, endpoints, **place)
    return open_workers(factory, workers, inner=load_here, backend=backend, progress=progress)


def _load() -> Callable[..., RasaAssistant]:
    """Import Rasa, which takes seconds: workers are started before this process does it."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from rasa_ft_ext.rasa_pro.assistant import load

    return load

"""Turn a Rasa Pro (CALM) assistant and its E2E tests into a small self-hosted LLM for command generation.

The stages as functions are in `rasa_ft_ext.api`; the packages of the stages bear the same names, so of the functions
only `prepare_data` stands here as well. Everything is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rasa_ft_ext._version import __version__

if TYPE_CHECKING:
    from rasa_ft_ext.annotate.stage import AnnotateSummary
    from rasa_ft_ext.api import prepare_data
    from rasa_ft_ext.dataset.stage import DatasetSummary
    from rasa_ft_ext.errors import RasaFtError
    from rasa_ft_ext.progress import Progress
    from rasa_ft_ext.rephrase.stage import RephraseSummary
    from rasa_ft_ext.results import PrepareDataSummary
    from rasa_ft_ext.split.summary import SplitSummary

__all__ = [
    "AnnotateSummary",
    "DatasetSummary",
    "PrepareDataSummary",
    "Progress",
    "RasaFtError",
    "RephraseSummary",
    "SplitSummary",
    "__version__",
    "api",
    "prepare_data",
]

_HOMES = {
    "AnnotateSummary": "annotate.stage",
    "DatasetSummary": "dataset.stage",
    "PrepareDataSummary": "results",
    "Progress": "progress",
    "RasaFtError": "errors",
    "RephraseSummary": "rephrase.stage",
    "SplitSummary": "split.summary",
    "prepare_data": "api",
}


def __getattr__(name: str) -> Any:
    if name == "api":
        return import_module("rasa_ft_ext.api")
    if name in _HOMES:
        return getattr(import_module(f"rasa_ft_ext.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

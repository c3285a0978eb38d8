"""Brings our sub-commands into the `rasa` command, at no cost for a Python that never imports Rasa.

Rasa looks for no plug-ins of others. So `rasa_ft_ext.pth`, the one line that Python runs at its start, puts an import
finder in the first place that finds nothing and imports nothing; only when somebody imports `rasa.plugin` does it ask
this module to find it. That module is loaded as ever, and then told to register our hooks right after Rasa's own. The
environment variable `RASA_FT_EXT=off` keeps the finder away. (Python reads a `.pth` of a virtual environment twice, so
the line looks whether it has been there before.) This module does not know what our hooks do.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def find_and_join(name: str) -> ModuleSpec | None:
    """Find `rasa.plugin`, in such a way that our hooks join Rasa's when it has been loaded."""
    spec = find_spec(name)
    if spec is None or spec.loader is None:
        return spec
    load = spec.loader.exec_module

    def exec_module(module: ModuleType) -> None:
        load(module)
        if module.__name__ == name:
            _join(module)

    # The loader was made for this one module; all else about it stays as it is.
    spec.loader.exec_module = exec_module  # type: ignore[method-assign]
    return spec


def _join(module: ModuleType) -> None:
    """Let `rasa.plugin.init_hooks`, which fills a new plug-in manager, register our hooks as well."""
    original = getattr(module, "init_hooks", None)
    if original is None:
        warn("this version of Rasa registers its hooks in a way that is unknown here")
        return

    def init_hooks(manager: Any) -> None:
        original(manager)
        try:
            from rasa_ft_ext.cli import rasa_plugin

            manager.register(rasa_plugin)
        except Exception as error:
            warn(f"{type(error).__name__}: {error}")

    vars(module)["init_hooks"] = init_hooks


def warn(reason: str) -> None:
    """Say in one line on stderr that the `rasa` command goes on without our sub-commands."""
    print(
        f"rasa-ft-ext: `rasa llm finetune` goes without our sub-commands ({' '.join(reason.split())}). `rasa-ft` has "
        "them, too; RASA_FT_EXT=off hides this message.",
        file=sys.stderr,
    )

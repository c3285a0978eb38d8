"""The model of the model folder, served for comparison: transformers on this machine, from the merged weights.

That the merged weights are the trained ones was proven at the end of the training, and their digests are compared
before; so this is the trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from rasa_ft_ext.finetuned import MERGED, read_manifest
from rasa_ft_ext.model_server.base import ModelServer
from rasa_ft_ext.model_server.settings import ServeSettings


def reference_for(folder: Path | None) -> Callable[[], ModelServer] | str:
    """What serves the model of a training's folder, or the reason why nothing can.

    Raises:
        WorkspaceError: the folder is not that of a finished training.
    """
    if folder is None:
        return "no model folder was given to compare with (--model-folder)"
    facts = read_manifest(folder).facts
    if not (folder / MERGED).is_dir():
        return f"{folder} has no {MERGED}/ to compare with"
    if any(find_spec(name) is None for name in ("torch", "transformers")):
        return "PyTorch and transformers are not installed here (pip install 'rasa-ft-ext[train]')"
    settings = ServeSettings(model=str(folder / MERGED), name=facts.name, port=0, prefix_caching=False)

    def start() -> ModelServer:
        from rasa_ft_ext.model_server.transformers import TransformersServer

        return TransformersServer(settings)

    return start

"""Whether the libraries are there that a training needs."""

from __future__ import annotations

from importlib.util import find_spec

from rasa_ft_ext.errors import MissingExtraError

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")


def require_libraries(*more: str) -> None:
    """Say what to install where one of them is missing, or one of `more`.

    Raises:
        MissingExtraError: one is.
    """
    if any(find_spec(name) is None for name in (*LIBRARIES, *more)):
        raise MissingExtraError("PyTorch with the training libraries", "train")

"""The processes of one training, as `accelerate launch` and `torchrun` start them: one for each GPU.

    with one_voice():                       # an error is told once, by the process that it happened in first
        found = agreed(folder.begin)        # done by the first process, the outcome is known to all

Until the Trainer sets up its process group, and when that has come to harm, they speak through the launcher's store of
keys and values. With one process there is no store, and all of this does nothing.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

PATIENCE = timedelta(hours=4)  # the first process may have to empty a folder, or to try out a big model
GRACE = 3.0  # seconds in which the first one that fails says why, and the launcher stops the others
_FAILED = "rasa_ft_ext/failed"
_questions = count()  # all processes ask the same ones in the same order


def is_first() -> bool:
    """Whether this process is the one that prints and writes."""
    return os.environ.get("RANK", "0") == "0"


def how_many() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share_a_model() -> bool:
    """Whether the launcher was told that the processes hold parts of one model (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def agreed(decide: Callable[[], T]) -> T:
    """Let the first process decide; the others wait and return the same.

    Args:
        decide: Is called in the first process only. What it returns can be pickled. If it fails, the others go on
            waiting until the launcher, which sees the first process end, stops them.
    """
    if how_many() == 1:
        return decide()
    key = f"rasa_ft_ext/{next(_questions)}"
    if is_first():
        decision = decide()
        _store().set(key, pickle.dumps(decision))
        return decision
    _store().wait([key], PATIENCE)
    found: T = pickle.loads(_store().get(key))  # written by the same program
    return found


@contextmanager
def one_voice() -> Iterator[None]:
    """Let only that process fail aloud in which something failed first.

    The others often have the same error, or one that follows from it, such as a broken connection; they wait to be
    stopped by the launcher.

    Raises:
        SystemExit: another process has told it already.
    """
    if how_many() == 1:
        yield
        return
    store = _store()
    try:
        yield
    except BaseException as error:
        if store.add(_FAILED, 1) > 1:
            if not isinstance(error, KeyboardInterrupt):  # which all processes get, and the launcher as well
                time.sleep(GRACE)
            raise SystemExit(1) from None
        raise


def part() -> None:
    """Leave the process group, when all have come here; from now on each process is on its own."""
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


@cache
def _store() -> Any:
    from torch.distributed import rendezvous

    store, _, _ = next(rendezvous("env://"))
    return store

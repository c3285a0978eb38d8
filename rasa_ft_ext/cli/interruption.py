"""Ctrl-C and SIGTERM while data is made: an end within two seconds, with what is kept and how to go on.

All that is written appears whole, and each answer of an LLM is on the disk before anybody sees it. So a run may be
ended at any point: what does not end by itself in time is ended as `kill -9` would end it.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT

_PATIENCE = 0.9  # seconds that a run has to end by itself
_TELLING = 0.9  # seconds that it may take then to look what is kept


class Stop:
    """The end of a run that a signal asked for; what a person is told of it is told once.

    Args:
        tell: Tells it.
    """

    def __init__(self, tell: Callable[[], None]) -> None:
        self.code = INTERRUPTED
        self._tell = tell
        self.asked = False
        self._telling = threading.Lock()
        self._told = threading.Event()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Interrupt the main thread; a second signal has nothing left to stop."""
        if self.asked:
            return
        self.asked = True
        self.code = 128 + number
        logging.disable(logging.CRITICAL)  # calls that were cut off are not worth a line each
        warnings.simplefilter("ignore")
        sys.unraisablehook = lambda _: None
        threading.Thread(target=self._end, daemon=True).start()
        raise KeyboardInterrupt

    def tell(self) -> None:
        """Tell what is kept and how to go on, once; return when it is told."""
        if not self._telling.acquire(blocking=False):
            self._told.wait(_TELLING)
            return
        with suppress(Exception):
            self._tell()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # nobody may be listening any more
                stream.flush()
        self._told.set()

    def leave(self) -> None:
        """Tell it and end the process, if a signal asked for that: to take Python down may take seconds by itself."""
        if self.asked:
            self.tell()
            os._exit(self.code)

    def _end(self) -> None:
        threading.Event().wait(_PATIENCE)
        telling = threading.Thread(target=self.tell, daemon=True)
        telling.start()
        telling.join(_TELLING)
        os._exit(self.code)


@contextmanager
def ended_by_signals(tell: Callable[[], None]) -> Iterator[Stop]:
    """Turn Ctrl-C and SIGTERM into a `KeyboardInterrupt`, once, and see to it that the process ends in time.

    Outside of the main thread, where there are no signals, nothing is changed.
    """
    stop = Stop(tell)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop.on_signal) for number in numbers}
    try:
        yield stop
    finally:
        if not stop.asked:  # else a second signal might still disturb the end
            for number, handler in before.items():
                signal.signal(number, handler)


def kept(args: Namespace) -> str:
    """What an interrupted command leaves, and the command to go on with."""
    from rasa_ft_ext.drafts import unfinished
    from rasa_ft_ext.workspace import MANIFEST, STAGES, command_of

    root = Path(args.project, getattr(args, "output", None) or args.out or "output")
    lines = [f"{command_of(stage)}: done" for stage in STAGES if (root / stage / MANIFEST).is_file()]
    for about, done in unfinished(root):
        lines.append(f"{command_of(about.stage)}: {done:,} of {about.parts:,} test files")
    answers, waiting = _answers(args, root)
    if answers:
        lines.append(f"{_counted(answers, 'answer')} of LLMs, not paid for again")
    if waiting:
        lines.append(f"{_counted(waiting, 'request')} in batches at the provider, to be taken up again")
    told = "".join(f"\n  {line}" for line in lines) if lines else " nothing, as nothing was finished."
    return f"Interrupted. Kept in {root}:{told}\nTo go on: {_command()}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _answers(args: Namespace, root: Path) -> tuple[int, int]:
    """How many are kept, and how many a provider works on."""
    from rasa_ft_ext.errors import RasaFtError
    from rasa_ft_ext.llm.cache import read_info

    if getattr(args, "no_cache", False):
        return 0, 0
    given = getattr(args, "cache", None)
    try:
        info = read_info(Path(args.project, given) if given else root)
    except RasaFtError:
        return 0, 0
    return info.answers, info.waiting


def _command() -> str:
    """The command line as it was typed."""
    name = Path(sys.argv[0]).name
    return shlex.join(["rasa-ft" if name.endswith(".py") else name, *sys.argv[1:]])

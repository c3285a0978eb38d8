"""What the command line shows: a progress bar while a stage runs, a table when it is done, one message when it fails.

Results go to stdout, everything else to stderr. The bar is drawn only where a person sees it.
"""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

from rasa_ft_ext.cli import interruption
from rasa_ft_ext.errors import CoverageError, RasaFtError
from rasa_ft_ext.progress import Progress

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

INTERRUPTED = interruption.INTERRUPTED

# The sub-commands that find again what they had finished: those that end at once, and others.
_STOP_AT_ONCE = ("prepare-data", "annotate", "rephrase", "dataset", "split")
_GO_ON = ("train", "sweep", "export")

# What the figures of `prepare-data` are called on the screen; in the files they have the names that Rasa gives them.
_WORDS = {
    "num_input_e2e_tests": "E2E tests",
    "num_annotated_conversations": "tests that pass and are annotated",
    "num_user_messages_across_conversations": "annotated user steps",
    "num_user_messages_to_rephrase_across_conversations": "user steps to rephrase",
    "num_passing_rephrased_user_messages": "rephrasings that pass",
    "num_failing_rephrased_user_messages": "rephrasings that fail",
    "num_ft_data_points": "examples",
    "num_train_data_points": "examples to train on",
    "num_val_data_points": "examples to validate on",
    "llm_usage": "answers that the data came from",
    "tokens": "tokens of an epoch",
    "computed_tokens": "of these computed",
}


class DryRun(Exception):
    """What a dry run was asked for is shown; nothing else is to be done."""


def guarded(run: Callable[[Namespace], int], args: Namespace, name: str) -> int:
    """Run a sub-command and turn what a user can mend into a message; a bug keeps its traceback.

    Args:
        run: What runs it.
        args: Its arguments.
        name: What it is called.

    Returns:
        The exit code: 0, 1 for a `RasaFtError`, 2 for one that says that coverage is too low, 130 when the user
        interrupted, 143 when SIGTERM did.
    """
    if name not in _STOP_AT_ONCE:
        return _guarded(run, args, name)
    with interruption.ended_by_signals(lambda: print(interruption.kept(args), file=sys.stderr)) as stop:
        try:
            return _guarded(run, args, name)
        except KeyboardInterrupt:
            stop.tell()
        finally:
            stop.leave()
    return stop.code


def _guarded(run: Callable[[Namespace], int], args: Namespace, name: str) -> int:
    try:
        return run(args)
    except DryRun:
        return 0
    except RasaFtError as error:
        print_error(str(error))
        return 2 if isinstance(error, CoverageError) else 1
    except KeyboardInterrupt:
        if name in _STOP_AT_ONCE:
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one has nothing left to stop
        warnings.simplefilter("ignore")  # calls that were cut off are not worth a line each
        kept = "What was finished is kept: the same command goes on from there."
        print_error(f"Interrupted. {kept if name in _GO_ON else 'The same command starts anew.'}")
        return INTERRUPTED


def print_error(message: str) -> None:
    """Print a message on stderr, in red where there are colours."""
    from rich.text import Text

    _stderr().print(Text(message, style="red"), soft_wrap=True)


def print_summary(title: str, summary: BaseModel, folder: PurePath, shown: Shown) -> None:
    """Print what a command reports: its figures as a table, then what a person should look at, then where it all is.

    Args:
        title: What has been made.
        summary: Its numbers and words go into the table; each list gets a headline of its own, an empty one is left
            out.
        folder: Where the results are.
        shown: What was shown meanwhile; notes that were told then are not told again.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    fields = dict(summary)
    table = Table(title=title, title_justify="left", show_header=False)
    for name, value in fields.items():
        if isinstance(value, int | float | str | dict) and value != {}:
            table.add_row(_words(name), Text(_cell(value)))  # a name may look like markup
    console.print(table)
    for name, value in fields.items():
        lines = [_line(entry) for entry in value] if isinstance(value, list | tuple) else []
        lines = [line for line in lines if line not in shown.notes]
        if lines:
            console.print(f"{_words(name).capitalize()}:", markup=False, style="yellow")
        for line in lines:
            console.print(f"  {line}", markup=False, highlight=False)
    console.print(f"Results: {folder}", markup=False, highlight=False)


def _words(name: str) -> str:
    return _WORDS.get(name, name.replace("_", " "))


def _cell(value: object) -> str:
    if isinstance(value, dict):
        nested = any(isinstance(entry, list | tuple) for entry in value.values())
        return ("\n" if nested else ", ").join(f"{name}: {_cell(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _line(entry: object) -> str:
    from rasa_ft_ext.conversation import FailedTest

    return f"{entry.id}: {entry.reason}" if isinstance(entry, FailedTest) else str(entry)


class Shown(Progress):
    """Shows the notes, draws nothing, and remembers which notes there were."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        self._print(text)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Draw nothing while the block runs, in which a person may be asked something."""
        yield

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr)


class _Bar(Shown):
    """A bar for each thing that is worked through, with count, rate and the time left."""

    def __init__(self, bars: Bars) -> None:
        super().__init__()
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, what: str, total: int) -> None:
        self._task = self._bars.add_task(what, total=total, rate="")

    def step(self, parts: int = 1) -> None:
        if self._task is None:
            return
        self._bars.advance(self._task, parts)
        task = next(task for task in self._bars.tasks if task.id == self._task)
        speed = task.finished_speed or task.speed
        self._bars.update(self._task, rate=f"{speed:.1f}/s" if speed else "")

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()

    def _print(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(args: Namespace) -> Iterator[Shown]:
    """Yield what a stage reports to: a bar if stderr is a terminal and nobody asked for quiet."""
    quiet = getattr(args, "loglevel", None) == logging.WARNING
    if quiet or not sys.stderr.isatty():
        yield Shown()
        return
    from rich import progress as parts

    columns = (
        parts.TextColumn("{task.description}"),
        parts.BarColumn(),
        parts.MofNCompleteColumn(),
        parts.TextColumn("{task.fields[rate]}"),
        parts.TimeRemainingColumn(),
    )
    with parts.Progress(*columns, console=_stderr()) as bars:
        yield _Bar(bars)


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)

"""Several runs of the command line, each a process of its own; all from one, so that litellm is imported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]

_CODE = """
import json, os, sys
import litellm
from rasa_ft_ext.cli.main import main

def run(folder, arguments):
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{folder}.{name}", os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    sys.argv = ["rasa-ft", *arguments]
    sys.exit(main())

runs = json.loads(sys.argv[1])
for folder, arguments in runs.items():
    child = os.fork()
    if child == 0:
        run(folder, arguments)
    print(child, flush=True)
for _ in runs:
    child, status = os.wait()
    print(child, os.waitstatus_to_exitcode(status), flush=True)
"""


class Runs:
    """Runs under way, by the folder that each is in; what one prints stands beside it."""

    def __init__(self, process: subprocess.Popen[str], folders: Sequence[Path]) -> None:
        assert process.stdout is not None
        self._lines = process.stdout
        self.pids = {folder: int(self._lines.readline()) for folder in folders}

    def wait(self) -> tuple[Path, int]:
        """Wait until one more has ended: which it is, and its exit code."""
        pid, code = map(int, self._lines.readline().split())
        return next(folder for folder in self.pids if self.pids[folder] == pid), code


@contextmanager
def forked(commands: Mapping[Path, Sequence[str]], **environment: str) -> Iterator[Runs]:
    """Start `rasa-ft` in each folder, with its arguments. At the end all have ended."""
    runs = json.dumps({str(folder): list(arguments) for folder, arguments in commands.items()})
    process = subprocess.Popen(
        [sys.executable, "-c", _CODE, runs],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield Runs(process, list(commands))
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)


def stdout(folder: Path) -> str:
    return folder.with_name(f"{folder.name}.stdout").read_text()


def stderr(folder: Path) -> str:
    return folder.with_name(f"{folder.name}.stderr").read_text()
